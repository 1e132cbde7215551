//! What the types of the crate `nftables` (0.6.3) cannot say: the names of the bridge's metadata, the flags of a table, named
//! verdict maps, sets whose types it does not know, objects of any kind; and the ways in which versions of nft list one thing.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use crate::table::Family;

/// The document of one transaction.
pub(super) fn commands(commands: &[String]) -> String {
    format!("{{\"nftables\":[{}]}}", commands.join(","))
}

/// Lists one table with all that is in it.
pub(crate) fn list_table(family: Family, table: &str) -> String {
    json!({ "nftables": [{ "list": { "table": { "family": family.as_str(), "name": table } } }] }).to_string()
}

/// Tries, in nft's own words, whether a table can be owned and persist: the JSON of nft 1.0.6 lets unknown flags go unsaid.
pub(crate) fn probe() -> String {
    format!("add table bridge bulkhead_probe {{ flags {}; }}", OWNED.join(","))
}

/// Owner for as long as our socket is open, and there to stay when it is not.
const OWNED: [&str; 2] = ["owner", "persist"];

/// Whether a table has the flags of ours: none, or, where tables can be owned, that it persists, and perhaps an owner.
pub(crate) fn has_our_flags(flags: &BTreeSet<String>, ownable: bool) -> bool {
    if ownable {
        flags.contains("persist") && flags.iter().all(|flag| OWNED.contains(&flag.as_str()))
    } else {
        flags.is_empty()
    }
}

/// The flags of a table that its owner has just made.
pub(crate) fn our_flags(ownable: bool) -> BTreeSet<String> {
    if ownable { OWNED.map(str::to_owned).into() } else { BTreeSet::new() }
}

/// Adds a table that a process owns. Of one that this process owns already it changes nothing and leaves the generation.
pub(crate) fn claim(families: &[Family], table: &str) -> String {
    let commands: Vec<Json> = families.iter().map(|family| add_table(*family, table, true)).collect();
    json!({ "nftables": commands }).to_string()
}

pub(super) fn add_table(family: Family, table: &str, owned: bool) -> Json {
    let mut object = json!({ "family": family.as_str(), "name": table });
    if owned {
        object["flags"] = json!(OWNED);
    }
    json!({ "add": { "table": object } })
}

pub(super) fn add_set(family: Family, table: &str, name: &str, key: &[&str], verdicts: bool) -> Json {
    let key = if let [one] = key { json!(one) } else { json!(key) };
    let mut object = json!({ "family": family.as_str(), "table": table, "name": name, "type": key });
    if verdicts {
        object["map"] = json!("verdict");
        json!({ "add": { "map": object } })
    } else {
        json!({ "add": { "set": object } })
    }
}

pub(super) fn delete(family: Family, table: &str, kind: &str, name: &str) -> Json {
    json!({ "delete": { kind: { "family": family.as_str(), "table": table, "name": name } } })
}

/// Gives the bridge's metadata the names that nft knows them by, and leaves out what an extension header does not say.
pub(super) fn renamed(mut json: Json) -> Result<Json, serde_json::Error> {
    rewrite(&mut json, &|json| {
        if let Some(Json::Object(header)) = json.get_mut("exthdr") {
            header.retain(|_, value| !value.is_null());
        }
        if let Some(Json::String(key)) = json.pointer_mut("/meta/key") {
            match key.as_str() {
                "ibridgename" => *key = "ibrname".to_owned(),
                "obridgename" => *key = "obrname".to_owned(),
                _ => {}
            }
        }
    });
    Ok(json)
}

/// What nft 1.0.6 lists after a port of a flow in an anonymous set.
const UNTYPED: &str = " [invalid type]";

/// Puts what is written and what is listed in one form: the elements of an anonymous set in one order, raw bytes as numbers where
/// there are no more than eight (nft lists them so), ports of flows as numbers (nft 1.0.6 lists some in hex), and the target of
/// neighbour discovery as raw bytes (from nft 1.1 on it is listed by name).
pub(crate) fn comparable(mut json: Json) -> Json {
    rewrite(&mut json, &|json| {
        let number = json.as_str().and_then(|text| text.strip_suffix(UNTYPED).unwrap_or(text).strip_prefix("0x"));
        if let Some(number) = number.and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
            *json = json!(number);
        }
        if let Some(Json::Array(elements)) = json.get_mut("set") {
            elements.sort_by_cached_key(Json::to_string);
        }
        if json.get("payload").is_some_and(|payload| *payload == json!({ "protocol": "icmpv6", "field": "taddr" })) {
            *json = json!({ "payload": { "base": "th", "offset": 64, "len": 128 } });
        }
    });
    json
}

/// From the inside out.
fn rewrite(json: &mut Json, change: &impl Fn(&mut Json)) {
    match json {
        Json::Array(values) => values.iter_mut().for_each(|value| rewrite(value, change)),
        Json::Object(fields) => fields.values_mut().for_each(|value| rewrite(value, change)),
        _ => {}
    }
    change(json);
}
