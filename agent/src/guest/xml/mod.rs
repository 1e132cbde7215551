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
pub(crate) use tree::Element;
pub use tree::XmlError;

use super::model::NAMESPACE;

/// The ownership mark of the object of that name.
fn mark(name: &str) -> Element {
    Element::new("bulkhead:owned").attr("xmlns:bulkhead", NAMESPACE).attr("name", name)
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
