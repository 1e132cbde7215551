//! From the JSON that libnftables lists to our own types. Foreign tables are never looked into; within ours, what we would
//! never make is kept by kind and name, so that a plan can take it away.

use serde_json::Value as Json;

use crate::counters::dropped;
use crate::error::Error;
use crate::model::{Counter, ObservedChain, ObservedSet, ObservedTable};
use crate::wire::comparable;

/// What is in one of our tables, and what its counters say.
pub(super) fn table(text: &str) -> Result<(ObservedTable, Vec<Counter>), Error> {
    let (mut found, mut counters) = (ObservedTable::default(), Vec::new());
    let mut rules = Vec::new();
    for (kind, object) in objects(text, "our table")? {
        let name = || word(&object, "name").ok_or_else(|| lacks(&kind, "name"));
        match kind.as_str() {
            "metainfo" | "table" => {}
            "chain" => {
                found.chains.insert(name()?, ObservedChain { base: base(&object)?, rules: Vec::new() });
            }
            "counter" => {
                let number = |field| object.get(field).and_then(Json::as_u64).ok_or_else(|| lacks(&kind, field));
                let (packets, bytes) = (number("packets")?, number("bytes")?);
                counters.push(Counter { dropped: dropped(&name()?), name: name()?, packets, bytes });
                found.counters.insert(name()?);
            }
            "set" | "map" => {
                found.sets.insert(name()?, set(&object));
            }
            "rule" => {
                let chain = word(&object, "chain").ok_or_else(|| lacks(&kind, "chain"))?;
                let expressions = object.get("expr").cloned().ok_or_else(|| lacks(&kind, "expr"))?;
                rules.push((chain, expressions));
            }
            _ => found.foreign.push((kind.clone(), name()?)),
        }
    }
    // In some versions rules come before chains of later places.
    for (chain, expressions) in rules {
        found.chains.entry(chain).or_default().rules.push(comparable(expressions));
    }
    counters.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((found, counters))
}

fn objects(text: &str, what: &'static str) -> Result<Vec<(String, Json)>, Error> {
    let undecodable = |text: String| Error::Decode { what: what.to_owned(), text };
    let document: Json = serde_json::from_str(text).map_err(|error| undecodable(error.to_string()))?;
    let Some(Json::Array(objects)) = document.get("nftables").cloned() else {
        return Err(undecodable("there is no array \"nftables\" in it".to_owned()));
    };
    let object = |object: Json| match object {
        Json::Object(fields) => fields.into_iter().next().ok_or_else(|| undecodable("an empty object".to_owned())),
        other => Err(undecodable(format!("{other} is no object"))),
    };
    objects.into_iter().map(object).collect()
}

fn lacks(kind: &str, field: &str) -> Error {
    Error::Decode { what: "our table".to_owned(), text: format!("a {kind} without {field}") }
}

fn word(object: &Json, field: &str) -> Option<String> {
    object.get(field).and_then(Json::as_str).map(str::to_owned)
}

