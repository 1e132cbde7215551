//! From text to the wire types: TOML's own errors first, then everything that could be read all the same.

use toml::de::{DeTable, DeValue, Error};

use super::location::Location;
use super::problem::Problems;
use super::read::{Node, Read};
use super::source::Source;
use super::tables::Tables;
use super::wire::Root;

/// Reads every file and puts them together; what could not be read was noted.
pub(crate) fn tables(sources: &[Source], problems: &mut Problems) -> Tables {
    let mut tables = Tables::default();
    for (file, source) in sources.iter().enumerate() {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        syntax(file, &source.text, errors, problems);
        let root = Location { file, span: 0..0, key: String::new() };
        let value = DeValue::Table(table.into_inner());
        if let Some(root) = Root::read(&Node { value: &value, location: root.clone(), name: root }, problems) {
            tables.add(root, problems);
        }
    }
    tables
}

/// Notes what TOML could not read: of each line the first error only, for the rest follows from it.
fn syntax(file: usize, text: &str, mut errors: Vec<Error>, problems: &mut Problems) {
    let start = |error: &Error| error.span().map_or(0, |span| span.start);
    let line = |error: &Error| text.get(..start(error)).unwrap_or_default().matches('\n').count();
    errors.sort_by_key(start);
    errors.dedup_by_key(|error| line(error));
    for error in errors {
        let location = Location { file, span: error.span().unwrap_or(0..0), key: String::new() };
        let problem = problems.syntax(&location, format!("this is not TOML: {}", error.message()));
        if let Some(help) = advice(error.message()) {
            problem.help(help);
        }
    }
}

/// What to write instead, for the slips that people make.
fn advice(message: &str) -> Option<&'static str> {
    let slips = [
        ("string values must be quoted", "write texts in quotes: trunk = \"eth1\""),
        ("duplicate key", "leave one of the two out: a key or table stands once"),
        ("key with no value", "write key = value"),
        ("unclosed table", "write [table.name] with both brackets"),
        ("unclosed array", "end the list with ]"),
        ("unclosed inline table", "end the table with }"),
        ("missing comma", "write a comma between two values"),
        ("invalid basic string", "end the text with the quote that it began with"),
        ("unexpected leading zero", "write a mode in quotes: mode = \"0711\""),
    ];
    slips.into_iter().find(|(slip, _)| message.starts_with(slip)).map(|(_, help)| help)
}
