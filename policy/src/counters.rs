//! The named counters: one for each reason of a drop, and one for each allow.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::error::Error;
use crate::hash::fnv;
use crate::model::{Allow, Counter, Endpoint, IcmpType};
use crate::nfnetlink::Lister;

/// A guest's frame with a source address that is not its NIC's, one from outside with a guest's or the bridge's own, or one that
/// leaves by the bridge itself with another than the bridge's own.
pub const SPOOFED_MAC: &str = "spoofed_mac";
/// ARP whose sender is not the NIC's MAC and one of its IPv4 addresses, or that probes for an address that is not its own; from
/// outside with an address of a guest or of the host as sender, or probing for one.
pub const SPOOFED_ARP: &str = "spoofed_arp";
/// An IPv4 packet with a source that is not the NIC's, or one from outside with a guest's or the host's.
pub const SPOOFED_IPV4: &str = "spoofed_ipv4";
/// The same of IPv6; also neighbour advertisements and probes for what is not the sender's.
pub const SPOOFED_IPV6: &str = "spoofed_ipv6";
/// A frame with a VLAN tag of its own (802.1Q or 802.1ad, stacked or not).
pub const VLAN_TAG: &str = "vlan_tag";
/// Neither ARP nor IPv4 nor IPv6.
pub const ETHERTYPE: &str = "ethertype";
/// In or out of a port that no manifest declares, or that stands on the wrong bridge.
pub const UNDECLARED: &str = "undeclared";
/// No allow lets it through.
pub const FORBIDDEN: &str = "forbidden";
/// To or from the host where it is invisible (broadcasts of the segment reach its door too), or to an address that the host does
/// not have on that segment.
pub const HOST: &str = "host";
/// Routed by the host into or out of one of our bridges.
pub const ROUTED: &str = "routed";
/// ARP or neighbour discovery for somebody else, flooded to a port that it does not concern. Plenty of it is normal.
pub const FLOODED: &str = "flooded";
/// Router advertisements, redirects and whatever a DHCP client listens to, from a guest.
pub const ROGUE: &str = "rogue";
/// A fragment of IPv6 that is none of a whole packet, because its first lacks the headers that RFC 8200 (4.5) wants in it.
pub const FRAGMENT: &str = "fragment";
/// Frames for somebody else that reached the host because a bridge is promiscuous, as under a capture.
pub const PROMISCUOUS: &str = "promiscuous";

/// For a link-local group (01:80:c2:00:00:00 to 0f), as LLDP, LACP and spanning tree send.
pub const LINK_LOCAL: &str = "link_local";
/// A message of DHCP that is malformed or speaks of another NIC.
pub const DHCP: &str = "dhcp";
/// IP that came to the host by a bridge's port itself, past the bridge, where the port has no business.
pub const PORT_IP: &str = "port_ip";
/// The same of ARP.
pub const PORT_ARP: &str = "port_arp";

/// Every reason of a drop in `bridge bulkhead`.
pub const BRIDGE_DROPS: [&str; 15] = [
    SPOOFED_MAC,
    SPOOFED_ARP,
    SPOOFED_IPV4,
    SPOOFED_IPV6,
    VLAN_TAG,
    ETHERTYPE,
    UNDECLARED,
    FORBIDDEN,
    HOST,
    FLOODED,
    ROGUE,
    FRAGMENT,
    PROMISCUOUS,
    LINK_LOCAL,
    DHCP,
];

/// Those in `inet bulkhead`.
pub const INET_DROPS: [&str; 2] = [ROUTED, PORT_IP];
/// The one in `arp bulkhead`.
pub const ARP_DROPS: [&str; 1] = [PORT_ARP];

fn drops() -> impl Iterator<Item = &'static str> {
    BRIDGE_DROPS.into_iter().chain(INET_DROPS).chain(ARP_DROPS)
}

/// Whether that counter counts what was dropped.
pub(crate) fn dropped(name: &str) -> bool {
    drops().any(|drop| drop == name)
}

/// What our counters say now, in the network namespace of the calling thread: those of `bridge bulkhead` first, each table's
/// by name, as [`crate::Ruleset::observe`] gives them; none where the tables are not there. The kernel answers at once and
/// lists nothing else, so that this may be called whenever somebody asks. It needs no ruleset, and waits for none.
///
/// # Errors
/// [`Error::Open`] if there is no netlink socket to be had, [`Error::List`] if the kernel does not answer or what it says
/// cannot be read: then nothing is known.
pub fn read() -> Result<Vec<Counter>, Error> {
    Lister::open()?.counters()
}

/// The name of the counter of an allow: it counts the first packet of each flow. Made of what the allow says, so that the
/// order of the manifest, and of the lists in it, changes nothing.
#[must_use]
pub fn counter(allow: &Allow) -> String {
    format!("allow_{:016x}", fnv(canonical(allow).as_bytes()))
}

fn canonical(allow: &Allow) -> String {
    let side = |endpoint: &Endpoint| match endpoint {
        Endpoint::Guest(name) => format!("guest.{name}"),
        Endpoint::Segment(name) => format!("segment.{name}"),
        Endpoint::Outside(name) => format!("outside.{name}"),
        Endpoint::Host => "host".to_owned(),
    };
    let nets = |nets: &[IpNet]| sorted(nets.iter().map(|net| (key(net), net.trunc().to_string())));
    let ports = |ports: &[std::ops::RangeInclusive<u16>]| {
        sorted(ports.iter().map(|range| ((*range.start(), *range.end()), format!("{}-{}", range.start(), range.end()))))
    };
    let what = &allow.what;
    let icmp = sorted(what.icmp.iter().copied().map(IcmpType::name).map(|name| (name, name.to_owned())));
    format!(
        "{} {} from {} to {} any {} tcp {} udp {} icmp {}",
        side(&allow.from),
        side(&allow.to),
        nets(&allow.from_net),
        nets(&allow.to_net),
        what.any,
        ports(&what.tcp),
        ports(&what.udp),
        icmp
    )
}

fn key(net: &IpNet) -> (IpAddr, u8) {
    (net.network(), net.prefix_len())
}

fn sorted<K: Ord>(items: impl Iterator<Item = (K, String)>) -> String {
    let mut items: Vec<_> = items.collect();
    items.sort();
    items.dedup();
    items.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Traffic;

    fn allow(tcp: &[u16], to_net: &[&str]) -> Allow {
        Allow {
            from: Endpoint::Guest("web".parse().unwrap()),
            to: Endpoint::Outside("lan".parse().unwrap()),
            from_net: Vec::new(),
            to_net: to_net.iter().map(|net| net.parse().unwrap()).collect(),
            what: Traffic { tcp: tcp.iter().map(|port| *port..=*port).collect(), ..Traffic::default() },
        }
    }

    #[test]
    fn the_order_of_lists_does_not_change_a_counters_name_and_anything_else_does() {
        let name = counter(&allow(&[80, 443], &["10.0.0.0/8", "2001:db8::/32"]));
        assert_eq!(name, counter(&allow(&[443, 80], &["2001:db8::/32", "10.0.0.0/8"])));
        assert_ne!(name, counter(&allow(&[80], &["10.0.0.0/8", "2001:db8::/32"])));
        assert_ne!(name, counter(&allow(&[80, 443], &["10.0.0.0/8"])));
        assert!(name.len() < 128 && !dropped(&name));
    }

    #[test]
    fn every_reason_of_a_drop_is_named_once() {
        let names: std::collections::BTreeSet<&str> = drops().collect();
        assert!(names.len() == drops().count() && names.iter().all(|name| dropped(name)));
    }
}
