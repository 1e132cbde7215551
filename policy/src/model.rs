//! What the manifest wants of the ruleset, what the kernel has, and which of it is ours.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use bulkhead_types::{GuestName, IfName, Mac};
use ipnet::IpNet;
use serde::Serialize;

/// Name of our two tables, `bridge bulkhead` and `inet bulkhead`: the ownership mark.
pub const TABLE: &str = "bulkhead";
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
}

/// One of our bridges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bridge {
    /// Its name, such as `br20`.
    pub name: IfName,
    /// The port towards the trunk, such as `vlan20`: whatever is beyond it is `outside`.
    pub outside: IfName,
    /// Conntrack zone, unique to this bridge, never 0 (the host's own).
    pub zone: u16,
    /// The bridge's own, pinned address: frames to it are for the host.
    pub mac: Mac,
    /// Whether the host speaks here; otherwise nothing enters or leaves the host through this bridge.
    pub host: bool,
}

/// A guest's NIC and the addresses it is pinned to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Nic {
    /// Whose it is.
    pub guest: GuestName,
    /// Its port on the bridge.
    pub tap: IfName,
    /// The bridge it belongs on.
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
    /// All guests on one segment, by its bridge.
    Segment(IfName),
    /// Whatever is beyond the trunk on one segment, by its bridge.
    Outside(IfName),
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
    /// ICMP and ICMPv6 echo requests (with `icmp = true` or `["echo-request"]`) and other types by their nft name.
    pub icmp: Vec<String>,
}
