//! Manifests for the tests of this room.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::definition::Definition;
use super::model::{Desired, Disk, Format, Guest, Host, Network, Nic, Pool};

/// libvirt's emulation on a PC.
pub(crate) fn host() -> Host {
    Host { kind: "qemu".to_owned(), machine: Some("q35".to_owned()), emulators: BTreeSet::new() }
}

/// The pool of the examples.
pub(crate) fn pool() -> Pool {
    Pool { name: "default".to_owned(), path: "/var/lib/libvirt/images".into(), mode: 0o711, encrypted: false }
}

/// A guest with a disk and a NIC.
pub(crate) fn guest(name: &str) -> Guest {
    let disk = Disk {
        target: "vda".to_owned(),
        pool: "default".to_owned(),
        volume: format!("{name}-vda.raw"),
        size: 20 << 30,
        format: Format::Raw,
    };
    let nic = Nic {
        tap: "bh-0123456789ab".parse().unwrap(),
        mac: "52:54:00:00:00:01".parse().unwrap(),
        bridge: "br20".parse().unwrap(),
    };
    Guest {
        name: name.parse().unwrap(),
        memory: 512 << 20,
        vcpus_now: 1,
        vcpus_max: 2,
        start: true,
        disks: vec![disk],
        nics: vec![nic],
    }
}

/// One of each.
pub(crate) fn desired() -> Desired {
    Desired {
        pools: vec![pool()],
        networks: vec![Network { name: "LANBridge".to_owned(), bridge: "br20".parse().unwrap() }],
        guests: vec![guest("example")],
        default_network_absent: true,
    }
}

/// The definition of the guest `example`.
pub(crate) fn definition() -> Definition {
    Definition::of(&guest("example"), &[pool()], &host())
}

const NAMES: [&str; 4] = ["a", "b-1", "c", "web"];

fn any_disks(guest: String) -> impl Strategy<Value = Vec<Disk>> {
    let shape = (prop::sample::select(vec!["default", "secure"]), 1_u64..5, any::<bool>());
    prop::collection::vec(shape, 0..3).prop_map(move |disks| {
        let disk = |(n, (pool, size, raw)): (u8, (&str, u64, bool))| Disk {
            target: format!("vd{}", char::from(b'a' + n)),
            pool: pool.to_owned(),
            volume: format!("{guest}-{n} & <i>"),
            size: size << 20,
            format: if raw { Format::Raw } else { Format::Qcow2 },
        };
        (0..).zip(disks).map(disk).collect()
    })
}

fn any_guest(index: usize) -> impl Strategy<Value = Guest> {
    let name = NAMES[index];
    let nics = prop::collection::vec(prop::sample::select(vec!["br20", "br30"]), 0..3);
    (1_u64..4096, 1_u32..4, 0_u32..4, any::<bool>(), any_disks(name.to_owned()), nics).prop_map(
        move |(mib, now, more, start, disks, bridges)| Guest {
            name: name.parse().unwrap(),
            memory: mib << 20,
            vcpus_now: now,
            vcpus_max: now + more,
            start,
            disks,
            nics: (0_u8..)
                .zip(bridges)
                .map(|(n, bridge)| Nic {
                    tap: format!("bh-{index}{n}").parse().unwrap(),
                    mac: [0x52, 0x54, 0, 0, n, 1].try_into().unwrap(),
                    bridge: bridge.parse().unwrap(),
                })
                .collect(),
        },
    )
}

/// Any subset of four guests, with their pools and up to two networks.
pub(crate) fn any_desired() -> impl Strategy<Value = Desired> {
    let guests = prop::sample::subsequence((0..NAMES.len()).collect::<Vec<_>>(), 0..=NAMES.len())
        .prop_flat_map(|indices| indices.into_iter().map(any_guest).collect::<Vec<_>>());
    let networks = prop::sample::subsequence(vec![("LANBridge", "br20"), ("default", "br30")], 0..=2);
    (guests, networks, any::<bool>(), any::<bool>()).prop_map(|(guests, networks, encrypted, absent)| Desired {
        pools: vec![pool(), Pool { name: "secure".to_owned(), path: "/srv/secure".into(), mode: 0o711, encrypted }],
        networks: networks
            .into_iter()
            .map(|(name, bridge)| Network { name: name.to_owned(), bridge: bridge.parse().unwrap() })
            .collect(),
        guests,
        default_network_absent: absent,
    })
}
