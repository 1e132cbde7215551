//! What libvirt is asked for: pools, networks and domains.

use crate::guest::model as room;
use crate::manifest::model::{DefaultNetwork, Disk, Guest, Nic, Pool, Segment, Vcpus};

pub(super) fn lower(
    segments: &[Segment],
    pools: &[Pool],
    guests: &[Guest],
    default_network: DefaultNetwork,
) -> room::Desired {
    room::Desired {
        pools: pools.iter().map(pool).collect(),
        networks: segments.iter().filter_map(network).collect(),
        guests: guests.iter().map(guest).collect(),
        default_network_absent: match default_network {
            DefaultNetwork::Absent => true,
            DefaultNetwork::Keep => false,
        },
    }
}

fn pool(pool: &Pool) -> room::Pool {
    let Pool { name, path, mode, encrypted } = pool;
    room::Pool { name: name.clone(), path: path.clone(), mode: *mode, encrypted: *encrypted }
}

fn network(segment: &Segment) -> Option<room::Network> {
    let Segment { name: _, trunk: _, vlan: _, vlan_link: _, bridge, mtu: _, host: _, libvirt_network } = segment;
    libvirt_network.as_ref().map(|name| room::Network { name: name.clone(), bridge: bridge.clone() })
}

fn guest(guest: &Guest) -> room::Guest {
    let Guest { name, memory, vcpus: Vcpus { now, max }, disks, nics, limits: _, start } = guest;
    room::Guest {
        name: name.clone(),
        memory: *memory,
        vcpus_now: *now,
        vcpus_max: *max,
        start: *start,
        disks: disks.iter().map(disk).collect(),
        nics: nics.iter().map(nic).collect(),
    }
}

fn disk(disk: &Disk) -> room::Disk {
    let Disk { target, pool, volume, size, format } = disk;
    room::Disk { target: target.clone(), pool: pool.clone(), volume: volume.clone(), size: *size, format: *format }
}

fn nic(nic: &Nic) -> room::Nic {
    let Nic { segment: _, bridge, tap, mac, addresses: _, dhcp: _ } = nic;
    room::Nic { tap: tap.clone(), mac: *mac, bridge: bridge.clone() }
}
