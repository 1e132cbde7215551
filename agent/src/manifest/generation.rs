//! A manifest of many files as one.

use std::fmt::Write as _;

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::location::Location;
use super::read::in_order;
use super::source::Source;

/// One TOML text that means what all the files mean: the text itself of a single file, else its tables in the order of the
/// files, without comments. Only for sources that were parsed without error.
pub(super) fn one_text(sources: &[Source]) -> String {
    if let [only] = sources {
        return only.text.clone();
    }
    let mut text = String::new();
    for source in sources {
        for (kind, value) in entries(DeTable::parse_recoverable(&source.text).0.get_ref()) {
            match value {
                DeValue::Array(list) => {
                    for table in list.iter().filter_map(|table| table.get_ref().as_table()) {
                        section(&mut text, &format!("[[{kind}]]"), table);
                    }
                }
                DeValue::Table(names) if kind != "libvirt" => {
                    for (name, table) in entries(names) {
                        if let DeValue::Table(table) = table {
                            section(&mut text, &format!("[{kind}.{}]", quoted(name)), table);
                        }
                    }
                }
                DeValue::Table(table) => section(&mut text, &format!("[{kind}]"), table),
                _ => {}
            }
        }
    }
    text
}

/// The values of a table in the order of the file: the order of NICs and of DNS servers means something.
fn entries<'a>(table: &'a DeTable<'a>) -> Vec<(&'a str, &'a DeValue<'a>)> {
    let root = Location { file: 0, span: 0..0, key: String::new() };
    in_order(table, &root).into_iter().map(|(key, node)| (key, node.value)).collect()
}

fn section(text: &mut String, header: &str, table: &DeTable<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{header}");
    for (key, value) in entries(table) {
        let _ = writeln!(text, "{} = {}", quoted(key), inline(value));
    }
    text.push('\n');
}

fn inline(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(string) => quoted(string),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(list) => {
            let list: Vec<String> = list.iter().map(|value| inline(value.get_ref())).collect();
            format!("[{}]", list.join(", "))
        }
        DeValue::Table(table) => {
            let pairs: Vec<String> =
                entries(table).into_iter().map(|(key, value)| format!("{} = {}", quoted(key), inline(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
    }
}

/// A text or a key, in quotes and escaped; keys too, for then none needs a second look.
fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}
