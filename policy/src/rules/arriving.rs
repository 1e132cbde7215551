//! Before a bridge looks where a frame goes: conntrack zone, and whether the port may send this.

use super::Topology;
use super::crossing::DISCOVERY;
use super::sets::{self, PORTS};
use crate::counters::{
    ETHERTYPE, FRAGMENT, LINK_LOCAL, SPOOFED_ARP, SPOOFED_IPV4, SPOOFED_IPV6, SPOOFED_MAC, UNDECLARED, VLAN_TAG,
};
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
        vec![
            Rule::new().within(&[IBRNAME], "bridges").goto("arriving"),
            // A declared port that somebody put on another bridge.
            Rule::new().within(&[IIFNAME], PORTS).goto("arriving"),
        ],
    );
    table.chain(
        "arriving",
        vec![
            Rule::new().within(&[ETHER_DADDR], "link_local").drop(LINK_LOCAL),
            Rule::lookup(&[IIFNAME, IBRNAME], "arriving_port"),
            Rule::new().drop(UNDECLARED),
        ],
    );
    table.chain("tagged", vec![Rule::new().drop(VLAN_TAG)]);
    guest(topology, table);
    outside(topology, table);
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

fn guest(topology: &Topology<'_>, table: &mut Table) {
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
        .one_of(ARP_OPERATION, &["request", "reply"]);
    table.chain("from_nic_arp", vec![arp.goto("arp_from_nic"), Rule::new().drop(SPOOFED_ARP)]);
    // A probe (RFC 5227) is a conflict to whoever else asks for that address, so that a NIC probes only for its own.
    let probe = Rule::new().is(ARP_OPERATION, "request").is(ARP_SADDR_IP, "0.0.0.0");
    let probe = probe.within(&[IIFNAME, ARP_SADDR_ETHER], "nic_mac").within(&[IIFNAME, ARP_DADDR_IP], "nic_ipv4");
    table.chain(
        "arp_from_nic",
        vec![
            Rule::new().within(&[IIFNAME, ARP_SADDR_ETHER, ARP_SADDR_IP], "nic_arp").accept(),
            probe.accept(),
            Rule::new().drop(SPOOFED_ARP),
        ],
    );
    table.chain(
        "from_nic_ipv4",
        vec![
            Rule::new().ipv4_fragment().goto("fragment_ipv4"),
            Rule::new().within(&[IIFNAME, IP_SADDR], "nic_ipv4").accept(),
            Rule::new()
                .is(IP_SADDR, "0.0.0.0")
                .is(IP_DADDR, "255.255.255.255")
                .udp(68, 67)
                .within(&[IIFNAME], "dhcp")
                .accept(),
            Rule::new().drop(SPOOFED_IPV4),
        ],
    );
    // Fragments come here one by one; the first alone has a type, so that a fragmented solicitation never gets whole.
    let probe = Rule::new().is(IP6_SADDR, "::").is(ICMPV6_TYPE, "nd-neighbor-solicit");
    let targets = sets::targets(topology);
    let probe = (!targets.is_empty()).then(|| probe.among(&[IIFNAME, ND_TARGET], targets).accept());
    let mut rules = vec![
        Rule::new().ipv6_fragment().goto("fragment_ipv6"),
        Rule::new().within(&[IIFNAME, IP6_SADDR], "nic_ipv6").accept(),
    ];
    rules.extend(probe);
    rules.push(Rule::new().drop(SPOOFED_IPV6));
    table.chain("from_nic_ipv6", rules);
    fragments(table);
}

/// Conntrack keeps fragments until they are whole, before any rule that decides, and all guests and the host share its memory. So
/// they are kept only of a NIC that has somebody to send them to.
fn fragments(table: &mut Table) {
    for (chain, saddr, own, counter) in
        [("fragment_ipv4", IP_SADDR, "nic_ipv4", SPOOFED_IPV4), ("fragment_ipv6", IP6_SADDR, "nic_ipv6", SPOOFED_IPV6)]
    {
        let talker = format!("{chain}_of_own");
        let own = Rule::new().within(&[IIFNAME, saddr], own).goto(&talker);
        table.chain(chain, vec![own, Rule::new().drop(counter)]);
        table.chain(&talker, vec![Rule::new().within(&[IIFNAME], "talks").accept(), Rule::new().drop(FRAGMENT)]);
    }
}

/// What outside sends to the host is the host's own affair; only addresses of guests and of the host are refused as its source, and
/// so is what would make one of them look taken.
fn outside(topology: &Topology<'_>, table: &mut Table) {
    table.chain(
        "from_outside",
        vec![
            Rule::new().within(&[IBRNAME, ETHER_SADDR], "reserved_mac").drop(SPOOFED_MAC),
            Rule::choose(
                ETHER_TYPE,
                &[
                    ("arp", "from_outside_arp"),
                    ("ip", "from_outside_ipv4"),
                    ("ip6", "from_outside_ipv6"),
                    // The host looks behind a tag with the VLAN 0.
                    ("8021q", "tagged"),
                    ("8021ad", "tagged"),
                ],
            ),
            Rule::new().accept(),
        ],
    );
    table.chain(
        "from_outside_arp",
        vec![
            Rule::new().within(&[IBRNAME, ARP_SADDR_IP], "reserved_ipv4").drop(SPOOFED_ARP),
            Rule::new().within(&[IBRNAME, ARP_SADDR_ETHER], "reserved_mac").drop(SPOOFED_ARP),
            Rule::new().is(ARP_SADDR_IP, "0.0.0.0").within(&[IBRNAME, ARP_DADDR_IP], "reserved_ipv4").drop(SPOOFED_ARP),
            Rule::new().accept(),
        ],
    );
    let source = |field, set, counter| Rule::new().within(&[IBRNAME, field], set).drop(counter);
    table.chain("from_outside_ipv4", vec![source(IP_SADDR, "reserved_ipv4", SPOOFED_IPV4), Rule::new().accept()]);
    // RFC 6980: neighbour discovery does not come in parts. A part that hides its type is looked at again once it is whole.
    let in_parts = Rule::new().ipv6_fragment().one_of(ICMPV6_TYPE, DISCOVERY).drop(FRAGMENT);
    table.chain(
        "from_outside_ipv6",
        vec![
            in_parts,
            source(IP6_SADDR, "reserved_ipv6", SPOOFED_IPV6),
            Rule::new().jump(CLAIMS),
            Rule::new().accept(),
        ],
    );
    claims(topology, table);
}

/// The chain about what makes an IPv6 address of the manifest look taken, from somebody who does not have it: an advertisement, or
/// the question of somebody without an address. It comes back where it is nothing of that.
pub(super) const CLAIMS: &str = "claims";

fn claims(topology: &Topology<'_>, table: &mut Table) {
    let reserved = sets::reserved_targets(topology);
    let about = |rule: Rule| rule.among(&[IBRNAME, ND_TARGET], reserved.clone()).drop(SPOOFED_IPV6);
    let rules = if reserved.is_empty() {
        Vec::new()
    } else {
        let probe = Rule::new().is(IP6_SADDR, "::").is(ICMPV6_TYPE, "nd-neighbor-solicit");
        vec![about(Rule::new().is(ICMPV6_TYPE, "nd-neighbor-advert")), about(probe)]
    };
    table.chain(CLAIMS, rules);
}
