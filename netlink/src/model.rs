//! What the manifest wants of links, what the kernel has, and which of it is ours.

mod links;

use std::collections::BTreeMap;
use std::net::IpAddr;

use bulkhead_types::{IfName, Mac, SegmentName, VlanId};
use ipnet::IpNet;
use netlink_packet_core::DecodeError;
use serde::Serialize;

pub use links::Links;

/// Link group (`IFLA_GROUP`) of every link that Bulkhead made: the ownership mark, settable in the creating message.
pub const LINK_GROUP: u32 = 25192;
/// Link group of links of ours that are being deleted: many are moved here, then one message deletes the group, because
/// deleting one by one costs an RCU wait each. A link found here was left by a crash in between, and is deleted.
pub const LEAVING_GROUP: u32 = 25193;
/// Protocol number (`IFA_PROTO`, Linux 5.18; `rtm_protocol`) of every address and route that Bulkhead made.
pub const PROTOCOL: u8 = 98;
/// Metric of a default route unless the manifest gives one.
pub const DEFAULT_METRIC: u32 = 4242;

/// The alias of our VLAN links on the trunk of that name. It remembers what the manifest calls the link below, so that a trunk
/// that is renamed is told apart from another trunk.
#[must_use]
pub fn trunk_alias(trunk: &IfName) -> String {
    format!("bulkhead: trunk {trunk}")
}

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
    /// Its name in the manifest.
    pub name: SegmentName,
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

impl Host {
    /// Whether a gateway has to be called on the link: it is in no network of the host's, and one of these is of a single address,
    /// which has no other neighbour than its gateway. A link-local one always is on the link.
    #[must_use]
    pub fn is_on_link(&self, gateway: IpAddr) -> bool {
        let link_local = matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let mut family = self.addresses.iter().filter(|own| own.addr().is_ipv4() == gateway.is_ipv4());
        let near = family.clone().any(|own| own.contains(&gateway));
        !link_local && !near && family.any(|own| own.prefix_len() == own.max_prefix_len())
    }
}

/// A declared NIC's port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Port {
    /// The segment that its NIC is on.
    pub segment: SegmentName,
    /// The bridge it belongs on: that of the segment.
    pub bridge: IfName,
    /// The only source address behind it.
    pub mac: Mac,
}

/// What the kernel has, as far as this room needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Observed {
    /// Every link of the network namespace.
    pub links: Links,
    /// Every address of every link.
    pub addresses: Vec<Address>,
    /// The default routes of the main table, and every route with [`PROTOCOL`].
    pub routes: Vec<Route>,
    /// Static FDB entries (`NUD_NOARP`) of the declared ports that stand on a bridge of ours.
    pub fdb: Vec<FdbEntry>,
    /// Addresses, routes and FDB entries that are there and could not be decoded.
    pub unread: Vec<Unread>,
}

impl Observed {
    /// The link of that name.
    #[must_use]
    pub fn link(&self, name: &IfName) -> Option<&Link> {
        self.links.named(name)
    }

    /// Whether this kernel has IPv6 at all: some link, if only `lo`, then has a configuration of it.
    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        self.links.values().any(|link| link.ipv6.is_some())
    }
}

/// An object of the kernel that could not be decoded: nothing else is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// What it is, in words.
    pub what: &'static str,
    /// The link that it belongs to, by ifindex, as far as that is known.
    pub index: Option<u32>,
    /// What is wrong with the kernel's message.
    pub why: String,
}

impl Unread {
    pub(crate) fn new(what: &'static str, index: Option<u32>, why: &DecodeError) -> Self {
        Self { what, index, why: why.to_string() }
    }
}

/// A link as the kernel has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Its ifindex.
    pub index: u32,
    /// Its name. The kernel takes any bytes in that of a foreign link; those that are not UTF-8 are replaced (U+FFFD).
    pub name: String,
    /// Its alternative names (`ip link property add dev NAME altname OTHER`), in the same form.
    pub altnames: Vec<String>,
    /// Its alias: of a VLAN link of ours, what [`trunk_alias`] makes of its trunk's name in the manifest.
    pub alias: Option<String>,
    /// What it is.
    pub kind: Kind,
    /// Link group (`IFLA_GROUP`), 0 unless set.
    pub group: u32,
    /// Whether it is administratively up (`IFF_UP`).
    pub up: bool,
    /// MTU in bytes.
    pub mtu: u32,
    /// Its Ethernet address, where it has one of a single station.
    pub mac: Option<Mac>,
    /// The bridge, bond or VRF it is a port of.
    pub master: Option<u32>,
    /// Its flags as the port of a bridge.
    pub port: Option<PortFlags>,
    /// Whether IPv6 may speak on it (`disable_ipv6` = 0); `None` where the link has no IPv6 at all, as below an MTU of 1280.
    pub ipv6: Option<bool>,
    /// Why some of the above could not be decoded and has its default here; nothing is changed of such a link.
    pub unread: Option<String>,
}

impl Link {
    /// The ownership predicate: the link's name if Bulkhead made it, by its group and by being of a kind that we make.
    #[must_use]
    pub fn own(&self) -> Option<IfName> {
        let made = self.unread.is_none() && matches!(self.kind, Kind::Bridge(_) | Kind::Vlan { .. });
        if made && matches!(self.group, LINK_GROUP | LEAVING_GROUP) { self.name.parse().ok() } else { None }
    }
}

