//! From the JSON that libnftables lists to our own types. Foreign tables are never looked into; within ours, what we would
//! never make is kept by kind and name, so that a plan can take it away.

use serde_json::Value as Json;

use crate::counters::dropped;
use crate::error::Error;
use crate::model::{Counter, Found, FoundChain, FoundSet};
use crate::wire::comparable;

/// What is in one of our tables, and what its counters say.
pub(super) fn table(text: &str) -> Result<(Found, Vec<Counter>), Error> {
    let (mut found, mut counters) = (Found::default(), Vec::new());
    let mut rules = Vec::new();
    for (kind, object) in objects(text, "our table")? {
        let name = || word(&object, "name").ok_or_else(|| lacks(&kind, "name"));
        match kind.as_str() {
            "metainfo" | "table" => {}
            "chain" => {
                found.chains.insert(name()?, FoundChain { base: base(&object), rules: Vec::new() });
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
                rules.push((chain, object.get("expr").cloned().unwrap_or_default()));
            }
            // Listed apart from its set by no version that we know; the set's own list has it.
            "element" => {}
            _ => found.others.push((kind.clone(), name()?)),
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
        Json::Object(fields) => fields.into_iter().next(),
        _ => None,
    };
    Ok(objects.into_iter().filter_map(object).collect())
}

fn lacks(kind: &str, field: &str) -> Error {
    Error::Decode { what: "our table".to_owned(), text: format!("a {kind} without {field}") }
}

fn word(object: &Json, field: &str) -> Option<String> {
    object.get(field).and_then(Json::as_str).map(str::to_owned)
}

/// A word or a list of words; nft writes a list of one as that one.
fn words(json: Option<&Json>) -> Vec<String> {
    match json {
        Some(Json::String(word)) => vec![word.clone()],
        Some(Json::Array(words)) => words.iter().map(|word| word.as_str().unwrap_or_default().to_owned()).collect(),
        _ => Vec::new(),
    }
}

/// As nft(8) writes it; `None` for a chain that no hook calls.
fn base(chain: &Json) -> Option<String> {
    let hook = word(chain, "hook")?;
    let priority = chain.get("prio").map(Json::to_string).unwrap_or_default();
    let policy = word(chain, "policy").unwrap_or_default();
    let kind = word(chain, "type").unwrap_or_default();
    Some(format!("type {kind} hook {hook} priority {priority}; policy {policy};"))
}

fn set(object: &Json) -> FoundSet {
    let map = word(object, "map");
    let odd = ["flags", "timeout", "size", "stmt"].iter().any(|field| object.get(field).is_some());
    let odd_map = object.get("map").is_some() && map.as_deref() != Some("verdict");
    let mut set = FoundSet {
        key: words(object.get("type")),
        verdicts: map.is_some(),
        strange: odd || odd_map,
        elements: std::collections::BTreeMap::new(),
    };
    for listed in object.get("elem").and_then(Json::as_array).unwrap_or(&Vec::new()) {
        match element(listed) {
            Some((key, verdict)) => {
                set.elements.insert(key, verdict);
            }
            None => set.strange = true,
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
            {"metainfo": {}}, {"table": {"family": "bridge", "name": "bulkhead"}}, 9,
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
        assert!(found.sets["c"].strange && !found.sets["a"].strange && !found.sets["b"].strange);
        assert_eq!(found.others, [("quota".to_owned(), "q".to_owned())]);
    }
}
