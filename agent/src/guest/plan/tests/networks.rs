//! Networks, and names that somebody else has.

use super::*;
use crate::guest::model::{NetworkDefinition, NetworkFound};

#[test]
fn only_libvirts_own_nat_network_is_removed_and_only_when_asked() {
    let nat = NetworkDefinition { forward: Some("nat".to_owned()), bridge: Some("virbr0".to_owned()) };
    let found = NetworkFound {
        uuid: "u".to_owned(),
        owned: false,
        definition: nat.clone(),
        running: Some(nat),
        persistent: true,
        autostart: true,
    };
    let mut world = settled();
    world.networks.insert("default".to_owned(), found.clone());
    assert_eq!(
        words(&plan(&samples::desired(), &world, &Admission::default())),
        ["net-destroy default", "net-undefine default"]
    );
    let kept = Desired { default_network_absent: false, ..samples::desired() };
    assert!(plan(&kept, &world, &Admission::default()).is_empty());
    world.networks.get_mut("default").unwrap().definition.forward = Some("route".to_owned());
    let other = plan(&samples::desired(), &world, &Admission::default());
    assert!(other.is_empty());
    assert!(texts(&other).contains("network default Clash"));
}

#[test]
fn a_clash_of_names_names_both_sides() {
    let mut world = settled();
    world.domains.get_mut("example").unwrap().owned = false;
    world.networks.get_mut("LANBridge").unwrap().owned = false;
    world.pools[0].path = Some("/mnt".into());
    let plan = plan(&samples::desired(), &world, &Admission::default());
    assert!(plan.is_empty());
    let texts = texts(&plan);
    for text in [
        "guest example Clash: the manifest declares guest example, but a domain example that is not ours is there",
        "network LANBridge Clash: the manifest publishes bridge br20 as libvirt network LANBridge, but a network LANBridge",
        "pool default Clash: the manifest's pool default is /var/lib/libvirt/images, but libvirt's pool default is /mnt",
    ] {
        assert!(texts.contains(text), "{texts}");
    }
}
