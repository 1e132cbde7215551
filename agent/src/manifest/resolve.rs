//! From the tables of the files to the model: every default in one place.
//!
//! Each table is taken apart whole, so that a key that nobody resolves does not compile.

use bulkhead_netlink::model::DEFAULT_METRIC;
use bulkhead_types::{GuestName, SegmentName};

use super::identity;
use super::location::Located;
use super::model::{Allow, DefaultNetwork, Disk, Endpoint, Guest, Host, Limits, Model, Nic, Pool, Segment, Vcpus};
use super::tables::Tables;
use super::value::{self, Entry, List, Name, Named, Net, Ports, Target};
use super::wire;

/// Mode of a pool's directory: its owner may do all, others may only pass through.
const POOL_MODE: u32 = 0o711;

/// The model of tables without an error; `None` if one is left that nobody noted.
pub(super) fn resolve(tables: &Tables) -> Option<Model> {
    let Tables { trunks, segments, pools, guests, allows, libvirt } = tables;
    let segments = each(segments, segment)?;
    let libvirt = libvirt.as_ref().map(|at| &at.value);
    Some(Model {
        trunks: each(trunks, |name, wire::Trunk {}| Some(name.clone()))?,
        pools: each(pools, pool)?,
        guests: each(guests, |name, table| guest(name, table, &segments))?,
        allows: allows.iter().map(|at| allow(&at.value)).collect::<Option<_>>()?,
        default_network: libvirt.map_or(DefaultNetwork::Keep, default_network),
        segments,
    })
}

fn each<N, T, M>(tables: &Named<N, T>, one: impl Fn(&N, &T) -> Option<M>) -> Option<Vec<M>> {
    tables.0.iter().map(|Entry { name, table, .. }| one(name, table)).collect()
}

fn segment(name: &SegmentName, table: &wire::Segment) -> Option<Segment> {
    let wire::Segment { trunk, vlan, vlan_link: _, bridge: _, mtu, host, libvirt_network } = table;
    Some(Segment {
        name: name.clone(),
        trunk: value(trunk)?,
        vlan: value(vlan)?,
        vlan_link: table.vlan_link_name()?.value,
        bridge: table.bridge_name()?.value,
        mtu: mtu.as_ref().map(|mtu| mtu.value.0),
        host: match host {
            Some(host) => Some(self::host(&host.value)?),
            None => None,
        },
        libvirt_network: libvirt_network.as_ref().map(|network| network.value.0.clone()),
    })
}

fn host(table: &wire::Host) -> Option<Host> {
    let wire::Host { address, gateway, metric, dns } = table;
    Some(Host {
        addresses: values(&value(address)?),
        gateways: list(gateway),
        metric: metric.as_ref().map_or(DEFAULT_METRIC, |metric| metric.value.0),
        dns: list(dns),
    })
}

fn pool(name: &Name, table: &wire::Pool) -> Option<Pool> {
    let wire::Pool { path, mode, encrypted } = table;
    Some(Pool {
        name: name.0.clone(),
        path: value(path)?.0,
        mode: mode.as_ref().map_or(POOL_MODE, |mode| mode.value.0),
        encrypted: value(encrypted).unwrap_or(false),
    })
}

fn guest(name: &GuestName, table: &wire::Guest, segments: &[Segment]) -> Option<Guest> {
    let wire::Guest { memory, vcpus, disk, nic, limits, start } = table;
    let mut disks: Vec<Disk> = match disk {
        Some(disks) => each(&disks.value, |target, table| self::disk(name, target, table))?,
        None => Vec::new(),
    };
    disks.sort_by(|a, b| a.target.cmp(&b.target));
    Some(Guest {
        name: name.clone(),
        memory: value(memory)?.0,
        vcpus: vcpus.as_ref().map_or(Vcpus { now: 1, max: 1 }, |vcpus| self::vcpus(&vcpus.value)),
        disks,
        nics: match nic {
            Some(nics) => each(&nics.value, |segment, table| self::nic(name, segment, table, segments))?,
            None => Vec::new(),
        },
        limits: limits.as_ref().map(|limits| self::limits(&limits.value)).unwrap_or_default(),
        start: value(start).unwrap_or(true),
    })
}

fn vcpus(value::Vcpus { now, max }: &value::Vcpus) -> Vcpus {
    Vcpus { now: now.value.0, max: max.value.0 }
}

fn disk(guest: &GuestName, target: &Target, table: &wire::Disk) -> Option<Disk> {
    let wire::Disk { pool, size, format: _, volume: _ } = table;
    Some(Disk {
        target: target.0.clone(),
        pool: value(pool)?.0,
        volume: table.volume_name(guest, target),
        size: value(size)?.0,
        format: table.format_or_raw(),
    })
}

fn nic(guest: &GuestName, name: &SegmentName, table: &wire::Nic, segments: &[Segment]) -> Option<Nic> {
    let wire::Nic { address, mac, dhcp } = table;
    let segment = segments.iter().find(|segment| segment.name == *name)?;
    Some(Nic {
        segment: name.clone(),
        bridge: segment.bridge.clone(),
        tap: identity::tap(guest, name)?,
        mac: value(mac).unwrap_or_else(|| identity::nic_mac(guest, name)),
        addresses: list(address),
        dhcp: value(dhcp).unwrap_or(false),
    })
}

fn limits(table: &wire::Limits) -> Limits {
    let wire::Limits { memory, cpu, pids } = table;
    Limits {
        memory: memory.as_ref().map(|memory| memory.value.0),
        cpu: cpu.as_ref().map(|cpu| cpu.value.0),
        pids: pids.as_ref().map(|pids| pids.value.0),
    }
}

fn allow(table: &wire::Allow) -> Option<Allow> {
    let wire::Allow { from, to, from_net, to_net, tcp, udp, icmp, any } = table;
    let nets = |nets: &Option<Located<List<Net>>>| list(nets).into_iter().map(|Net(net)| net).collect();
    let ports = |ports: &Option<Located<List<Ports>>>| list(ports).into_iter().map(|Ports(ports)| ports).collect();
    let side = |side: &Option<Located<List<Endpoint>>>| Some(values(&value(side)?));
    Some(Allow {
        from: side(from)?,
        to: side(to)?,
        from_net: nets(from_net),
        to_net: nets(to_net),
        tcp: ports(tcp),
        udp: ports(udp),
        icmp: icmp.as_ref().map(|icmp| icmp.value.0.clone()).unwrap_or_default(),
        any: value(any).unwrap_or(false),
    })
}

fn default_network(wire::Libvirt { default_network }: &wire::Libvirt) -> DefaultNetwork {
    value(default_network).unwrap_or(DefaultNetwork::Keep)
}

fn value<T: Clone>(key: &Option<Located<T>>) -> Option<T> {
    key.as_ref().map(|at| at.value.clone())
}

fn values<T: Clone>(list: &List<T>) -> Vec<T> {
    list.0.iter().map(|at| at.value.clone()).collect()
}

/// An optional list; without it nothing is in it.
fn list<T: Clone>(key: &Option<Located<List<T>>>) -> Vec<T> {
    key.as_ref().map(|list| values(&list.value)).unwrap_or_default()
}
