//! From the manifest to what each room wants.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bulkhead_netlink::model as links;
use bulkhead_policy::model as policy;
use bulkhead_sandbox::model as sandbox;
use bulkhead_types::{GuestName, IfName, Mac, SegmentName};
use serde::Serialize;

use super::identity::{self, HostId};
use super::place::At;
use super::value::{DefaultNetwork, Endpoint, Entry, List, Name, Net, Ports, Target};
use super::whole::Whole;
use super::wire::{Allow, Disk, Guest, Nic, Pool, Segment};
use crate::guest::model as guest;

/// Everything the manifest wants, room by room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Desired {
    /// Links, addresses and routes.
    pub netlink: links::Desired,
    /// The ruleset.
    pub policy: policy::Desired,
    /// The guests' slices.
    pub sandbox: sandbox::Desired,
    /// Pools, networks and domains.
    pub guest: guest::Desired,
    /// DNS servers, in the order of the manifest.
    pub dns: Vec<Dns>,
    /// Declared trunks, whether they carry a segment or not.
    pub trunks: Vec<IfName>,
}

/// DNS servers that the host asks on one segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dns {
    /// The bridge that they are reached by.
    pub bridge: IfName,
    /// Their addresses, the first is asked first.
    pub servers: Vec<IpAddr>,
}

/// The bridges of the segments, by the name of the segment.
type Bridges<'a> = BTreeMap<&'a SegmentName, IfName>;

/// A guest's NIC with what is derived of it.
struct Port<'a> {
    guest: &'a GuestName,
    segment: &'a SegmentName,
    nic: &'a Nic,
    tap: IfName,
    mac: Mac,
    bridge: IfName,
}

/// Lowers a manifest that was checked. What is `None` here was refused there, so that nothing is left out.
pub(super) fn lower(whole: &Whole, host: &HostId) -> Desired {
    let trunks = whole.trunks.0.iter().map(|trunk| trunk.name.clone()).collect();
    let mut desired = Desired { trunks, ..Desired::default() };
    let mut bridges = Bridges::new();
    for Entry { name, table, .. } in &whole.segments.0 {
        if let Some(bridge) = segment(name, table, host, &mut desired) {
            bridges.insert(name, bridge);
        }
    }
    desired.guest.pools = whole.pools.0.iter().filter_map(|pool| self::pool(&pool.name, &pool.table)).collect();
    for Entry { name, table, .. } in &whole.guests.0 {
        let ports = ports(name, table, &bridges);
        for port in &ports {
            desired.netlink.ports.insert(
                port.tap.clone(),
                links::Port { segment: port.segment.clone(), bridge: port.bridge.clone(), mac: port.mac },
            );
            desired.policy.nics.push(nic(port));
        }
        desired.sandbox.guests.insert(name.clone(), limits(table));
        desired.guest.guests.extend(domain(name, table, &ports));
    }
    desired.policy.allows = whole.allows.iter().flat_map(|at| allows(&at.value)).collect();
    let network = whole.libvirt.as_ref().and_then(|at| at.value.default_network.as_ref());
    desired.guest.default_network_absent = network.is_some_and(|at| at.value == DefaultNetwork::Absent);
    desired
}

fn segment(name: &SegmentName, segment: &Segment, id: &HostId, desired: &mut Desired) -> Option<IfName> {
    let (vlan_link, bridge) = (segment.vlan_link_name()?.value, segment.bridge_name()?.value);
    let (trunk, vlan) = (segment.trunk.as_ref()?.value.clone(), segment.vlan.as_ref()?.value);
    let mac = identity::bridge_mac(id, &bridge)?;
    let host = segment.host.as_ref().map(|at| &at.value);
    desired.policy.bridges.push(policy::Bridge {
        segment: Some(name.clone()),
        name: bridge.clone(),
        outside: vlan_link.clone(),
        mac,
        host: host.is_some(),
    });
    desired.netlink.segments.push(links::Segment {
        name: name.clone(),
        trunk,
        vlan,
        vlan_link: vlan_link.clone(),
        bridge: bridge.clone(),
        mac,
        mtu: segment.mtu.as_ref().map(|mtu| mtu.value.0),
        host: host.map(|host| links::Host {
            addresses: values(host.address.as_ref()),
            gateways: values(host.gateway.as_ref()),
            metric: host.metric.as_ref().map_or(links::DEFAULT_METRIC, |metric| metric.value.0),
        }),
    });
    if let Some(network) = &segment.libvirt_network {
        desired.guest.networks.push(guest::Network { name: network.value.0.clone(), bridge: bridge.clone() });
    }
    let servers = values(host.and_then(|host| host.dns.as_ref()));
    if !servers.is_empty() {
        desired.dns.push(Dns { bridge: bridge.clone(), servers });
    }
    Some(bridge)
}

fn values<T: Clone>(list: Option<&At<List<T>>>) -> Vec<T> {
    list.iter().flat_map(|list| &list.value.0).map(|at| at.value.clone()).collect()
}

