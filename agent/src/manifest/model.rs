//! The manifest resolved: what is required is there, what was left out has its default, names that nobody wrote are
//! derived. Nothing here knows of files, lines or TOML.
//!
//! It is made once of a manifest without errors (`resolve`); `lower/` takes it apart, room by room.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use bulkhead_policy::model::IcmpType;
use bulkhead_types::{GuestName, IfName, Mac, SegmentName, VlanId};
use ipnet::IpNet;

pub use crate::guest::model::Format;

/// A whole manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Ports that carry tagged frames, in the order of the files, whether they carry a segment or not.
    pub trunks: Vec<IfName>,
    /// Segments, in the order of the files.
    pub segments: Vec<Segment>,
    /// Directories of disk images.
    pub pools: Vec<Pool>,
    /// Guests, in the order of the files.
    pub guests: Vec<Guest>,
    /// Who may talk to whom, in the order of the files.
    pub allows: Vec<Allow>,
    /// What becomes of libvirt's own network.
    pub default_network: DefaultNetwork,
}

impl Model {
    /// Whether nothing would be made of it: a trunk alone is not touched.
    #[must_use]
    pub fn makes_nothing(&self) -> bool {
        let Self { trunks: _, segments, pools, guests, allows, default_network } = self;
        let empty = segments.is_empty() && pools.is_empty() && guests.is_empty() && allows.is_empty();
        empty && *default_network == DefaultNetwork::Keep
    }
}

/// A VLAN of a trunk and its bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its name.
    pub name: SegmentName,
    /// The trunk that carries it.
    pub trunk: IfName,
    /// Its tag.
    pub vlan: VlanId,
    /// The VLAN link on the trunk.
    pub vlan_link: IfName,
    /// The bridge that the VLAN link is a port of.
    pub bridge: IfName,
    /// MTU of all its links in bytes; `None` is the trunk's.
    pub mtu: Option<u32>,
    /// The host's own addresses and gateways on it; `None`: the host is invisible here.
    pub host: Option<Host>,
    /// A libvirt network that shows the bridge, if one does.
    pub libvirt_network: Option<String>,
}

/// The host's own addresses and gateways on a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its addresses, each with the prefix length of its network.
    pub addresses: Vec<IpNet>,
    /// Default gateways, at most one a family.
    pub gateways: Vec<IpAddr>,
    /// Metric of the default routes.
    pub metric: u32,
    /// DNS servers that the host asks here, the first first.
    pub dns: Vec<IpAddr>,
}

/// A directory of disk images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// The directory.
    pub path: PathBuf,
    /// Mode of the directory where it is made.
    pub mode: u32,
    /// Whether its guests wait for a dm-crypt mount.
    pub encrypted: bool,
}

/// A guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Its name.
    pub name: GuestName,
    /// RAM in bytes.
    pub memory: u64,
    /// Its CPUs.
    pub vcpus: Vcpus,
    /// Disks, in the order of their targets.
    pub disks: Vec<Disk>,
    /// NICs, in the order of the file.
    pub nics: Vec<Nic>,
    /// Limits of it and its QEMU together.
    pub limits: Limits,
    /// Whether it runs.
    pub start: bool,
}

/// CPUs of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vcpus {
    /// At start.
    pub now: u32,
    /// That can be there while it runs.
    pub max: u32,
}

/// A disk of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The device in the guest, such as `vda`.
    pub target: String,
    /// The pool's name.
    pub pool: String,
    /// The volume's name in the pool.
    pub volume: String,
    /// Size in bytes where the volume is made.
    pub size: u64,
    /// How the image is stored.
    pub format: Format,
}

/// A NIC of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// The segment that it is on.
    pub segment: SegmentName,
    /// The bridge of that segment.
    pub bridge: IfName,
    /// Its port on the bridge.
    pub tap: IfName,
    /// Its MAC address.
    pub mac: Mac,
    /// Its IPv4 and IPv6 addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it may talk to a DHCP server beyond the trunk.
    pub dhcp: bool,
}

/// Limits of a guest and its QEMU together; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// CPU time in microseconds a second.
    pub cpu: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// New flows that may pass from each of one side to each of the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    /// Who opens the flow.
    pub from: Vec<Endpoint>,
    /// Who is spoken to.
    pub to: Vec<Endpoint>,
    /// Source networks; empty is any.
    pub from_net: Vec<IpNet>,
    /// Destination networks; empty is any.
    pub to_net: Vec<IpNet>,
    /// Destination ports of TCP.
    pub tcp: Vec<RangeInclusive<u16>>,
    /// Destination ports of UDP.
    pub udp: Vec<RangeInclusive<u16>>,
    /// Types of ICMP and ICMPv6 messages.
    pub icmp: Vec<IcmpType>,
    /// Everything that is IPv4 or IPv6; the lists before are empty then.
    pub any: bool,
}

/// One side of an allow.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// As the manifest writes it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest(name) => write!(f, "guest.{name}"),
            Self::Segment(name) => write!(f, "segment.{name}"),
            Self::Outside(name) => write!(f, "outside.{name}"),
            Self::Host => f.write_str("host"),
        }
    }
}

/// What becomes of libvirt's own NAT network `default`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultNetwork {
    /// It is stopped and undefined.
    Absent,
    /// It is left as it is.
    Keep,
}
