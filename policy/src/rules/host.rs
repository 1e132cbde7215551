//! Between a bridge and the host.

use super::crossing::{DISCOVERY, FILTER};
use super::{Topology, sets};
use crate::counters::{ETHERTYPE, FLOODED, FORBIDDEN, FRAGMENT, HOST, PROMISCUOUS, ROGUE, SPOOFED_IPV6, UNDECLARED};
use crate::rule::*;
use crate::table::{HookPoint, Table};

const GROUPS: &[&str] = &["broadcast", "multicast"];

pub(super) fn add(topology: &Topology<'_>, table: &mut Table) {
    to_host(table);
    guest_to_own(topology, table);
    from_host(table);
}

fn to_host(table: &mut Table) {
    // A frame for a link-local group skips prerouting and comes straight here.
    table.base("input", HookPoint::Input, FILTER, vec![Rule::new().within(&[IBRNAME], "bridges").goto("to_bridge")]);
    table.chain(
        "to_bridge",
        vec![
            Rule::new().is(PKTTYPE, "other").drop(PROMISCUOUS),
            Rule::new().within(&[IBRNAME], "host_bridges").goto("to_host"),
            Rule::new().drop(HOST),
        ],
    );
    table.chain("to_host", vec![Rule::lookup(&[IIFNAME, IBRNAME], "to_host_port"), Rule::new().drop(UNDECLARED)]);
    // The host has the addresses of the bridge's ports too; through one of those the rules for routed packets could not tell
    // what was routed.
    table.chain(
        "outside_to_host",
        vec![
            Rule::new().within(&[IBRNAME, ETHER_DADDR], "own_mac").accept(),
            Rule::new().one_of(PKTTYPE, GROUPS).accept(),
            Rule::new().drop(HOST),
        ],
    );
    table.chain(
        "guest_to_host",
        vec![
            Rule::new().within(&[IBRNAME, ETHER_DADDR], "own_mac").goto("guest_to_own"),
            Rule::new().one_of(PKTTYPE, GROUPS).goto("guest_to_own"),
            Rule::new().drop(HOST),
        ],
    );
}

fn guest_to_own(topology: &Topology<'_>, table: &mut Table) {
    table.chain(
        "guest_to_own",
        vec![
            Rule::choose(ETHER_TYPE, &[("arp", "arp_to_host"), ("ip", "ipv4_to_host"), ("ip6", "ipv6_to_host")]),
            Rule::new().drop(ETHERTYPE),
        ],
    );
    table.chain("arp_to_host", vec![Rule::new().within(&[IIFNAME], "speaks_host").accept(), Rule::new().drop(FLOODED)]);
    table.chain("ipv4_to_host", vec![Rule::new().udp(67, 68).drop(ROGUE), Rule::new().goto("allowed_to_host")]);
    table.chain(
        "ipv6_to_host",
        vec![
            Rule::new().fragment().drop(FRAGMENT),
            Rule::new().one_of(ICMPV6_TYPE, DISCOVERY).goto("discovery_to_host"),
            Rule::new().udp(547, 546).drop(ROGUE),
            Rule::new().goto("allowed_to_host"),
        ],
    );
    let neighbour = |kind| {
        let on_link = Rule::new().is(ICMPV6_TYPE, kind).number(Field::Payload(Header::Ip6, "hoplimit"), 255);
        on_link.within(&[IIFNAME], "speaks_host")
    };
    let mut rules = vec![neighbour("nd-neighbor-solicit").accept()];
    let own = sets::targets(|nic| nic.tap.clone(), topology);
    if !own.is_empty() {
        rules.push(neighbour("nd-neighbor-advert").among(&[IIFNAME, Field::NdTarget], own).accept());
        rules.push(neighbour("nd-neighbor-advert").drop(SPOOFED_IPV6));
    }
    rules.push(Rule::new().one_of(ICMPV6_TYPE, &["nd-router-advert", "nd-redirect"]).drop(ROGUE));
    rules.push(Rule::new().drop(FLOODED));
    table.chain("discovery_to_host", rules);
    table.chain(
        "allowed_to_host",
        vec![
            Rule::lookup(&[IIFNAME], "host_from"),
            Rule::lookup(&[IBRNAME], "host_from_segment"),
            Rule::new().drop(FORBIDDEN),
        ],
    );
}

fn from_host(table: &mut Table) {
    table.base(
        "output",
        HookPoint::Output,
        FILTER,
        vec![Rule::new().within(&[OBRNAME], "bridges").goto("from_bridge")],
    );
    table.chain(
        "from_bridge",
        vec![Rule::new().within(&[OBRNAME], "host_bridges").goto("from_host"), Rule::new().drop(HOST)],
    );
    table.chain("from_host", vec![Rule::lookup(&[OIFNAME, OBRNAME], "from_host_port"), Rule::new().drop(UNDECLARED)]);
    table.chain("host_to_outside", vec![Rule::new().accept()]);
    table.chain(
        "host_to_guest",
        vec![
            Rule::choose(
                ETHER_TYPE,
                &[("arp", "arp_from_host"), ("ip", "allowed_from_host"), ("ip6", "ipv6_from_host")],
            ),
            Rule::new().drop(ETHERTYPE),
        ],
    );
    let speaker = || Rule::new().within(&[OIFNAME], "speaks_host");
    table.chain(
        "arp_from_host",
        vec![speaker().within(&[OIFNAME, ARP_DADDR_IP], "arp_target").accept(), Rule::new().drop(FLOODED)],
    );
    let neighbour = |kind, set| speaker().is(ICMPV6_TYPE, kind).within(&[OIFNAME, IP6_DADDR], set).accept();
    table.chain(
        "ipv6_from_host",
        vec![
            neighbour("nd-neighbor-solicit", "nd_destination"),
            neighbour("nd-neighbor-advert", "nic_ipv6"),
            Rule::new().one_of(ICMPV6_TYPE, DISCOVERY).drop(FLOODED),
            Rule::new().goto("allowed_from_host"),
        ],
    );
    table.chain(
        "allowed_from_host",
        vec![
            Rule::lookup(&[OIFNAME], "host_to"),
            Rule::lookup(&[OBRNAME], "host_to_segment"),
            Rule::new().drop(FORBIDDEN),
        ],
    );
}
