//! The writes that a plan is made of.

use std::fmt;
use std::net::IpAddr;

use bulkhead_types::{IfName, Mac, Object, SegmentName, VlanId};
use ipnet::IpNet;
use serde::Serialize;

use crate::model::{FORWARDED_GROUPS, LINK_GROUP, PROTOCOL, PortFlags, Route, Segment};

/// The bridge of the segment that a step belongs to; displayed as the bridge's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentBridge {
    /// The bridge.
    pub name: IfName,
    /// The segment; `None` once no segment of the manifest has this bridge.
    pub segment: Option<SegmentName>,
}

impl SegmentBridge {
    /// A bridge of ours that no segment has any more.
    #[must_use]
    pub const fn left(name: IfName) -> Self {
        Self { name, segment: None }
    }

    /// What its steps and notices belong to.
    pub(crate) fn object(&self) -> Object {
        self.segment.clone().map_or_else(|| Object::Bridge(self.name.clone()), Object::Segment)
    }
}

impl From<&Segment> for SegmentBridge {
    fn from(segment: &Segment) -> Self {
        Self { name: segment.bridge.clone(), segment: Some(segment.name.clone()) }
    }
}

impl fmt::Display for SegmentBridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// One write.
///
/// The fields mean the same in every step: `bridge` is that of the segment it belongs to, `link` or `port` the link that it writes
/// to, `index` that link's ifindex, `parent` and `master` are ifindexes, `mtu` is in bytes.
#[allow(missing_docs, reason = "said once, above, for all variants")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Set a declared trunk up: the only thing done to it. `link` is what it is called now.
    TrunkUp { trunk: IfName, link: String, index: u32 },
    /// Delete a VLAN link or a bridge of ours. `by_group`: it may go together with its neighbours in the plan, because
    /// nothing foreign is in the group that they are moved to.
    DeleteLink { bridge: SegmentBridge, link: IfName, index: u32, is_bridge: bool, by_group: bool },
    /// Delete an address: one of ours, or a foreign one on a segment where the host is invisible.
    DeleteAddress { bridge: SegmentBridge, link: IfName, index: u32, address: IpNet },
    /// Delete a route of ours.
    DeleteRoute { bridge: SegmentBridge, route: Route },
    /// Make a bridge, down.
    CreateBridge { bridge: SegmentBridge, index: u32, mac: Mac, mtu: u32 },
    /// Make a VLAN link as a port of its bridge, down. `trunk` is what the trunk is called now.
    CreateVlan {
        bridge: SegmentBridge,
        link: IfName,
        index: u32,
        trunk: String,
        parent: u32,
        vlan: VlanId,
        master: u32,
        mtu: u32,
    },
    /// Set a link of ours down, because what comes next would make it speak.
    LinkDown { bridge: SegmentBridge, link: IfName, index: u32 },
    /// Set attributes of a link of ours back.
    ChangeLink { bridge: SegmentBridge, link: IfName, index: u32, changes: Vec<Change> },
    /// Let IPv6 speak on a link of ours, or not, and never on a guest's port (`disable_ipv6`; a sysctl, for which there is
    /// no message).
    SetIpv6 { bridge: SegmentBridge, link: IfName, on: bool },
    /// Set a link of ours up. `by_group`: all of the group that is down is set up by this plan, so that one message for
    /// the group does the same.
    LinkUp { bridge: SegmentBridge, link: IfName, index: u32, by_group: bool },
    /// Add an address to a bridge.
    AddAddress { bridge: SegmentBridge, index: u32, address: IpNet },
    /// Add a default route through a bridge. `on_link`: the gateway is on it, although in no network of the host's.
    AddRoute { bridge: SegmentBridge, index: u32, gateway: IpAddr, metric: u32, on_link: bool },
    /// Set the flags, and the MTU if given, of a port on a bridge of ours.
    ChangePort { bridge: SegmentBridge, port: IfName, index: u32, flags: PortFlags, mtu: Option<u32> },
    /// Set a declared port on a bridge of ours up. libvirt sets every tap up that it makes, also the one of a NIC whose link the
    /// guest's definition has down: that is a matter between QEMU and the guest.
    PortUp { bridge: SegmentBridge, port: IfName, index: u32 },
    /// Delete a static FDB entry of a declared port that is not its NIC's.
    DeleteFdb { bridge: SegmentBridge, port: IfName, index: u32, mac: Mac },
    /// Make the NIC's address static on its port.
    AddFdb { bridge: SegmentBridge, port: IfName, index: u32, mac: Mac },
}

/// An attribute of a link of ours, with the value that it gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// MTU in bytes.
    Mtu(u32),
    /// The bridge's pinned address.
    Mac(Mac),
    /// The bridge it is a port of, by ifindex; none for a bridge.
    Master(Option<u32>),
    /// What a VLAN link remembers its trunk by.
    Alias(String),
    /// The flags of a VLAN link as the port of its bridge.
    Port(PortFlags),
    /// Spanning tree, multicast snooping and VLAN filtering off; link-local groups forwarded, and nothing learned from them.
    BridgeOptions {
        /// Whether VLAN filtering has to be switched off; a kernel without it would refuse to be asked.
        vlan_filtering: bool,
    },
}

