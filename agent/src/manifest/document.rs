//! From text to the wire types: TOML's own errors first, then everything that could be read all the same.

use toml::de::{DeTable, DeValue, Error};

use super::place::Place;
use super::problem::Problems;
use super::read::{Node, Read};
use super::source::Source;
use super::whole::Whole;
use super::wire::Root;

/// Reads every file and puts them together; what could not be read was noted.
pub(crate) fn whole(sources: &[Source], problems: &mut Problems) -> Whole {
    let mut whole = Whole::default();
    for (file, source) in sources.iter().enumerate() {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        syntax(file, &source.text, errors, problems);
        let root = Place { file, span: 0..0, key: String::new() };
        let value = DeValue::Table(table.into_inner());
        if let Some(root) = Root::read(&Node { value: &value, place: root.clone(), name: root }, problems) {
            whole.add(root, problems);
        }
    }
    whole
}

/// Notes what TOML could not read: of each line the first error only, for the rest follows from it.
fn syntax(file: usize, text: &str, mut errors: Vec<Error>, problems: &mut Problems) {
    let start = |error: &Error| error.span().map_or(0, |span| span.start);
    let line = |error: &Error| text.get(..start(error)).unwrap_or_default().matches('\n').count();
    errors.sort_by_key(start);
    errors.dedup_by_key(|error| line(error));
    for error in errors {
        let place = Place { file, span: error.span().unwrap_or(0..0), key: String::new() };
        let problem = problems.syntax(&place, format!("this is not TOML: {}", error.message()));
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
