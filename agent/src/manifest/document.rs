//! From text to the wire types: TOML's own errors first, then everything that could be read all the same.

use toml::de::{DeTable, DeValue};

use super::location::Location;
use super::problem::Problems;
use super::read::{Node, Read};
use super::source::Source;
use super::stray;
use super::syntax::File;
use super::tables::Tables;
use super::wire::Root;

/// Reads every file and puts them together; what could not be read was noted.
pub(crate) fn tables(sources: &[Source], problems: &mut Problems) -> Tables {
    let mut tables = Tables::default();
    for (file, source) in sources.iter().enumerate() {
        let (text, strays) = stray::set_aside(&source.text);
        let (table, errors) = DeTable::parse_recoverable(&text);
        let mut table = table.into_inner();
        if !strays.is_empty() {
            stray::put_back(&mut table);
        }
        let file_read = File { index: file, text: &source.text, root: &table };
        file_read.note(errors, problems);
        file_read.note_strays(strays, problems);
        let root = Location { file, span: 0..0, key: String::new() };
        let value = DeValue::Table(table);
        if let Some(root) = Root::read(&Node { value: &value, location: root.clone(), name: root }, problems) {
            tables.add(root, problems);
        }
    }
    tables
}