impl bulkhead_types::Step for Step {
    fn object(&self) -> Object {
        match self {
            Self::TrunkUp { trunk, .. } => Object::Trunk(trunk.clone()),
            Self::DeleteLink { bridge, .. }
            | Self::DeleteAddress { bridge, .. }
            | Self::DeleteRoute { bridge, .. }
            | Self::CreateBridge { bridge, .. }
            | Self::CreateVlan { bridge, .. }
            | Self::LinkDown { bridge, .. }
            | Self::ChangeLink { bridge, .. }
            | Self::SetIpv6 { bridge, .. }
            | Self::LinkUp { bridge, .. }
            | Self::AddAddress { bridge, .. }
            | Self::AddRoute { bridge, .. }
            | Self::ChangePort { bridge, .. }
            | Self::PortUp { bridge, .. }
            | Self::DeleteFdb { bridge, .. }
            | Self::AddFdb { bridge, .. } => bridge.object(),
        }
    }

    /// The host's own addresses and routes, and IPv6 for them: guests and their ports do without. What is deleted was no longer
    /// to be there, and an address that stays would let the host speak.
    fn required(&self) -> bool {
        !matches!(
            self,
            Self::AddAddress { .. } | Self::AddRoute { .. } | Self::DeleteRoute { .. } | Self::SetIpv6 { on: true, .. }
        )
    }
}

/// In the words of iproute2, so that a reader can say the same by hand.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrunkUp { link, .. } => write!(f, "ip link set {link} up"),
            Self::DeleteLink { link, .. } => write!(f, "ip link delete {link}"),
            Self::DeleteAddress { link, address, .. } => write!(f, "ip address delete {address} dev {link}"),
            Self::DeleteRoute { route, .. } => write_route(f, route),
            Self::CreateBridge { bridge, index, mac, mtu } => write!(
                f,
                "ip link add {bridge} index {index} address {mac} mtu {mtu} group {LINK_GROUP} type bridge {}",
                bridge_options()
            ),
            Self::CreateVlan { bridge, link, index, trunk, vlan, mtu, .. } => write!(
                f,
                "ip link add {link} link {trunk} index {index} master {bridge} mtu {mtu} group {LINK_GROUP} type vlan id {vlan}"
            ),
            Self::LinkDown { link, .. } => write!(f, "ip link set {link} down"),
            Self::ChangeLink { link, changes, .. } => {
                write!(f, "ip link set {link}")?;
                changes.iter().try_for_each(|change| write!(f, " {change}"))
            }
            Self::SetIpv6 { link, on, .. } => write!(f, "sysctl net.ipv6.conf.{link}.disable_ipv6={}", u8::from(!on)),
            Self::LinkUp { link, .. } => write!(f, "ip link set {link} up"),
            Self::AddAddress { bridge, address, .. } => {
                write!(f, "ip address add {address} dev {bridge} proto {PROTOCOL}")
            }
            Self::AddRoute { bridge, gateway, metric, on_link, .. } => {
                write!(f, "ip route add default via {gateway} dev {bridge} metric {metric} proto {PROTOCOL}")?;
                if *on_link { f.write_str(" onlink") } else { Ok(()) }
            }
            Self::ChangePort { port, flags, mtu, .. } => {
                if let Some(mtu) = mtu {
                    write!(f, "ip link set {port} mtu {mtu}; ")?;
                }
                write!(f, "bridge link set dev {port} {flags}")
            }
            Self::PortUp { port, .. } => write!(f, "ip link set {port} up"),
            Self::DeleteFdb { port, mac, .. } => write!(f, "bridge fdb delete {mac} dev {port} master static"),
            Self::AddFdb { port, mac, .. } => write!(f, "bridge fdb add {mac} dev {port} master static sticky"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mtu(mtu) => write!(f, "mtu {mtu}"),
            Self::Mac(mac) => write!(f, "address {mac}"),
            Self::Master(Some(index)) => write!(f, "master if{index}"),
            Self::Master(None) => f.write_str("nomaster"),
            Self::Alias(alias) => write!(f, "alias '{alias}'"),
            Self::Port(flags) => write!(f, "type bridge_slave {flags}"),
            Self::BridgeOptions { vlan_filtering } => {
                write!(f, "type bridge {}", bridge_options())?;
                if *vlan_filtering { f.write_str(" vlan_filtering 0") } else { Ok(()) }
            }
        }
    }
}

fn write_route(f: &mut fmt::Formatter<'_>, route: &Route) -> fmt::Result {
    write!(f, "ip route delete {}", route.destination)?;
    if let Some(gateway) = route.gateway {
        write!(f, " via {gateway}")?;
    }
    write!(f, " metric {} table {} proto {}", route.metric, route.table, route.protocol)
}

/// What every bridge of ours has, as `ip link` takes it.
fn bridge_options() -> String {
    format!("mcast_snooping 0 stp_state 0 group_fwd_mask {FORWARDED_GROUPS:#x} no_linklocal_learn 1")
}

impl fmt::Display for PortFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |on| if on { "on" } else { "off" };
        write!(f, "learning {} flood {}", word(self.learning), word(self.flood))?;
        write!(f, " mcast_flood {} bcast_flood {}", word(self.mcast_flood), word(self.bcast_flood))?;
        write!(f, " isolated {} hairpin {}", word(self.isolated), word(self.hairpin))?;
        self.locked.map_or(Ok(()), |locked| write!(f, " locked {}", word(locked)))
    }
}
