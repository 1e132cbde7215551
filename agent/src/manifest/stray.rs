//! `[allow]` in place of `[[allow]]`. TOML gives such a table the list's place, so that nobody would see the list any more.

use std::borrow::Cow;
use std::ops::Range;

use serde_spanned::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// The key of the list.
const LIST: &str = "allow";
/// A header of a list that no manifest has. It is as long as `[allow]`, so that everything else keeps its place.
const ASIDE: (&str, &str) = ("[[\"*\"]]", "*");

/// The text with each such table in a list of its own, and where their headers stand.
pub(super) fn set_aside(text: &str) -> (Cow<'_, str>, Vec<Range<usize>>) {
    let mut aside = Cow::Borrowed(text);
    let mut headers = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if let Some(header) = header(line) {
            let header = start + header.start..start + header.end;
            aside.to_mut().replace_range(header.clone(), &format!("{:1$}", ASIDE.0, header.len()));
            headers.push(header);
        }
        start += line.len();
    }
    (aside, headers)
}

/// Where in a line such a header stands.
fn header(line: &str) -> Option<Range<usize>> {
    let rest = line.trim_start();
    let start = line.len() - rest.len();
    let (inside, behind) = rest.strip_prefix('[')?.split_once(']')?;
    let ends = behind.trim_start().is_empty() || behind.trim_start().starts_with('#');
    (inside.trim() == LIST && ends).then(|| start..start + inside.len() + 2)
}

/// Makes the tables that were set aside elements of the list. Where something else has its name, that was noted.
pub(super) fn put_back<'a>(root: &mut DeTable<'a>) {
    let Some((key, value)) = root.remove_entry(ASIDE.1) else { return };
    let (at, span) = (key.span(), value.span());
    let DeValue::Array(strays) = value.into_inner() else { return };
    let list =
        root.entry(Spanned::new(at, LIST.into())).or_insert_with(|| Spanned::new(span, DeValue::Array(DeArray::new())));
    if let DeValue::Array(list) = list.get_mut() {
        strays.into_iter().for_each(|stray| list.push(stray));
        list.sort_by_key(|element| element.span().start);
    }
}
