//! libvirt's XML: what is written to define an object, and what is read back from its definition.

mod domain;
mod edit;
mod host;
mod network;
mod storage;
mod tree;
mod walls;

pub(crate) use domain::{DomainRead, read_domain};
pub(crate) use edit::domain_xml;
pub(crate) use host::read_host;
pub(crate) use network::{network_xml, read_network};
pub(crate) use storage::{pool_xml, read_pool, read_volume, volume_xml};
use tree::Document;
pub(crate) use tree::Element;
pub use tree::XmlError;

use super::model::{Away, NAMESPACE};
use crate::checksum::sha256;

/// The ownership mark of the object of that name.
fn mark(name: &str) -> Element {
    Element::new("bulkhead:owned").attr("xmlns:bulkhead", NAMESPACE).attr("name", name)
}

/// The attribute of our mark with the fingerprint of the definition as libvirt had it when nobody but us had written it.
const AS_MADE: &str = "as-made";

/// The attribute of our mark that says where a guest went; libvirt itself forgets it when it is restarted.
const AWAY: &str = "away";

/// SHA-256 of a definition without our mark.
fn fingerprint(document: &Document) -> String {
    let mut document = document.clone();
    let theirs = |metadata: &Element| metadata.children().any(|element| !is_mark(element));
    for metadata in document.root.children_mut().filter(|child| child.name == "metadata") {
        metadata.retain(|element| !is_mark(element));
    }
    document.root.retain(|child| child.name != "metadata" || theirs(child));
    sha256(&document.to_xml())
}

/// Whether nobody but us has written this definition of a domain since it was made.
pub(crate) fn is_as_made(xml: &str) -> Result<bool, XmlError> {
    let document = Document::parse_as(xml, "domain")?;
    let made = current_mark(&document.root).and_then(|mark| mark.get(AS_MADE));
    Ok(made.is_some_and(|made| made == fingerprint(&document)))
}

fn current_mark(root: &Element) -> Option<&Element> {
    root.at(&["metadata"])?.children().find(|child| is_mark(child))
}

/// Where our mark says that a guest went.
fn noted_away(root: &Element) -> Option<Away> {
    let word = current_mark(root)?.get(AWAY)?;
    Away::ALL.into_iter().find(|away| away.as_str() == word)
}

/// Our mark for a definition that only we have written, in the form in which libvirt takes metadata: it adds the namespace.
pub(crate) fn mark_as_made(name: &str, xml: &str) -> Result<String, XmlError> {
    let document = Document::parse_as(xml, "domain")?;
    Ok(renewed(&document, name, &[AWAY]).attr(AS_MADE, &fingerprint(&document)).to_xml())
}

/// The same for a guest that went somewhere, or is here again.
pub(crate) fn mark_away(name: &str, xml: &str, away: Option<Away>) -> Result<String, XmlError> {
    let mut mark = renewed(&Document::parse_as(xml, "domain")?, name, &[AS_MADE]);
    if let Some(away) = away {
        mark.set(AWAY, away.as_str());
    }
    Ok(mark.to_xml())
}

/// Our mark anew, with what it says under these keys.
fn renewed(document: &Document, name: &str, kept: &[&str]) -> Element {
    let current = current_mark(&document.root);
    let kept = kept.iter().filter_map(|key| Some((key, current?.get(key)?)));
    kept.fold(Element::new("owned").attr("name", name), |mark, (key, value)| mark.attr(key, value))
}

/// Whether an element of the metadata is our mark, under whatever name.
fn is_mark(element: &Element) -> bool {
    let prefix = element.name.strip_suffix(":owned");
    prefix.and_then(|prefix| element.get(&format!("xmlns:{prefix}"))) == Some(NAMESPACE)
}

/// The ownership predicate: whether a domain or network carries our mark under its own name.
fn owned(root: &Element) -> bool {
    let name = root.text_at(&["name"]);
    root.at(&["metadata"]).is_some_and(|metadata| {
        metadata.children().any(|element| is_mark(element) && name.is_some() && element.get("name") == name.as_deref())
    })
}

/// Puts our mark beside whatever the metadata holds.
fn set_mark(root: &mut Element, name: &str) {
    if !owned(root) {
        root.change("metadata", &["name", "uuid", "genid", "title", "description"], |metadata| {
            metadata.retain(|element| !is_mark(element));
            metadata.insert(mark(name), &[]);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::samples;

    #[test]
    fn a_definition_is_as_made_until_somebody_else_writes_into_it() {
        let plain = domain_xml("example", &samples::definition(), None).unwrap();
        assert!(!is_as_made(&plain).unwrap(), "nobody said so yet");
        let name = mark_as_made("example", &plain).unwrap();
        let mark = name.replace("<owned", &format!("<bulkhead:owned xmlns:bulkhead='{NAMESPACE}'"));
        let (before, rest) = plain.split_once("<bulkhead:owned").unwrap();
        let made = format!("{before}{mark}{}", rest.split_once("/>").unwrap().1);
        assert!(is_as_made(&made).unwrap(), "{made}");
        assert!(read_domain(&made).unwrap().owned);
        let away = mark_away("example", &made, Some(Away::Migrated)).unwrap();
        let away =
            made.replace(&mark, &away.replace("<owned", &format!("<bulkhead:owned xmlns:bulkhead='{NAMESPACE}'")));
        assert_eq!((is_as_made(&away).unwrap(), read_domain(&away).unwrap().away), (true, Some(Away::Migrated)));
        assert_eq!(mark_away("example", &away, None).unwrap(), name);
        for (a, b) in
            [("offset='utc'", "offset='localtime'"), ("<devices>", "<description/><devices>"), (mark.as_str(), "<x/>")]
        {
            assert!(!is_as_made(&made.replace(a, b)).unwrap(), "{b}");
        }
        let beside = made.replace(&mark, &format!("{mark}<x/>"));
        assert!(!is_as_made(&beside).unwrap());
    }
}
