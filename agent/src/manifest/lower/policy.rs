//! Who may talk to whom.

use std::net::IpAddr;

use bulkhead_policy::model as room;
use bulkhead_types::GuestName;

use crate::manifest::identity::{self, HostId};
use crate::manifest::model::{Allow, Endpoint, Guest, Nic, Segment};

pub(super) fn lower(segments: &[Segment], guests: &[Guest], allows: &[Allow], id: &HostId) -> room::Desired {
    room::Desired {
        bridges: segments.iter().map(|segment| bridge(segment, id)).collect(),
        nics: guests.iter().flat_map(nics).collect(),
        allows: allows.iter().flat_map(pairs).collect(),
        ..room::Desired::default()
    }
}

fn bridge(segment: &Segment, id: &HostId) -> room::Bridge {
    let Segment { name, trunk: _, vlan: _, vlan_link, bridge, mtu: _, host, libvirt_network: _ } = segment;
    room::Bridge {
        segment: Some(name.clone()),
        name: bridge.clone(),
        outside: vlan_link.clone(),
        mac: identity::bridge_mac(id, bridge),
        host: host.is_some(),
        addresses: host.iter().flat_map(|host| host.addresses.iter().copied()).collect(),
    }
}

fn nics(guest: &Guest) -> impl Iterator<Item = room::Nic> {
    let Guest { name, memory: _, vcpus: _, disks: _, nics, limits: _, start: _ } = guest;
    nics.iter().map(|nic| self::nic(name, nic))
}

fn nic(guest: &GuestName, nic: &Nic) -> room::Nic {
    let Nic { segment, bridge, tap, mac, addresses, dhcp } = nic;
    let v4 = addresses.iter().filter_map(|address| if let IpAddr::V4(v4) = address { Some(*v4) } else { None });
    let v6 = addresses.iter().filter_map(|address| if let IpAddr::V6(v6) = address { Some(*v6) } else { None });
    room::Nic {
        guest: guest.clone(),
        segment: segment.clone(),
        tap: tap.clone(),
        bridge: bridge.clone(),
        mac: *mac,
        ipv4: v4.collect(),
        ipv6: v6.collect(),
        dhcp: *dhcp,
    }
}

/// One allow for each pair of the two sides.
fn pairs(allow: &Allow) -> Vec<room::Allow> {
    let Allow { from, to, from_net, to_net, tcp, udp, icmp, any } = allow;
    let what = room::Traffic { any: *any, tcp: tcp.clone(), udp: udp.clone(), icmp: icmp.clone() };
    let pairs = from.iter().flat_map(|from| to.iter().map(move |to| (endpoint(from), endpoint(to))));
    pairs
        .map(|(from, to)| room::Allow {
            from,
            to,
            from_net: from_net.clone(),
            to_net: to_net.clone(),
            what: what.clone(),
        })
        .collect()
}

fn endpoint(endpoint: &Endpoint) -> room::Endpoint {
    match endpoint {
        Endpoint::Guest(name) => room::Endpoint::Guest(name.clone()),
        Endpoint::Segment(name) => room::Endpoint::Segment(name.clone()),
        Endpoint::Outside(name) => room::Endpoint::Outside(name.clone()),
        Endpoint::Host => room::Endpoint::Host,
    }
}
