//! Before a bridge looks where a frame goes: conntrack zone, and whether the port may send this.

use super::Topology;
use crate::counters::{ETHERTYPE, SPOOFED_ARP, SPOOFED_IPV4, SPOOFED_IPV6, SPOOFED_MAC, UNDECLARED, VLAN_TAG};
use crate::rule::*;
use crate::table::{HookPoint, Table};
use crate::zones;

/// Before conntrack (`NF_IP_PRI_CONNTRACK`, -200) and before fragments are put together.
const ZONE: i32 = -300;
const ARRIVING: i32 = -290;

pub(super) fn add(topology: &Topology<'_>, table: &mut Table) {
    zone(topology, table);
    table.base(
        "prerouting",
        HookPoint::Prerouting,
        ARRIVING,
        vec![Rule::new().within(&[IBRNAME], "bridges").goto("arriving")],
    );
    table.chain("arriving", vec![Rule::lookup(&[IIFNAME, IBRNAME], "arriving_port"), Rule::new().drop(UNDECLARED)]);
    table.chain("tagged", vec![Rule::new().drop(VLAN_TAG)]);
    guest(table);
    outside(table);
}

/// Conntrack is one table for all bridges: without zones a flow or a fragment of one bridge would complete another's. What is
/// for the host stays in the host's own zone, or its firewall would not know the answers to its own flows.
fn zone(topology: &Topology<'_>, table: &mut Table) {
    let zones = topology.zones.iter().map(|(bridge, zone)| (bridge.to_string(), *zone)).collect();
    let mut rules = vec![Rule::new().within(&[IBRNAME, ETHER_DADDR], "own_mac").accept()];
    // A map in a rule has at least one element.
    if !topology.zones.is_empty() {
        rules.push(Rule::new().one_of(ETHER_TYPE, &["ip", "ip6"]).zone(zones));
    }
    table.base(zones::CHAIN, HookPoint::Prerouting, ZONE, rules);
}

fn guest(table: &mut Table) {
    table.chain(
        "from_guest",
        vec![Rule::new().within(&[IIFNAME, ETHER_SADDR], "nic_mac").goto("from_nic"), Rule::new().drop(SPOOFED_MAC)],
    );
    table.chain(
        "from_nic",
        vec![
            Rule::choose(
                ETHER_TYPE,
                &[
                    ("arp", "from_nic_arp"),
                    ("ip", "from_nic_ipv4"),
                    ("ip6", "from_nic_ipv6"),
                    ("8021q", "tagged"),
                    ("8021ad", "tagged"),
                ],
            ),
            Rule::new().drop(ETHERTYPE),
        ],
    );
    // The offsets of an ARP sender are these only where hardware and protocol are Ethernet and IPv4.
    let arp = Rule::new()
        .number(Field::Payload(Header::Arp, "htype"), 1)
        .is(Field::Payload(Header::Arp, "ptype"), "ip")
        .number(Field::Payload(Header::Arp, "hlen"), 6)
        .number(Field::Payload(Header::Arp, "plen"), 4)
        .one_of(Field::Payload(Header::Arp, "operation"), &["request", "reply"]);
    table.chain(
        "from_nic_arp",
        vec![arp.within(&[IIFNAME, ARP_SADDR_ETHER, ARP_SADDR_IP], "nic_arp").accept(), Rule::new().drop(SPOOFED_ARP)],
    );
    table.chain(
        "from_nic_ipv4",
        vec![
            Rule::new().within(&[IIFNAME, IP_SADDR], "nic_ipv4").accept(),
            Rule::new().is(IP_SADDR, "0.0.0.0").udp(68, 67).within(&[IIFNAME], "dhcp").accept(),
            Rule::new().drop(SPOOFED_IPV4),
        ],
    );
    // Fragments come here one by one; the first alone has a type, so that a fragmented solicitation never gets whole.
    let probe = Rule::new().is(IP6_SADDR, "::").is(ICMPV6_TYPE, "nd-neighbor-solicit").within(&[IIFNAME], "nic6");
    table.chain(
        "from_nic_ipv6",
        vec![
            Rule::new().within(&[IIFNAME, IP6_SADDR], "nic_ipv6").accept(),
            probe.accept(),
            Rule::new().drop(SPOOFED_IPV6),
        ],
    );
}

/// What outside sends to the host is the host's own affair; only addresses of guests and of the host are refused as its source.
fn outside(table: &mut Table) {
    table.chain(
        "from_outside",
        vec![
            Rule::new().within(&[IBRNAME, ETHER_SADDR], "reserved_mac").drop(SPOOFED_MAC),
            Rule::choose(
                ETHER_TYPE,
                &[("arp", "from_outside_arp"), ("ip", "from_outside_ipv4"), ("ip6", "from_outside_ipv6")],
            ),
            Rule::new().accept(),
        ],
    );
    table.chain(
        "from_outside_arp",
        vec![
            Rule::new().within(&[IBRNAME, ARP_SADDR_IP], "reserved_ipv4").drop(SPOOFED_ARP),
            Rule::new().within(&[IBRNAME, ARP_SADDR_ETHER], "reserved_mac").drop(SPOOFED_ARP),
            Rule::new().accept(),
        ],
    );
    for (chain, field, set, counter) in [
        ("from_outside_ipv4", IP_SADDR, "reserved_ipv4", SPOOFED_IPV4),
        ("from_outside_ipv6", IP6_SADDR, "reserved_ipv6", SPOOFED_IPV6),
    ] {
        table.chain(chain, vec![Rule::new().within(&[IBRNAME, field], set).drop(counter), Rule::new().accept()]);
    }
}
