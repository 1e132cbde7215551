//! What the manifest wants of the ruleset, what the kernel has, and which of it is ours.

mod icmp;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use bulkhead_types::{GuestName, IfName, Mac, SegmentName};
use ipnet::IpNet;
use serde::Serialize;

pub use self::icmp::{IcmpType, UnknownIcmpType};

/// Name of our tables, `bridge bulkhead`, `inet bulkhead` and `arp bulkhead`: the ownership mark.
pub const TABLE: &str = "bulkhead";
/// Name of the set of our bridges, in each of our tables.
pub(crate) const BRIDGES: &str = "bridges";
/// Name of the table that closes the bridges before the daemon runs; removed in the transaction that commits the policy.
pub const LOCKDOWN_TABLE: &str = "bulkhead_lockdown";

/// Everything the manifest wants of the ruleset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Desired {
    /// Our bridges. Frames of other bridges are never looked at.
    pub bridges: Vec<Bridge>,
    /// Every NIC of every guest, started or not.
    pub nics: Vec<Nic>,
    /// What is allowed; everything else is dropped and counted.
    pub allows: Vec<Allow>,
    /// Links that somebody else made under the name of a declared uplink. They are left alone, and what they carry is not ours to
    /// drop.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub foreign: BTreeSet<IfName>,
    /// Whether every other bridge that the tables of the kernel name stays closed: for as long as nobody could read which bridges
    /// of ours are there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_closed: bool,
}

/// One of our bridges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bridge {
    /// The segment that it carries; `None` once none of the manifest does, and nothing passes until it is gone.
    pub segment: Option<SegmentName>,
    /// Its name, such as `br20`.
    pub name: IfName,
    /// The port towards the trunk, such as `vlan20`: whatever is beyond it is `outside`.
    pub outside: IfName,
    /// The bridge's own, pinned address: frames to it are for the host.
    pub mac: Mac,
    /// Whether the host speaks here; otherwise nothing enters or leaves the host through this bridge.
    pub host: bool,
    /// The host's addresses on it, with the lengths of their networks: a guest speaks with the host at these alone, and nobody else
    /// may use one.
    pub addresses: Vec<IpNet>,
}

/// A guest's NIC and the addresses it is pinned to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Nic {
    /// Whose it is.
    pub guest: GuestName,
    /// The segment that it is on.
    pub segment: SegmentName,
    /// Its port on the bridge.
    pub tap: IfName,
    /// The bridge it belongs on: that of the segment.
    pub bridge: IfName,
    /// The only source address of its frames.
    pub mac: Mac,
    /// Its IPv4 addresses; none means that it sends no IPv4 at all but DHCP.
    pub ipv4: Vec<Ipv4Addr>,
    /// Its IPv6 addresses (the link-local one of its MAC comes by itself); none means that it sends no IPv6 at all.
    pub ipv6: Vec<Ipv6Addr>,
    /// Whether it may speak DHCP with a server outside.
    pub dhcp: bool,
}

/// One `[[allow]]` of the manifest: new flows from one side to the other, on the bridges where both are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Allow {
    /// Who opens the flow.
    pub from: Endpoint,
    /// Who is spoken to.
    pub to: Endpoint,
    /// Source networks; empty means any.
    pub from_net: Vec<IpNet>,
    /// Destination networks; empty means any.
    pub to_net: Vec<IpNet>,
    /// What kind of traffic.
    pub what: Traffic,
}

/// One side of an allow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", content = "name", rename_all = "kebab-case")]
pub enum Endpoint {
    /// All NICs of one guest.
    Guest(GuestName),
    /// All guests on one segment.
    Segment(SegmentName),
    /// Whatever is beyond the trunk on one segment.
    Outside(SegmentName),
    /// This host.
    Host,
}

/// What an allow lets through. All lists empty and `any` false lets nothing through and is refused by the manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Every IPv4 and IPv6 packet; the lists are empty then.
    pub any: bool,
    /// TCP destination ports.
    pub tcp: Vec<RangeInclusive<u16>>,
    /// UDP destination ports.
    pub udp: Vec<RangeInclusive<u16>>,
    /// Types of ICMP and ICMPv6 messages.
    pub icmp: Vec<IcmpType>,
}

/// What the kernel has of ours.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Observed {
    /// Our counters, in all tables, by name.
    pub counters: Vec<Counter>,
    /// Whether all tables are owned by this process, and stay when it ends.
    pub owned: bool,
    /// Whether this kernel and nft can own a table so (kernel 6.9, nft 1.1).
    pub ownable: bool,
    /// Whether the table that closes the bridges before the daemon runs is there.
    pub lockdown: bool,
    /// Our tables, by family.
    pub(crate) tables: BTreeMap<&'static str, ObservedTable>,
}

impl Observed {
    /// The bridges that our tables are about.
    pub(crate) fn bridges(&self) -> BTreeSet<IfName> {
        let sets = self.tables.values().filter_map(|found| found.sets.get(BRIDGES));
        sets.flat_map(|set| set.elements.keys().flatten()).filter_map(|name| name.parse().ok()).collect()
    }

    /// Whether a table has an owner that is not this process. It may be gone when the plan is committed.
    pub(crate) fn owned_by_another(&self) -> bool {
        !self.owned && self.tables.values().any(|found| found.flags.contains("owner"))
    }
}

/// What a named counter has counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counter {
    /// Its name.
    pub name: String,
    /// Whether it counts what was dropped; otherwise the flows that an allow let through.
    pub dropped: bool,
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One of our tables as it is listed, with names only of what is not ours in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct ObservedTable {
    pub(crate) flags: BTreeSet<String>,
    pub(crate) counters: BTreeSet<String>,
    pub(crate) sets: BTreeMap<String, ObservedSet>,
    pub(crate) chains: BTreeMap<String, ObservedChain>,
    /// Whatever else is in it, as kind and name.
    pub(crate) foreign: Vec<(String, String)>,
}

/// A set or a verdict map as it is listed.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct ObservedSet {
    pub(crate) key: Vec<String>,
    pub(crate) verdicts: bool,
    /// Whether it has flags, a timeout, elements of a form or values that ours never have.
    pub(crate) foreign_form: bool,
    pub(crate) elements: BTreeMap<Vec<String>, Option<String>>,
}

/// A chain as it is listed.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct ObservedChain {
    /// Hook, priority and policy of a base chain, in nft's words.
    pub(crate) base: Option<String>,
    /// Each rule's expressions.
    pub(crate) rules: Vec<serde_json::Value>,
}
