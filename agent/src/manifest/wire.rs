//! The tables and keys of the manifest, each declared once: what is read, what the schema says and what the reference page
//! must mention. Their words are the user's: they end up in `bulkhead schema`.

use std::net::IpAddr;

use bulkhead_types::{GuestName, IfName, Mac, SegmentName, VlanId};
use ipnet::IpNet;

use super::location::Located;
use super::model::{DefaultNetwork, Endpoint, Format};
use super::read::table;
use super::value::{
    Cpu, Icmp, LibvirtName, List, Many, Metric, Mode, Mtu, Name, Named, Net, Pids, PoolPath, Ports, Size, Target,
    Vcpus, Volume,
};
use crate::guest::model as room;

table! {
    /// What a host is to be: its trunks, segments, pools and guests, and who may talk to whom. `/etc/bulkhead/host.toml`
    /// and then `/etc/bulkhead/host.d/*.toml` in the order of their names are one manifest.
    "the manifest" Root {
        /// Ports that carry tagged frames, by the name of the interface.
        optional "trunk" = trunk: Named<IfName, Trunk>,
        /// VLANs of a trunk, each with a bridge of its own, by name.
        optional "segment" = segment: Named<SegmentName, Segment>,
        /// Directories of disk images, by name.
        optional "pool" = pool: Named<Name, Pool>,
        /// Guests, by name.
        optional "guest" = guest: Named<GuestName, Guest>,
        /// Who may talk to whom. Everything not allowed is dropped and counted; replies to an allowed flow are allowed.
        optional "allow" = allow: Many<Allow>,
        /// What becomes of libvirt's own objects.
        optional "libvirt" = libvirt: Libvirt,
    }
}

table! {
    /// A port that carries tagged frames. It belongs to whoever configured it; Bulkhead only sets it up when it is down,
    /// and waits for it when it is not there.
    "[trunk.NAME]" Trunk {}
}

table! {
    /// A VLAN of a trunk and its bridge.
    "[segment.NAME]" Segment {
        /// The trunk that carries it: one of `[trunk.NAME]`.
        required "trunk" = trunk: IfName,
        /// The 802.1Q tag, 1 to 4094.
        required "vlan" = vlan: VlanId,
        /// Name of the VLAN link; `vlan` and the tag unless given, such as `vlan20`.
        optional "vlan-link" = vlan_link: IfName,
        /// Name of the bridge; `br` and the tag unless given, such as `br20`.
        optional "bridge" = bridge: IfName,
        /// MTU in bytes of the VLAN link, the bridge and its ports; the trunk's unless given.
        optional "mtu" = mtu: Mtu,
        /// The host's own addresses and gateways on the segment. Without them the host is invisible there.
        optional "host" = host: Host,
        /// Name of a libvirt network that shows the bridge to virt-manager; none unless given.
        optional "libvirt-network" = libvirt_network: LibvirtName,
    }
}

table! {
    /// The host's own addresses and gateways on a segment.
    "[segment.NAME.host]" Host {
        /// The host's own addresses with their prefix lengths, at least one. One with /32 or /128 has no neighbour, as hosters
        /// give them: its gateway is reached on the link, whatever its address.
        required "address" = address: List<IpNet>,
        /// The default gateway, or one of IPv4 and one of IPv6; no default route unless given.
        optional "gateway" = gateway: List<IpAddr>,
        /// Metric of the default route; 4242 unless given, so that it never replaces another tool's.
        optional "metric" = metric: Metric,
        /// DNS servers that the host asks on this segment.
        optional "dns" = dns: List<IpAddr>,
    }
}

table! {
    /// A directory of disk images, used as a libvirt storage pool.
    "[pool.NAME]" Pool {
        /// The directory, from the root. A libvirt pool that has it already is used, never redefined.
        required "path" = path: PoolPath,
        /// Mode of the directory where it is made, in octal digits; "0711" unless given. It belongs to root, so without
        /// the last 1 QEMU's user cannot reach its images.
        optional "mode" = mode: Mode,
        /// Whether its guests are held until a dm-crypt mount is really there; false unless given.
        optional "encrypted" = encrypted: bool,
    }
}

table! {
    /// A guest.
    "[guest.NAME]" Guest {
        /// RAM, a multiple of 1 MiB.
        required "memory" = memory: Size,
        /// CPUs: a number, or `{ now = 1, max = 2 }`; 1 unless given.
        optional "vcpus" = vcpus: Vcpus,
        /// Disks by their name in the guest, `vda` to `vdz`; it boots from them in the order of these names.
        optional "disk" = disk: Named<Target, Disk>,
        /// NICs by the name of their segment; it boots from them after the disks, in the order of the file.
        optional "nic" = nic: Named<SegmentName, Nic>,
        /// Limits of the guest and its QEMU together.
        optional "limits" = limits: Limits,
        /// Whether it runs; true unless given. A guest with `start = false` is defined only.
        optional "start" = start: bool,
    }
}

