//! What TOML itself cannot read, with what to write instead.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;
use toml::de::{DeTable, DeValue, Error};

use super::location::Location;
use super::problem::Problems;

/// A file that was read as far as it could be.
pub(super) struct File<'a> {
    /// Its index in the list of sources.
    pub(super) index: usize,
    pub(super) text: &'a str,
    /// What could be read.
    pub(super) root: &'a DeTable<'a>,
}

/// A line of a file.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    /// Where it begins.
    start: usize,
    text: &'a str,
}

impl Line<'_> {
    /// What stands between the brackets of a table's header.
    fn header(&self) -> Option<&str> {
        let line = self.text.split('#').next()?.trim();
        let inner = line.strip_prefix('[')?.strip_suffix(']')?;
        Some(inner.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(inner))
    }
}

impl<'a> File<'a> {
    fn line(&self, at: usize) -> Line<'a> {
        let before = self.text.get(..at).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        Line { start, text: self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default() }
    }

    /// The header that a line stands below.
    fn header_above(&self, line: Line<'_>) -> Option<Line<'a>> {
        let mut below = line.start;
        while below > 0 {
            let above = self.line(below - 1);
            if above.header().is_some() {
                return Some(above);
            }
            below = above.start;
        }
        None
    }

    /// Notes the errors: of each line the first only, for the rest follows from it.
    pub(super) fn note(&self, mut errors: Vec<Error>, problems: &mut Problems) {
        let start = |error: &Error| error.span().map_or(0, |span| span.start);
        errors.sort_by_key(start);
        errors.dedup_by_key(|error| self.line(start(error)).start);
        let mut repeated = BTreeSet::new();
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let line = self.line(span.start);
            let location = Location { file: self.index, span, key: String::new() };
            if error.message().starts_with("duplicate key") {
                self.duplicate(line, location, &mut repeated, problems);
                continue;
            }
            let help = mended(error.message(), line.text).or_else(|| meant(line.text));
            let help = help.or_else(|| advice(error.message()).map(str::to_owned));
            let problem = problems.syntax(&location, format!("this is not TOML: {}", error.message()));
            if let Some(help) = help {
                problem.help(help);
            }
        }
    }

    /// A table or a key that stands twice. Everything else was read, so it hides nothing. `repeated` are the lines of headers
    /// that stood before: what is below such a one needs no word of its own.
    fn duplicate(&self, line: Line<'_>, at: Location, repeated: &mut BTreeSet<usize>, problems: &mut Problems) {
        let above = self.header_above(line);
        let path = match (line.header(), above) {
            (Some(header), _) => {
                repeated.insert(line.start);
                keys(header)
            }
            (None, Some(above)) if repeated.contains(&above.start) => return,
            (None, above) => {
                let table = above.as_ref().and_then(Line::header).map(keys).unwrap_or_default();
                let own = line.text.split('=').next().map(keys).unwrap_or_default();
                table.into_iter().chain(own).collect()
            }
        };
        let key = path.join(".");
        let at = Location { key: key.clone(), ..at };
        let (title, help, first) = match line.header() {
            Some(header) => (
                format!("`{key}` is declared twice"),
                "put its keys below the first header, and leave this one out",
                self.earlier(line, &format!("[{header}]")).or_else(|| self.earlier(line, &format!("[[{header}]]"))),
            ),
            None => {
                (format!("`{key}` stands twice"), "leave one of the two out", first(self.root, &path, at.span.start))
            }
        };
        let problem = problems.error(&at, title);
        problem.label("again").help(help);
        if let Some(span) = first.filter(|span| *span != at.span) {
            problem.also(&Location { span, ..at.clone() }, "first here");
        }
    }

    /// Notes the headers in single brackets that begin an element of a list.
    pub(super) fn note_strays(&self, headers: Vec<Range<usize>>, problems: &mut Problems) {
        for span in headers {
            let key = self.text.get(span.clone()).unwrap_or_default().trim_matches(['[', ']', ' ', '\t']).to_owned();
            let title = format!("`{key}` stands in single brackets, and there may be many");
            let help = format!("write [[{key}]]");
            problems.error(&Location { file: self.index, span, key }, title).label("one of a list").help(help);
        }
    }

    /// Where this header stands before a line.
    fn earlier(&self, line: Line<'_>, header: &str) -> Option<Range<usize>> {
        let mut start = 0;
        for text in self.text.get(..line.start)?.split_inclusive('\n') {
            let trimmed = text.trim_start();
            if trimmed
                .strip_prefix(header)
                .is_some_and(|rest| rest.trim_start().is_empty() || rest.trim_start().starts_with('#'))
            {
                let start = start + text.len() - trimmed.len();
                return Some(start..start + header.len());
            }
            start += text.len();
        }
        None
    }
}