fn pool(name: &Name, pool: &Pool) -> Option<guest::Pool> {
    Some(guest::Pool {
        name: name.0.clone(),
        path: pool.path.as_ref()?.value.0.clone(),
        mode: pool.mode.as_ref().map_or(0o711, |mode| mode.value.0),
        encrypted: pool.encrypted.as_ref().is_some_and(|encrypted| encrypted.value),
    })
}

fn ports<'a>(name: &'a GuestName, guest: &'a Guest, bridges: &Bridges<'_>) -> Vec<Port<'a>> {
    let port = |nic: &'a Entry<SegmentName, Nic>| {
        let given = nic.table.mac.as_ref().map(|mac| mac.value);
        Some(Port {
            guest: name,
            segment: &nic.name,
            nic: &nic.table,
            tap: identity::tap(name, &nic.name)?,
            mac: given.or_else(|| identity::nic_mac(name, &nic.name))?,
            bridge: bridges.get(&nic.name)?.clone(),
        })
    };
    guest.nic.iter().flat_map(|nics| &nics.value.0).filter_map(port).collect()
}

fn nic(port: &Port<'_>) -> policy::Nic {
    let mut nic = policy::Nic {
        guest: port.guest.clone(),
        segment: port.segment.clone(),
        tap: port.tap.clone(),
        bridge: port.bridge.clone(),
        mac: port.mac,
        ipv4: Vec::new(),
        ipv6: Vec::new(),
        dhcp: port.nic.dhcp.as_ref().is_some_and(|dhcp| dhcp.value),
    };
    for address in values(port.nic.address.as_ref()) {
        match address {
            IpAddr::V4(v4) => nic.ipv4.push(v4),
            IpAddr::V6(v6) => nic.ipv6.push(v6),
        }
    }
    nic
}

fn limits(guest: &Guest) -> sandbox::Limits {
    let limits = guest.limits.as_ref().map(|at| &at.value);
    sandbox::Limits {
        memory: limits.and_then(|limits| limits.memory.as_ref()).map(|at| at.value.0),
        cpu: limits.and_then(|limits| limits.cpu.as_ref()).map(|at| at.value.0),
        pids: limits.and_then(|limits| limits.pids.as_ref()).map(|at| at.value.0.into()),
    }
}

fn domain(name: &GuestName, guest: &Guest, ports: &[Port<'_>]) -> Option<guest::Guest> {
    let mut disks: Vec<&Entry<Target, Disk>> = guest.disk.iter().flat_map(|disks| &disks.value.0).collect();
    disks.sort_by_key(|disk| &disk.name);
    Some(guest::Guest {
        name: name.clone(),
        memory: guest.memory.as_ref()?.value.0,
        vcpus_now: guest.vcpus.as_ref().map_or(1, |vcpus| vcpus.value.now.value.0),
        vcpus_max: guest.vcpus.as_ref().map_or(1, |vcpus| vcpus.value.max.value.0),
        start: guest.start.as_ref().is_none_or(|start| start.value),
        disks: disks.into_iter().filter_map(|entry| disk(name, entry)).collect(),
        nics: ports
            .iter()
            .map(|port| guest::Nic { tap: port.tap.clone(), mac: port.mac, bridge: port.bridge.clone() })
            .collect(),
    })
}

fn disk(guest: &GuestName, Entry { name, table, .. }: &Entry<Target, Disk>) -> Option<guest::Disk> {
    Some(guest::Disk {
        target: name.0.clone(),
        pool: table.pool.as_ref()?.value.0.clone(),
        volume: table.volume_name(guest, name),
        size: table.size.as_ref()?.value.0,
        format: table.format_or_raw(),
    })
}

/// One allow for each pair of the two sides.
fn allows(allow: &Allow) -> Vec<policy::Allow> {
    let ports = |list: Option<&At<List<Ports>>>| values(list).into_iter().map(|ports| ports.0).collect();
    let what = policy::Traffic {
        any: allow.any.as_ref().is_some_and(|any| any.value),
        tcp: ports(allow.tcp.as_ref()),
        udp: ports(allow.udp.as_ref()),
        icmp: allow.icmp.as_ref().map(|icmp| icmp.value.0.clone()).unwrap_or_default(),
    };
    let nets = |list: Option<&At<List<Net>>>| values(list).into_iter().map(|net| net.0).collect::<Vec<_>>();
    let (from_net, to_net) = (nets(allow.from_net.as_ref()), nets(allow.to_net.as_ref()));
    let side = |list| values(list).into_iter().map(endpoint).collect::<Vec<_>>();
    let to = side(allow.to.as_ref());
    let pairs =
        side(allow.from.as_ref()).into_iter().flat_map(|from| to.iter().map(move |to| (from.clone(), to.clone())));
    pairs
        .map(|(from, to)| policy::Allow {
            from,
            to,
            from_net: from_net.clone(),
            to_net: to_net.clone(),
            what: what.clone(),
        })
        .collect()
}

fn endpoint(endpoint: Endpoint) -> policy::Endpoint {
    match endpoint {
        Endpoint::Guest(name) => policy::Endpoint::Guest(name),
        Endpoint::Segment(name) => policy::Endpoint::Segment(name),
        Endpoint::Outside(name) => policy::Endpoint::Outside(name),
        Endpoint::Host => policy::Endpoint::Host,
    }
}
