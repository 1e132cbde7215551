//! The schema, the reader, the examples and the reference page speak of the same keys.
//!
//! `UPDATE=1 cargo test -p bulkhead --test manifest_reference` writes the page's list of keys anew.

#![allow(clippy::unwrap_used, clippy::panic)] // a test may stop at the first surprise, in its functions too

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bulkhead::manifest::{Source, parse, schema};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Follows a reference into the schema's definitions.
fn resolve<'a>(schema: &'a Value, at: &'a Value) -> &'a Value {
    match at["$ref"].as_str() {
        Some(path) => schema.pointer(path.trim_start_matches('#')).unwrap(),
        None => at,
    }
}

/// Every table with keys of its own, by the header that it has in a file.
fn tables(schema: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    below(schema, schema, String::new(), &mut found);
    found
}

fn below<'a>(schema: &'a Value, at: &'a Value, path: String, found: &mut Vec<(String, &'a Value)>) {
    let at = resolve(schema, at);
    let join = |part: &str| if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") };
    if let Some(keys) = at["properties"].as_object() {
        found.push((path.clone(), at));
        for (key, value) in keys {
            below(schema, value, join(key), found);
        }
    }
    if at["additionalProperties"].is_object() {
        let name = match path.rsplit('.').next() {
            Some("disk") => "TARGET",
            Some("nic") => "SEGMENT",
            _ => "NAME",
        };
        below(schema, &at["additionalProperties"], join(name), found);
    }
    for inner in at["anyOf"].as_array().into_iter().flatten() {
        below(schema, inner, path.clone(), found);
    }
    if !at["items"]["$ref"].is_null() {
        below(schema, &at["items"], format!("[{path}]"), found);
    }
}

/// The list of keys as the page has it.
fn keys() -> String {
    let schema = schema();
    let mut page = String::new();
    for (path, table) in tables(&schema) {
        if path.is_empty() {
            continue;
        }
        writeln!(page, "### `[{path}]`\n\n{}\n", table["description"].as_str().unwrap()).unwrap();
        let required: Vec<&str> =
            table["required"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
        let keys = table["properties"].as_object().unwrap();
        for (key, value) in keys {
            let must = if required.contains(&key.as_str()) { " (required)" } else { "" };
            writeln!(page, "- `{key}`{must}: {}", value["description"].as_str().unwrap()).unwrap();
        }
        if !keys.is_empty() {
            page.push('\n');
        }
    }
    page
}

#[test]
fn the_reference_page_lists_the_keys_of_the_schema() {
    let file = root().join("docs/manifest.md");
    let page = fs::read_to_string(&file).unwrap();
    let mark = "<!-- from the schema -->\n";
    let (before, rest) = page.split_once(mark).unwrap();
    let (_, after) = rest.split_once(mark).unwrap();
    let wanted = format!("{before}{mark}\n{}{mark}{after}", keys());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, &wanted).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), wanted, "UPDATE=1 writes it anew");
}

#[test]
fn every_key_of_the_schema_is_known_to_the_reader_and_no_other() {
    let schema = schema();
    for (path, table) in tables(&schema) {
        let header = path.replace("NAME", "x").replace("TARGET", "vda").replace("SEGMENT", "s");
        for key in table["properties"].as_object().unwrap().keys() {
            // A date is nothing that any key takes, so a known key is refused for its kind, an unknown one as unknown.
            let header = if header.is_empty() { String::new() } else { format!("[{header}]\n") };
            for (written, known) in [(key.clone(), true), (format!("{key}-x"), false)] {
                let text = format!("{header}{written} = 1979-05-27\n");
                let source = Source { path: "host.toml".into(), text: text.clone() };
                let said = parse(&[source]).unwrap_err().render(false);
                assert_eq!(!said.contains("unknown key"), known, "{text}{said}");
                assert_eq!(said.contains("is a date or time, not"), known, "{text}{said}");
            }
        }
    }
}

#[test]
fn every_example_fits_the_schema() {
    let schema = schema();
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let table: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        fits(&schema, &schema, &serde_json::to_value(table).unwrap(), &path.display().to_string());
    }
}

/// As much of JSON Schema as the manifest's own uses, patterns aside.
fn fits(schema: &Value, at: &Value, value: &Value, path: &str) {
    if let Err(why) = fit(schema, at, value) {
        panic!("{path}: {why}");
    }
}

fn fit(schema: &Value, at: &Value, value: &Value) -> Result<(), String> {
    let at = resolve(schema, at);
    if let Some(any) = at["anyOf"].as_array().filter(|any| any.iter().all(|one| one["format"].is_null())) {
        return any
            .iter()
            .map(|one| fit(schema, one, value))
            .find(Result::is_ok)
            .unwrap_or_else(|| Err(format!("{value} fits none of {any:?}")));
    }
    let kind = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() && at["type"] == "integer" => "integer",
        Value::Number(_) => "number",
        Value::Null => "null",
    };
    if let Some(words) = at["enum"].as_array() {
        return if words.contains(value) { Ok(()) } else { Err(format!("{value} is not in {words:?}")) };
    }
    if at["type"] != kind {
        return Err(format!("{value} is not of {}", at["type"]));
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let wanted =
            at["properties"].get(key).or_else(|| Some(&at["additionalProperties"]).filter(|more| more.is_object()));
        fit(schema, wanted.ok_or_else(|| format!("{key} is not in the schema"))?, inner)
            .map_err(|why| format!("{key}: {why}"))?;
    }
    let missing =
        at["required"].as_array().into_iter().flatten().find(|key| value.get(key.as_str().unwrap()).is_none());
    if let Some(key) = missing {
        return Err(format!("{key} is missing"));
    }
    value.as_array().into_iter().flatten().try_for_each(|inner| fit(schema, &at["items"], inner))
}
