//! A host in a namespace of its own: a trunk with its far side, and a bridge on one VLAN of it.

use bulkhead_packet::{Ether, Namespace, run, sysctl};

pub(crate) const WEB: Ether = Ether([0x52, 0x54, 0, 0, 0, 0x40]);
pub(crate) const FAR: Ether = Ether([0x52, 0x54, 0, 0, 0, 0x01]);

/// Runs a test in a host of its own, whose name is the test's.
pub(crate) fn within(name: &str, test: impl FnOnce() + Send) {
    let host = Namespace::new(name).expect("root, in a machine of the lab");
    host.within(|| {
        sysctl("ipv6/conf/default/disable_ipv6", "1").unwrap();
        for line in [
            "ip link add trunk0 type veth peer name far0",
            "ip link set trunk0 up",
            "ip link set far0 up",
            "ip link add link trunk0 name vlan20 type vlan id 20",
            "ip link add br20 type bridge mcast_snooping 0",
            "ip link set vlan20 master br20 up",
            "ip link set br20 up",
        ] {
            run(line).unwrap();
        }
        test();
    })
    .unwrap();
}

/// A guest's stand-in on `br20`, its tap `tap-NAME` and its link `eth0`.
pub(crate) fn guest(name: &str, address: Ether) -> Namespace {
    let mut guest = Namespace::new(name).unwrap();
    let tap = format!("tap-{name}");
    guest.veth(&tap, "eth0", address).unwrap();
    run(&format!("ip link set {tap} master br20 up")).unwrap();
    guest
}

/// Adds a table `bridge lab` whose chain `forward` has that policy. It comes before br_netfilter, which, once somebody has loaded
/// it, takes frames past the chains at its own priority, 0 (seen on Linux 6.1).
pub(crate) fn add_forward_chain(policy: &str) {
    run("nft add table bridge lab").unwrap();
    let hook = "type filter hook forward priority filter ;";
    run(&format!("nft add chain bridge lab forward {{ {hook} policy {policy} ; }}")).unwrap();
}
