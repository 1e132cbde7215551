//! From port to port of one bridge.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::arriving::CLAIMS;
use super::sets::PORTS;
use super::{Topology, sets};
use crate::counters::{DHCP, ETHERTYPE, FLOODED, FORBIDDEN, FRAGMENT, ROGUE, SPOOFED_IPV6, UNDECLARED};
use crate::rule::*;
use crate::table::{HookPoint, Table};

/// `NF_BR_PRI_FILTER_BRIDGED`: after conntrack and before br_netfilter hands the frame to the inet family.
pub(super) const FILTER: i32 = -200;

/// What is neighbour discovery and not to be allowed by anybody: conntrack does not look at it.
pub(super) const DISCOVERY: &[&str] =
    &["nd-router-solicit", "nd-router-advert", "nd-neighbor-solicit", "nd-neighbor-advert", "nd-redirect"];

/// What asks for listeners to groups (MLD), and then what tells of them.
const GROUPS: &[&str] = &["mld-listener-query", "mld-listener-report", "mld-listener-done", "mld2-listener-report"];

/// What tells of listeners to IPv4's groups.
const IGMP_REPORTS: &[&str] = &["membership-report-v1", "membership-report-v2", "membership-report-v3", "leave-group"];

pub(super) const IPV4_GROUPS: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4));
pub(super) const IPV6_GROUPS: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8));
const IPV6_LINK_LOCAL: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10));