table! {
    /// A disk of a guest: a volume of a pool.
    "[guest.NAME.disk.TARGET]" Disk {
        /// The pool: one of `[pool.NAME]`.
        required "pool" = pool: Name,
        /// Size where the volume is made. One that exists is never resized.
        required "size" = size: Size,
        /// How the image is stored: `raw` or `qcow2`; `raw` unless given.
        optional "format" = format: Format,
        /// Name of the volume; `GUEST-TARGET.FORMAT` unless given, such as `web-vda.raw`.
        optional "volume" = volume: Volume,
    }
}

table! {
    /// A NIC of a guest. It can only speak with its own MAC and its own addresses.
    "[guest.NAME.nic.SEGMENT]" Nic {
        /// Its IPv4 and IPv6 addresses, without prefix lengths. Without any of a family it sends nothing of that family.
        optional "address" = address: List<IpAddr>,
        /// Its MAC address; 52:54:00 and three bytes of a hash of guest and segment unless given.
        optional "mac" = mac: Mac,
        /// Whether it may talk to a DHCP server beyond the trunk; false unless given. It needs an IPv4 address all the same.
        optional "dhcp" = dhcp: bool,
    }
}

table! {
    /// Limits of a guest and its QEMU together. What is not given is not limited.
    "[guest.NAME.limits]" Limits {
        /// Memory, a multiple of 1 MiB: guest RAM and at least 128 MiB, 1/64 of the RAM and 8 MiB a CPU for QEMU's own.
        optional "memory" = memory: Size,
        /// CPU time in CPUs, 0.01 to 4096 in hundredths: 1.5 is one and a half CPUs.
        optional "cpu" = cpu: Cpu,
        /// Processes and threads.
        optional "pids" = pids: Pids,
    }
}

table! {
    /// New flows that may pass from one side to the other, on the segments where both are.
    "[[allow]]" Allow {
        /// Who opens the flow: `guest.NAME`, `segment.NAME` (every guest on it), `outside.NAME` (whatever is beyond the
        /// trunk) or `host`; one or a list.
        required "from" = from: List<Endpoint>,
        /// Who is spoken to, written as `from` is.
        required "to" = to: List<Endpoint>,
        /// Source networks that it is narrowed to.
        optional "from-net" = from_net: List<Net>,
        /// Destination networks that it is narrowed to.
        optional "to-net" = to_net: List<Net>,
        /// TCP destination ports: 443, "8000-8080", or a list of such.
        optional "tcp" = tcp: List<Ports>,
        /// UDP destination ports, written as those of `tcp`.
        optional "udp" = udp: List<Ports>,
        /// `true` for a ping, or a list of ICMP types.
        optional "icmp" = icmp: Icmp,
        /// `true` for everything that is IPv4 or IPv6, instead of `tcp`, `udp` and `icmp`.
        optional "any" = any: bool,
    }
}

table! {
    /// What becomes of libvirt's own objects.
    "[libvirt]" Libvirt {
        /// libvirt's NAT network `default`: `absent` stops and undefines it, `keep` leaves it alone; `keep` unless given.
        optional "default-network" = default_network: DefaultNetwork,
    }
}

impl Segment {
    /// The VLAN link's name, given or derived from the tag.
    pub(crate) fn vlan_link_name(&self) -> Option<Located<IfName>> {
        self.link_name(self.vlan_link.as_ref(), "vlan")
    }

    /// The bridge's name, given or derived from the tag.
    pub(crate) fn bridge_name(&self) -> Option<Located<IfName>> {
        self.link_name(self.bridge.as_ref(), "br")
    }

    fn link_name(&self, declared: Option<&Located<IfName>>, prefix: &str) -> Option<Located<IfName>> {
        let vlan = self.vlan.as_ref()?;
        let derived = || {
            format!("{prefix}{}", vlan.value)
                .parse()
                .ok()
                .map(|value| Located { value, location: vlan.location.clone() })
        };
        declared.cloned().or_else(derived)
    }
}

impl Disk {
    pub(crate) fn format_or_raw(&self) -> Format {
        self.format.as_ref().map_or(Format::Raw, |format| format.value)
    }

    /// The volume's name, given or made of guest, target and format.
    pub(crate) fn volume_name(&self, guest: &GuestName, target: &Target) -> String {
        let derived = || room::Disk::derived_name(guest, &target.0, self.format_or_raw());
        self.volume.as_ref().map_or_else(derived, |volume| volume.value.0.clone())
    }
}
