//! The manifest as a JSON Schema, for editors and for other tools.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

use super::read::{Key, Table};
use super::wire::Root;

/// The JSON Schema (2020-12) of a manifest, made of the same declarations that read it.
#[must_use]
pub fn schema() -> Value {
    let mut schema = SchemaGenerator::default().into_root_schema_for::<Root>();
    schema.insert("title".to_owned(), "Bulkhead manifest".into());
    schema.to_value()
}

/// The schema of one table: its keys, which of them are required, and nothing else.
pub(crate) fn of_table<T: Table>(generator: &mut SchemaGenerator) -> Schema {
    let mut properties = Map::new();
    for key in T::keys() {
        properties.insert(key.name.to_owned(), property(key, generator));
    }
    let required: Vec<&str> = T::keys().iter().filter(|key| key.required).map(|key| key.name).collect();
    json_schema!({
        "type": "object",
        "description": prose(T::DOC),
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn property(key: &Key, generator: &mut SchemaGenerator) -> Value {
    let mut schema = (key.schema)(generator);
    schema.insert("description".to_owned(), prose(key.doc).into());
    schema.to_value()
}

/// A doc comment as one line of prose.
fn prose(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}
