//! The named counters: one for each reason of a drop, and one for each allow.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::error::Error;
use crate::hash::fnv;
use crate::model::{Allow, Counter, Endpoint, IcmpType};
use crate::nfnetlink::Lister;

/// A guest's frame with a source address that is not its NIC's, or one from outside with a guest's or the bridge's own.
pub const SPOOFED_MAC: &str = "spoofed_mac";
/// ARP whose sender is not the NIC's MAC and one of its IPv4 addresses, or from outside with a guest's as sender.
pub const SPOOFED_ARP: &str = "spoofed_arp";
/// An IPv4 packet with a source that is not the NIC's, or one from outside with a guest's.
pub const SPOOFED_IPV4: &str = "spoofed_ipv4";
/// The same of IPv6; also neighbour advertisements for what is not the sender's.
pub const SPOOFED_IPV6: &str = "spoofed_ipv6";
/// A frame with a VLAN tag of its own (802.1Q or 802.1ad, stacked or not).
pub const VLAN_TAG: &str = "vlan_tag";
/// Neither ARP nor IPv4 nor IPv6.
pub const ETHERTYPE: &str = "ethertype";
/// In or out of a port that no manifest declares, or that stands on the wrong bridge.
pub const UNDECLARED: &str = "undeclared";
/// No allow lets it through.
pub const FORBIDDEN: &str = "forbidden";
/// To or from the host where it is invisible (broadcasts of the segment reach its door too), or to an address of the host
/// that is not the bridge's.
pub const HOST: &str = "host";
/// Routed by the host into or out of one of our bridges.
pub const ROUTED: &str = "routed";
/// ARP or neighbour discovery for somebody else, flooded to a port that it does not concern. Plenty of it is normal.
pub const FLOODED: &str = "flooded";
/// Router advertisements, redirects and answers of a DHCP server, from a guest.
pub const ROGUE: &str = "rogue";
/// A fragment of IPv6 that is none of a whole packet, because its first lacks the headers that RFC 8200 (4.5) wants in it.
pub const FRAGMENT: &str = "fragment";
/// Frames for somebody else that reached the host because a bridge is promiscuous, as under a capture.
pub const PROMISCUOUS: &str = "promiscuous";

/// Every reason of a drop in `bridge bulkhead`; [`ROUTED`] is the only one of `inet bulkhead`.
pub const BRIDGE_DROPS: [&str; 13] = [
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
];

/// Whether that counter counts what was dropped.
pub(crate) fn dropped(name: &str) -> bool {
    name == ROUTED || BRIDGE_DROPS.contains(&name)
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
        let mut names = BRIDGE_DROPS.to_vec();
        names.sort_unstable();
        names.dedup();
        assert!(names.len() == BRIDGE_DROPS.len() && names.iter().all(|name| dropped(name)));
    }
}
