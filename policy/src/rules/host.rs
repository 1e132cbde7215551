//! Between a bridge and the host.

use super::arriving::CLAIMS;
use super::crossing::{DISCOVERY, FILTER, IPV4_GROUPS, IPV6_GROUPS};
use super::sets::PORTS;
use super::{Topology, sets};
use crate::counters::{
    ETHERTYPE, FLOODED, FORBIDDEN, FRAGMENT, HOST, LINK_LOCAL, PROMISCUOUS, ROGUE, SPOOFED_IPV6, SPOOFED_MAC,
    UNDECLARED,
};
use crate::rule::*;
use crate::table::{HookPoint, Table};

const GROUPS: &[&str] = &["broadcast", "multicast"];

pub(super) fn add(topology: &Topology<'_>, table: &mut Table) {
    to_host(table);
    guest_to_own(topology, table);
    from_host(table);
}

fn to_host(table: &mut Table) {
    // A frame for a link-local group that the bridge does not forward skips prerouting and comes straight here; one for
    // 01:80:c2:00:00:0e does not even come here, but to `past_bridge`.
    table.base(
        "input",
        HookPoint::Input,
        FILTER,
        vec![
            Rule::new().within(&[IBRNAME], "bridges").goto("to_bridge"),
            Rule::new().within(&[IIFNAME], PORTS).goto("to_bridge"),
        ],
    );
    table.chain(
        "to_bridge",
        vec![
            Rule::new().within(&[ETHER_DADDR], "link_local").drop(LINK_LOCAL),
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
            // Asked again where it is whole: of a part nothing of it could be seen.
            Rule::new().is(ETHER_TYPE, "ip6").jump(CLAIMS),
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
    let speaker = || Rule::new().within(&[IIFNAME], "speaks_host");
    table.chain(
        "arp_to_host",
        vec![speaker().within(&[IBRNAME, ARP_DADDR_IP], "host_ipv4").accept(), Rule::new().drop(FLOODED)],
    );
    // The host takes packets for any of its addresses by any link, so that these are named. It may open a flow from another one, such
    // as one that a router gave it, and is answered there.
    let answer = || Rule::new().is(Field::Ct(Ct::Direction), "reply").goto("allowed_to_host");
    table.chain(
        "ipv4_to_host",
        vec![
            Rule::new().number(UDP_DPORT, 68).drop(ROGUE),
            answer(),
            Rule::new().within(&[IBRNAME, IP_DADDR], "host_ipv4").goto("allowed_to_host"),
            Rule::new().net(IP_DADDR, IPV4_GROUPS).goto("allowed_to_host"),
            Rule::new().is(IP_DADDR, "255.255.255.255").goto("allowed_to_host"),
            Rule::new().drop(HOST),
        ],
    );
    table.chain(
        "ipv6_to_host",
        vec![
            Rule::new().ipv6_fragment().drop(FRAGMENT),
            Rule::new().one_of(ICMPV6_TYPE, DISCOVERY).goto("discovery_to_host"),
            Rule::new().number(UDP_DPORT, 546).drop(ROGUE),
            answer(),
            Rule::new().within(&[IBRNAME, IP6_DADDR], "host_ipv6").goto("allowed_to_host"),
            Rule::new().net(IP6_DADDR, IPV6_GROUPS).goto("allowed_to_host"),
            Rule::new().drop(HOST),
        ],
    );
    let neighbour = |kind| {
        let on_link = Rule::new().is(ICMPV6_TYPE, kind).number(HOP_LIMIT, 255);
        on_link.within(&[IIFNAME], "speaks_host")
    };
    let mut rules = vec![neighbour("nd-neighbor-solicit").accept()];
    let own = sets::targets(topology);
    if !own.is_empty() {
        rules.push(neighbour("nd-neighbor-advert").among(&[IIFNAME, ND_TARGET], own).accept());
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
        vec![
            Rule::new().within(&[OBRNAME], "bridges").goto("from_bridge"),
            Rule::new().within(&[OIFNAME], PORTS).goto("from_bridge"),
        ],
    );
    table.chain(
        "from_bridge",
        vec![Rule::new().within(&[OBRNAME], "host_bridges").goto("from_host"), Rule::new().drop(HOST)],
    );
    // A link that somebody stacked on the bridge, as a macvlan, sends by it with addresses and tags of its own.
    table.chain(
        "from_host",
        vec![Rule::new().within(&[OBRNAME, ETHER_SADDR], "own_mac").goto("from_own"), Rule::new().drop(SPOOFED_MAC)],
    );
    table.chain("from_own", vec![Rule::lookup(&[OIFNAME, OBRNAME], "from_host_port"), Rule::new().drop(UNDECLARED)]);
    table.chain(
        "host_to_outside",
        vec![Rule::choose(ETHER_TYPE, &[("8021q", "tagged"), ("8021ad", "tagged")]), Rule::new().accept()],
    );
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
