//! Networks that name a bridge.

use super::{Element, XmlError, mark, owned};
use crate::guest::model::{Network, NetworkDefinition};

/// The definition of a network that publishes one of our bridges. libvirt only names the bridge: it neither makes it nor
/// gives it an address. `uuid` is that of the network it replaces; a new one gets its UUID from libvirt.
pub(crate) fn network_xml(network: &Network, uuid: Option<&str>) -> String {
    Element::new("network")
        .with([Element::text("name", &network.name)])
        .with(uuid.map(|uuid| Element::text("uuid", uuid)))
        .with([Element::new("metadata").with([mark(&network.name)])])
        .with([Element::new("forward").attr("mode", "bridge")])
        .with([Element::new("bridge").attr("name", network.bridge.as_str())])
        .to_xml()
}

/// Whether a network is ours, and what of its definition we speak of.
pub(crate) fn read_network(xml: &str) -> Result<(bool, NetworkDefinition), XmlError> {
    let root = Element::parse_as(xml, "network")?;
    let forward = root.at(&["forward"]).map(|forward| forward.get("mode").unwrap_or("nat").to_owned());
    let bridge = root.at(&["bridge"]).and_then(|bridge| bridge.get("name")).map(str::to_owned);
    Ok((owned(&root), NetworkDefinition { forward, bridge }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lan() -> Network {
        Network { name: "LANBridge".to_owned(), bridge: "br20".parse().unwrap() }
    }

    #[test]
    fn a_written_network_is_read_as_ours_and_as_it_was() {
        let (ours, definition) = read_network(&network_xml(&lan(), None)).unwrap();
        assert!(ours);
        assert_eq!(definition, NetworkDefinition::of(&lan()));
    }

    #[test]
    fn a_copy_under_another_name_is_not_ours() {
        let copy = network_xml(&lan(), None).replacen("LANBridge", "copy", 1);
        assert!(!read_network(&copy).unwrap().0);
    }

    #[test]
    fn the_mark_of_another_namespace_is_not_ours() {
        let other = network_xml(&lan(), None).replace("https://bulkhead.example/", "https://other.example/");
        assert!(!read_network(&other).unwrap().0);
    }
}
