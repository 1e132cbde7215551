//! What the manifest wants of links, what the kernel has, and which of it is ours.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bulkhead_types::{IfName, Mac, VlanId};
use ipnet::IpNet;
use serde::Serialize;

/// Link group (`IFLA_GROUP`) of every link that Bulkhead made: the ownership mark, settable in the creating message.
pub const LINK_GROUP: u32 = 25192;
/// Protocol number (`IFA_PROTO`, Linux 5.18; `rtm_protocol`) of every address and route that Bulkhead made.
pub const PROTOCOL: u8 = 98;
/// Metric of a default route unless the manifest gives one.
pub const DEFAULT_METRIC: u32 = 4242;

/// Everything the manifest wants of links.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Desired {
    /// One VLAN link and one bridge each.
    pub segments: Vec<Segment>,
    /// Ports that libvirt or an administrator puts on our bridges: the taps of declared NICs, by name. They are never
    /// made or deleted here; their flags, MTU and static FDB entry are set once they stand on *their* bridge.
    pub ports: BTreeMap<IfName, Port>,
}

/// A VLAN of a trunk, bridged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// The port that carries the tag; foreign, and only set up if it is down.
    pub trunk: IfName,
    /// The 802.1Q tag.
    pub vlan: VlanId,
    /// The VLAN link, such as `vlan20`.
    pub vlan_link: IfName,
    /// The bridge, such as `br20`.
    pub bridge: IfName,
    /// The bridge's own address, pinned so that no port changes it.
    pub mac: Mac,
    /// MTU in bytes of the VLAN link, the bridge and its ports; `None` follows the trunk.
    pub mtu: Option<u32>,
    /// The host on this segment; `None` makes it invisible: no address of any family, no frame of its own.
    pub host: Option<Host>,
}

/// The host's own addresses on a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Addresses with their prefix lengths; the host bits are kept.
    pub addresses: Vec<IpNet>,
    /// At most one default gateway a family.
    pub gateways: Vec<IpAddr>,
    /// Metric of the default routes.
    pub metric: u32,
}

/// A declared NIC's port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Port {
    /// The bridge it belongs on.
    pub bridge: IfName,
    /// The only source address behind it.
    pub mac: Mac,
}