/// What a link is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A bridge, with the options that matter here.
    Bridge(BridgeOptions),
    /// A VLAN link.
    Vlan {
        /// The tag.
        id: u16,
        /// The link that carries it; `None` if that is in another network namespace.
        parent: Option<u32>,
        /// Whether the tag is 802.1Q (ethertype 0x8100), and not 802.1ad.
        dot1q: bool,
    },
    /// Anything else, by the kernel's name of it; a physical port has none.
    Other(String),
}

impl Default for Kind {
    fn default() -> Self {
        Self::Other(String::new())
    }
}

impl Kind {
    /// The kernel's name of the kind.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Bridge(_) => "bridge",
            Self::Vlan { .. } => "vlan",
            Self::Other(kind) if kind.is_empty() => "physical port",
            Self::Other(kind) => kind,
        }
    }
}

/// The link-local groups (01:80:c2:00:00:0X, one bit each) that our bridges treat as any other multicast, so that the policy
/// sees and drops them: 01:80:c2:00:00:0e would otherwise reach the host by the port itself, past every hook of the bridge
/// (`br_handle_frame` of `net/bridge/br_input.c`). The kernel refuses the bits of 00, 01 and 02, of which it forwards the first,
/// drops the second, and shows the third to the bridge's input hook.
pub const FORWARDED_GROUPS: u16 = 0xfff8;

/// Options of a bridge. The default is what our bridges have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BridgeOptions {
    /// Spanning tree: it would send frames of its own.
    pub stp: bool,
    /// Multicast snooping: without a querier it breaks IPv6 neighbour discovery, and with one it sends queries.
    pub mcast_snooping: bool,
    /// VLAN filtering of the bridge itself: our VLANs are links of their own.
    pub vlan_filtering: bool,
    /// Link-local groups (01:80:c2:00:00:0X) that it treats as any other multicast.
    pub group_fwd_mask: u16,
    /// Whether frames to link-local groups teach it no address; `None` before Linux 5.0.
    pub no_linklocal_learn: Option<bool>,
}

impl Default for BridgeOptions {
    fn default() -> Self {
        Self {
            stp: false,
            mcast_snooping: false,
            vlan_filtering: false,
            group_fwd_mask: FORWARDED_GROUPS,
            no_linklocal_learn: Some(true),
        }
    }
}

impl BridgeOptions {
    /// Whether they are those of our bridges, as far as the kernel knows them.
    #[must_use]
    pub fn are_ours(self) -> bool {
        let no_linklocal_learn = self.no_linklocal_learn.and(Self::default().no_linklocal_learn);
        self == Self { no_linklocal_learn, ..Self::default() }
    }
}

/// Flags of a bridge port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PortFlags {
    /// Source addresses become FDB entries.
    pub learning: bool,
    /// Unicast to unknown addresses goes out here.
    pub flood: bool,
    /// Multicast to groups without a known member goes out here.
    pub mcast_flood: bool,
    /// Broadcast goes out here.
    pub bcast_flood: bool,
    /// Only frames of sources with an FDB entry on this port enter; `None` before Linux 5.16.
    pub locked: Option<bool>,
    /// No frames to other isolated ports.
    pub isolated: bool,
    /// Frames may leave through the port they came by.
    pub hairpin: bool,
}

impl PortFlags {
    /// A guest's port: its one address is static, nothing is learned from it, no stranger's unicast is shown to it.
    #[must_use]
    pub fn guest(kernel_locks: bool) -> Self {
        Self { flood: false, locked: kernel_locks.then_some(true), ..Self::uplink(false) }
    }

    /// The VLAN link: the only port that unknown unicast goes to. So nothing has to be learned from it, and nobody beyond the trunk
    /// can move an address there or fill the table.
    #[must_use]
    pub fn uplink(kernel_locks: bool) -> Self {
        Self { learning: false, ..Self::new(kernel_locks) }
    }

    /// What the kernel gives a port that becomes one (`new_nbp` of `net/bridge/br_if.c`).
    #[must_use]
    pub fn new(kernel_locks: bool) -> Self {
        Self {
            learning: true,
            flood: true,
            mcast_flood: true,
            bcast_flood: true,
            locked: kernel_locks.then_some(false),
            isolated: false,
            hairpin: false,
        }
    }
}

/// An address of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Address {
    /// The link's ifindex.
    pub index: u32,
    /// Address and prefix length.
    pub address: IpNet,
    /// Who added it (`IFA_PROTO`): [`PROTOCOL`] is us, 1 to 3 the kernel, 0 unsaid.
    pub protocol: u8,
    /// An IPv4 address with an earlier one in its subnet; by default the kernel deletes it together with that one.
    pub secondary: bool,
    /// Duplicate address detection found another station with this IPv6 address.
    pub duplicate: bool,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Table number; 254 is main.
    pub table: u32,
    /// Where it leads; prefix length 0 is the default route.
    pub destination: IpNet,
    /// The next hop, if there is exactly one with an address.
    pub gateway: Option<IpAddr>,
    /// The link it leaves by, if there is exactly one.
    pub index: Option<u32>,
    /// Metric (`RTA_PRIORITY`): the lowest is used.
    pub metric: u32,
    /// Who added it: [`PROTOCOL`] is us.
    pub protocol: u8,
}

/// A static FDB entry of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FdbEntry {
    /// The port's ifindex.
    pub index: u32,
    /// The address behind it.
    pub mac: Mac,
    /// Whether it stays on its port although a frame with that source comes by another (`NTF_STICKY`, Linux 4.20).
    pub sticky: bool,
}