/// The names of a dotted key; none if it is not one.
fn keys(dotted: &str) -> Vec<String> {
    let text = format!("{dotted} = 0");
    let Ok(table) = DeTable::parse(&text) else { return Vec::new() };
    let mut keys = Vec::new();
    let mut at = table.get_ref().iter().next();
    while let Some((key, value)) = at {
        keys.push(key.get_ref().to_string());
        at = value.get_ref().as_table().and_then(|table| table.iter().next());
    }
    keys
}

/// Where the key of this path was read. Of a list, the last element that begins before `at` is the one that is open there.
fn first(root: &DeTable<'_>, path: &[String], at: usize) -> Option<Range<usize>> {
    let (name, rest) = path.split_first()?;
    let (key, value) = root.iter().find(|(key, _)| key.get_ref() == name.as_str())?;
    if rest.is_empty() {
        return Some(key.span());
    }
    match value.get_ref() {
        DeValue::Table(table) => first(table, rest, at),
        DeValue::Array(list) => {
            let open = list.iter().rfind(|element| element.span().start < at)?;
            first(open.get_ref().as_table()?, rest, at)
        }
        _ => None,
    }
}

/// The line as it was probably meant: another sign between key and value, or addresses without their quotes.
fn meant(line: &str) -> Option<String> {
    let line = line.split(" #").next().unwrap_or(line).trim();
    for sign in ["==", ":=", "=>", ":"] {
        let Some((key, value)) = line.split_once(sign) else { continue };
        let (key, value) = (key.trim(), value.trim());
        if keys(key).is_empty() || value.is_empty() {
            continue;
        }
        let value =
            if DeTable::parse(&format!("x = {value}")).is_ok() { value.to_owned() } else { format!("{value:?}") };
        return Some(format!("write {key} = {value}"));
    }
    let address = |word: &str| word.parse::<IpAddr>().is_ok() || word.parse::<IpNet>().is_ok();
    let parts = line.split_inclusive(|sign: char| " \t,[]{}=".contains(sign)).map(|part| {
        let word = part.trim_end_matches(|sign: char| " \t,[]{}=".contains(sign));
        if address(word) { format!("{word:?}{}", &part[word.len()..]) } else { part.to_owned() }
    });
    let quoted: String = parts.collect();
    (quoted != line).then(|| format!("write {quoted}"))
}

/// The line without the slip that the message names: quotes, a sign or a bracket that is missing.
fn mended(message: &str, line: &str) -> Option<String> {
    let line = line.split('#').next()?.trim();
    let (key, value) = if message.starts_with("unclosed table") {
        let name = line.trim_start_matches('[');
        let many = line.starts_with("[[");
        let header = if many { format!("[[{name}]]") } else { format!("[{name}]") };
        return (!keys(name).is_empty()).then(|| format!("write {header}"));
    } else if message.starts_with("string values must be quoted") {
        line.split_once('=')?
    } else if message.starts_with("key with no value") {
        line.split_once(char::is_whitespace)?
    } else {
        return None;
    };
    let (key, value) = (key.trim(), value.trim());
    if keys(key).is_empty() || value.is_empty() || value.contains(['"', '\'', '[', ']', '{', '}', '=', ',']) {
        return None;
    }
    let right = DeTable::parse(&format!("x = {value}")).is_ok();
    Some(if right { format!("write {key} = {value}") } else { format!("write {key} = {value:?}") })
}

/// What to write instead, for the other slips that people make.
fn advice(message: &str) -> Option<&'static str> {
    let slips = [
        ("string values must be quoted", "write texts in quotes: trunk = \"eth1\""),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_again_as_it_was_meant() {
        let line = |text| meant(text).unwrap();
        assert_eq!(line("trunk: \"eth1\""), "write trunk = \"eth1\"");
        assert_eq!(line("  trunk : eth1 # the port"), "write trunk = \"eth1\"");
        assert_eq!(line("vlan == 20"), "write vlan = 20");
        assert_eq!(
            line("host.address = [10.13.37.5/24, fd00::5/64]"),
            "write host.address = [\"10.13.37.5/24\", \"fd00::5/64\"]"
        );
        assert_eq!(meant("trunk = \"eth1\" \"eth2\""), None);
        assert_eq!(meant("mode = 0711"), None);
    }
}
