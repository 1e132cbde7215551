//! From port to port of one bridge.

use super::{Topology, sets};
use crate::counters::{ETHERTYPE, FLOODED, FORBIDDEN, FRAGMENT, ROGUE, SPOOFED_IPV6, UNDECLARED};
use crate::rule::*;
use crate::table::{HookPoint, Table};

/// `NF_BR_PRI_FILTER_BRIDGED`: after conntrack and before br_netfilter hands the frame to the inet family.
pub(super) const FILTER: i32 = -200;

/// What is neighbour discovery and not to be allowed by anybody: conntrack does not look at it.
pub(super) const DISCOVERY: &[&str] =
    &["nd-router-solicit", "nd-router-advert", "nd-neighbor-solicit", "nd-neighbor-advert", "nd-redirect"];

pub(super) fn add(topology: &Topology<'_>, table: &mut Table) {
    table.base("forward", HookPoint::Forward, FILTER, vec![Rule::new().within(&[IBRNAME], "bridges").goto("crossing")]);
    table.chain(
        "crossing",
        vec![Rule::new().within(&[OIFNAME, OBRNAME], "port").goto("crossing_to_port"), Rule::new().drop(UNDECLARED)],
    );
    table.chain(
        "crossing_to_port",
        vec![
            Rule::choose(
                ETHER_TYPE,
                &[
                    ("arp", "crossing_arp"),
                    ("ip", "crossing_ipv4"),
                    ("ip6", "crossing_ipv6"),
                    ("8021q", "tagged"),
                    ("8021ad", "tagged"),
                ],
            ),
            Rule::new().drop(ETHERTYPE),
        ],
    );
    table.chain(
        "crossing_arp",
        vec![
            Rule::new().within(&[OIFNAME], "outside").accept(),
            Rule::new().within(&[OIFNAME, ARP_DADDR_IP], "arp_target").accept(),
            Rule::new().drop(FLOODED),
        ],
    );
    table.chain(
        "crossing_ipv4",
        vec![
            Rule::new().udp(68, 67).within(&[IIFNAME], "dhcp").within(&[OIFNAME], "outside").accept(),
            Rule::new().udp(67, 68).within(&[IIFNAME], "outside").within(&[OIFNAME], "dhcp").accept(),
            Rule::new().udp(67, 68).within(&[IIFNAME], "nic").drop(ROGUE),
            Rule::new().goto("allowed"),
        ],
    );
    table.chain(
        "crossing_ipv6",
        vec![
            Rule::new().fragment().drop(FRAGMENT),
            Rule::new().one_of(ICMPV6_TYPE, DISCOVERY).goto("discovery"),
            Rule::new().udp(547, 546).within(&[IIFNAME], "nic").drop(ROGUE),
            Rule::new().goto("allowed"),
        ],
    );
    discovery(topology, table);
    table.chain(
        "allowed",
        vec![
            Rule::lookup(&[IIFNAME, OIFNAME], "pair"),
            Rule::new().within(&[OIFNAME], "nic").then_lookup(&[IIFNAME], "from_port"),
            Rule::new().within(&[IIFNAME], "nic").then_lookup(&[OIFNAME], "to_port"),
            Rule::new().within(&[IIFNAME], "nic").within(&[OIFNAME], "nic").then_lookup(&[IBRNAME], "among"),
            Rule::new().drop(FORBIDDEN),
        ],
    );
}

fn discovery(topology: &Topology<'_>, table: &mut Table) {
    let kind = |kind| Rule::new().is(ICMPV6_TYPE, kind);
    table.chain(
        "discovery",
        vec![
            Rule::new().number(Field::Payload(Header::Ip6, "hoplimit"), 255).goto("discovery_on_link"),
            Rule::new().drop(SPOOFED_IPV6),
        ],
    );
    table.chain(
        "discovery_on_link",
        vec![
            kind("nd-neighbor-solicit").goto("solicitation"),
            kind("nd-neighbor-advert").goto("advertisement"),
            kind("nd-router-advert").within(&[IIFNAME], "outside").within(&[OIFNAME], "nic6").accept(),
            kind("nd-router-solicit").within(&[IIFNAME], "nic6").within(&[OIFNAME], "outside").accept(),
            Rule::new().one_of(ICMPV6_TYPE, &["nd-router-advert", "nd-redirect"]).within(&[IIFNAME], "nic").drop(ROGUE),
            Rule::new().drop(FLOODED),
        ],
    );
    table.chain(
        "solicitation",
        vec![
            Rule::new().within(&[OIFNAME], "outside").accept(),
            Rule::new().within(&[OIFNAME, IP6_DADDR], "nd_destination").accept(),
            Rule::new().drop(FLOODED),
        ],
    );
    let mut rules = Vec::new();
    let own = sets::targets(|nic| nic.tap.clone(), topology);
    if !own.is_empty() {
        rules.push(Rule::new().among(&[IIFNAME, Field::NdTarget], own).goto("advertisement_of_own"));
    }
    rules.push(Rule::new().within(&[IIFNAME], "nic").drop(SPOOFED_IPV6));
    let reserved = sets::targets(|nic| nic.bridge.clone(), topology);
    if !reserved.is_empty() {
        rules.push(Rule::new().among(&[IBRNAME, Field::NdTarget], reserved).drop(SPOOFED_IPV6));
    }
    rules.push(Rule::new().goto("advertisement_of_own"));
    table.chain("advertisement", rules);
    table.chain(
        "advertisement_of_own",
        vec![
            Rule::new().within(&[OIFNAME], "outside").accept(),
            Rule::new().within(&[OIFNAME, IP6_DADDR], "nic_ipv6").accept(),
            Rule::new().drop(FLOODED),
        ],
    );
}
