//! libvirt's XML: what is written to define an object, and what is read back from its definition.

mod domain;
mod host;
mod network;
mod storage;
mod tree;

pub(crate) use domain::{domain_xml, read_domain};
pub(crate) use host::read_host;
pub(crate) use network::{network_xml, read_network};
pub(crate) use storage::{pool_xml, read_pool, volume_xml};
pub(crate) use tree::Element;
pub use tree::XmlError;

use super::model::NAMESPACE;

/// The ownership mark, as the metadata of the object of that name.
fn mark(name: &str) -> Element {
    let owned = Element::new("bulkhead:owned").attr("xmlns:bulkhead", NAMESPACE).attr("name", name);
    Element::new("metadata").child(owned)
}

/// The ownership predicate: whether a domain or network carries our mark under its own name.
fn owned(root: &Element) -> bool {
    let name = root.text_at(&["name"]);
    root.at(&["metadata"]).is_some_and(|metadata| {
        metadata.children.iter().any(|element| {
            let prefix = element.name.strip_suffix(":owned");
            let namespace = prefix.and_then(|prefix| element.get(&format!("xmlns:{prefix}")));
            namespace == Some(NAMESPACE) && name.is_some() && element.get("name") == name
        })
    })
}

/// A name and the uuid of the object that the definition replaces; a new one gets its uuid from libvirt.
fn identity(name: &str, uuid: Option<&str>) -> Vec<Element> {
    let uuid = uuid.map(|uuid| Element::text("uuid", uuid));
    std::iter::once(Element::text("name", name)).chain(uuid).chain([mark(name)]).collect()
}