pub(super) fn add(topology: &Topology<'_>, table: &mut Table) {
    table.base(
        "forward",
        HookPoint::Forward,
        FILTER,
        vec![
            Rule::new().within(&[IBRNAME], "bridges").goto("crossing"),
            // Declared ports that somebody put on another bridge.
            Rule::new().within(&[IIFNAME], PORTS).goto("crossing"),
            Rule::new().within(&[OIFNAME], PORTS).goto("crossing"),
        ],
    );
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
    between("crossing_arp", "arp_to_guest", table);
    table.chain(
        "arp_to_guest",
        vec![Rule::new().within(&[OIFNAME, ARP_DADDR_IP], "arp_target").accept(), Rule::new().drop(FLOODED)],
    );
    table.chain(
        "crossing_ipv4",
        vec![
            Rule::new().udp(68, 67).within(&[IIFNAME], "dhcp").within(&[OIFNAME], "outside").goto("dhcp_request"),
            Rule::new().udp(67, 68).within(&[IIFNAME], "outside").within(&[OIFNAME], "dhcp").goto("dhcp_reply"),
            // A client looks at its own port alone.
            Rule::new().number(UDP_DPORT, 68).within(&[IIFNAME], "nic").drop(ROGUE),
            Rule::new().protocol(Protocol::Igmp).goto("groups_ipv4"),
            Rule::new().goto("allowed"),
        ],
    );
    dhcp(topology, table);
    groups(table);
    table.chain(
        "crossing_ipv6",
        vec![
            Rule::new().ipv6_fragment().drop(FRAGMENT),
            Rule::new().one_of(ICMPV6_TYPE, DISCOVERY).goto("discovery"),
            Rule::new().one_of(ICMPV6_TYPE, GROUPS).goto("groups_ipv6"),
            Rule::new().number(UDP_DPORT, 546).within(&[IIFNAME], "nic").drop(ROGUE),
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

/// What makes neighbours known to each other goes to outside, and from there and between guests that have an allow with each other
/// to the chain that asks whom it is about.
fn between(name: &str, to_guest: &str, table: &mut Table) {
    table.chain(
        name,
        vec![
            Rule::new().within(&[OIFNAME], "outside").accept(),
            Rule::new().within(&[IIFNAME], "outside").goto(to_guest),
            Rule::new().within(&[IIFNAME, OIFNAME], "meets").goto(to_guest),
            Rule::new().within(&[IIFNAME], "mixes").goto(to_guest),
            Rule::new().within(&[OIFNAME], "mixes").goto(to_guest),
            Rule::new().within(&[IBRNAME], "mixed").goto(to_guest),
            Rule::new().drop(FLOODED),
        ],
    );
}

/// A client and a server speak of the NIC that the message passes, in the form of RFC 2131 and of no other.
fn dhcp(topology: &Topology<'_>, table: &mut Table) {
    // `op`, then `htype` 1 and `hlen` 6, which are Ethernet's.
    for (chain, port, kind, counter) in
        [("dhcp_request", IIFNAME, 0x01_01_06, DHCP), ("dhcp_reply", OIFNAME, 0x02_01_06, FLOODED)]
    {
        let clients = sets::clients(topology);
        let message = Rule::new().number(DHCP_KIND, kind).number(DHCP_COOKIE, 0x6382_5363);
        let message = (!clients.is_empty()).then(|| message.among(&[port, DHCP_CHADDR], clients).accept());
        table.chain(chain, message.into_iter().chain([Rule::new().drop(counter)]).collect());
    }
}

/// Who listens to a group says so to routers and switches outside, and is asked by them; what goes elsewhere takes an allow.
fn groups(table: &mut Table) {
    let out = |rule: Rule, nic| rule.within(&[IIFNAME], nic).within(&[OIFNAME], "outside").accept();
    let back = |rule: Rule, nic| rule.within(&[IIFNAME], "outside").within(&[OIFNAME], nic).accept();
    // RFC 3376, 4, and RFC 3810, 5: to a group and never routed, and MLD from a link-local address.
    let ipv4 = || Rule::new().net(IP_DADDR, IPV4_GROUPS).number(TTL, 1);
    table.chain(
        "groups_ipv4",
        vec![
            out(ipv4().one_of(IGMP_TYPE, IGMP_REPORTS), "nic"),
            back(ipv4().is(IGMP_TYPE, "membership-query"), "nic"),
            Rule::new().goto("allowed"),
        ],
    );
    let ipv6 = || Rule::new().net(IP6_DADDR, IPV6_GROUPS).net(IP6_SADDR, IPV6_LINK_LOCAL).number(HOP_LIMIT, 1);
    table.chain(
        "groups_ipv6",
        vec![
            out(ipv6().one_of(ICMPV6_TYPE, &GROUPS[1..]), "nic6"),
            back(ipv6().is(ICMPV6_TYPE, GROUPS[0]), "nic6"),
            Rule::new().goto("allowed"),
        ],
    );
}

fn discovery(topology: &Topology<'_>, table: &mut Table) {
    let kind = |kind| Rule::new().is(ICMPV6_TYPE, kind);
    table.chain(
        "discovery",
        vec![
            // Asked again where it is whole: of a part nothing of it could be seen.
            Rule::new().within(&[IIFNAME], "outside").jump(CLAIMS),
            Rule::new().number(HOP_LIMIT, 255).goto("discovery_on_link"),
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
    between("solicitation", "solicitation_to_guest", table);
    table.chain(
        "solicitation_to_guest",
        vec![Rule::new().within(&[OIFNAME, IP6_DADDR], "nd_destination").accept(), Rule::new().drop(FLOODED)],
    );
    let mut rules = Vec::new();
    let own = sets::targets(topology);
    if !own.is_empty() {
        rules.push(Rule::new().among(&[IIFNAME, ND_TARGET], own).goto("advertisement_of_own"));
    }
    rules.push(Rule::new().within(&[IIFNAME], "nic").drop(SPOOFED_IPV6));
    rules.push(Rule::new().goto("advertisement_of_own"));
    table.chain("advertisement", rules);
    between("advertisement_of_own", "advertisement_to_guest", table);
    table.chain(
        "advertisement_to_guest",
        vec![Rule::new().within(&[OIFNAME, IP6_DADDR], "nic_ipv6").accept(), Rule::new().drop(FLOODED)],
    );
}