/// A word or a list of words; nft writes a list of one as that one. `None` for what has another form, as the types of keys
/// that are made of expressions have.
fn words(json: &Json) -> Option<Vec<String>> {
    match json {
        Json::String(word) => Some(vec![word.clone()]),
        Json::Array(words) => words.iter().map(|word| word.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// As nft(8) writes it; `None` for a chain that no hook calls.
fn base(chain: &Json) -> Result<Option<String>, Error> {
    let Some(hook) = word(chain, "hook") else { return Ok(None) };
    let field = |field| word(chain, field).ok_or_else(|| lacks("chain", field));
    let priority = chain.get("prio").ok_or_else(|| lacks("chain", "prio"))?;
    Ok(Some(format!("type {} hook {hook} priority {priority}; policy {};", field("type")?, field("policy")?)))
}

fn set(object: &Json) -> ObservedSet {
    let map = word(object, "map");
    let foreign_field = ["flags", "timeout", "size", "stmt"].iter().any(|field| object.get(field).is_some());
    let foreign_map = object.get("map").is_some() && map.as_deref() != Some("verdict");
    let key = object.get("type").and_then(words);
    let mut set = ObservedSet {
        verdicts: map.is_some(),
        foreign_form: foreign_field || foreign_map || key.is_none(),
        key: key.unwrap_or_default(),
        elements: std::collections::BTreeMap::new(),
    };
    for listed in object.get("elem").and_then(Json::as_array).unwrap_or(&Vec::new()) {
        match element(listed) {
            Some((key, verdict)) => {
                set.elements.insert(key, verdict);
            }
            None => set.foreign_form = true,
        }
    }
    set
}

fn element(json: &Json) -> Option<(Vec<String>, Option<String>)> {
    match json {
        Json::Array(pair) => match pair.as_slice() {
            [key, to] => Some((self::key(key)?, Some(verdict(to)?))),
            _ => None,
        },
        key => Some((self::key(key)?, None)),
    }
}

fn key(json: &Json) -> Option<Vec<String>> {
    match json {
        Json::String(word) => Some(vec![word.clone()]),
        _ => json.get("concat")?.as_array()?.iter().map(|part| part.as_str().map(canonical)).collect(),
    }
}

/// glibc and Rust write some IPv6 addresses in two ways.
fn canonical(word: &str) -> String {
    word.parse::<std::net::Ipv6Addr>().map_or_else(|_| word.to_owned(), |ip| ip.to_string())
}

fn verdict(json: &Json) -> Option<String> {
    let (verdict, to) = json.as_object()?.iter().next()?;
    match to.get("target").and_then(Json::as_str) {
        Some(chain) => Some(format!("{verdict} {chain}")),
        None => Some(verdict.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_our_table_is_read_whatever_it_is() {
        let text = r#"{"nftables": [
            {"metainfo": {}}, {"table": {"family": "bridge", "name": "bulkhead"}},
            {"rule": {"chain": "forward", "expr": [{"drop": null}]}},
            {"chain": {"name": "forward", "type": "filter", "hook": "forward", "prio": -200, "policy": "accept"}},
            {"counter": {"name": "forbidden", "packets": 5000000000, "bytes": 18446744073709551615}},
            {"set": {"name": "a", "type": ["ifname", "ipv6_addr"], "elem": [{"concat": ["x", "::1.2.3.4"]}]}},
            {"map": {"name": "b", "type": "ifname", "map": "verdict", "elem": [["x", {"goto": {"target": "y"}}], ["z", {"drop": null}]]}},
            {"set": {"name": "c", "type": "ifname", "flags": ["timeout"], "elem": [{"elem": {"val": "x"}}]}},
            {"quota": {"name": "q", "bytes": 1}}]}"#;
        let (found, counters) = table(text).unwrap();
        assert_eq!(
            found.chains["forward"].base.as_deref(),
            Some("type filter hook forward priority -200; policy accept;")
        );
        assert_eq!(found.chains["forward"].rules.len(), 1);
        assert_eq!((counters[0].packets, counters[0].bytes, counters[0].dropped), (5_000_000_000, u64::MAX, true));
        assert!(found.sets["a"].elements.contains_key(&vec!["x".to_owned(), "::102:304".to_owned()]));
        assert_eq!(found.sets["b"].elements[&vec!["x".to_owned()]].as_deref(), Some("goto y"));
        assert_eq!(found.sets["b"].elements[&vec!["z".to_owned()]].as_deref(), Some("drop"));
        assert!(found.sets["c"].foreign_form && !found.sets["a"].foreign_form && !found.sets["b"].foreign_form);
        assert_eq!(found.foreign, [("quota".to_owned(), "q".to_owned())]);
    }

    #[test]
    fn what_is_not_listed_as_the_format_says_is_an_error_and_never_something_else() {
        for object in [
            "9",
            "{}",
            r#"{"chain": {"name": "c", "type": "filter", "hook": "input", "policy": "accept"}}"#,
            r#"{"chain": {"name": "c", "type": "filter", "hook": "input", "prio": 0}}"#,
            r#"{"rule": {"chain": "c"}}"#,
            r#"{"counter": {"name": "c", "packets": -1, "bytes": 0}}"#,
            r#"{"element": {"set": "a", "elem": ["x"]}}"#,
        ] {
            let text = format!("{{\"nftables\": [{object}]}}");
            assert!(matches!(table(&text), Err(Error::Decode { .. })), "{object}");
        }
        let typed = r#"{"nftables": [{"set": {"name": "a", "type": {"typeof": {"meta": {"key": "iifname"}}}}}]}"#;
        assert!(table(typed).unwrap().0.sets["a"].foreign_form, "a set whose key has a form that ours never have");
    }
}
