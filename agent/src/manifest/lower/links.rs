//! Links, addresses and routes.

use bulkhead_netlink::model as room;
use bulkhead_types::IfName;

use crate::manifest::identity::{self, HostId};
use crate::manifest::model::{Guest, Host, Nic, Segment};

pub(super) fn lower(segments: &[Segment], guests: &[Guest], id: &HostId) -> room::Desired {
    room::Desired {
        segments: segments.iter().map(|one| segment(one, id)).collect(),
        ports: guests.iter().flat_map(ports).collect(),
    }
}

fn segment(segment: &Segment, id: &HostId) -> room::Segment {
    let Segment { name, trunk, vlan, vlan_link, bridge, mtu, host, libvirt_network: _ } = segment;
    room::Segment {
        name: name.clone(),
        trunk: trunk.clone(),
        vlan: *vlan,
        vlan_link: vlan_link.clone(),
        bridge: bridge.clone(),
        mac: identity::bridge_mac(id, bridge),
        mtu: *mtu,
        host: host.as_ref().map(self::host),
    }
}

fn host(host: &Host) -> room::Host {
    let Host { addresses, gateways, metric, dns: _ } = host;
    room::Host { addresses: addresses.clone(), gateways: gateways.clone(), metric: *metric }
}

fn ports(guest: &Guest) -> impl Iterator<Item = (IfName, room::Port)> {
    let Guest { name: _, memory: _, vcpus: _, disks: _, nics, limits: _, start: _ } = guest;
    nics.iter().map(|nic| {
        let Nic { segment, bridge, tap, mac, addresses: _, dhcp: _ } = nic;
        (tap.clone(), room::Port { segment: segment.clone(), bridge: bridge.clone(), mac: *mac })
    })
}
