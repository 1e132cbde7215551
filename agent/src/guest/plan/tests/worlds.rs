//! Manifests, libvirts in any state, and what the agent knows beyond them.

use std::time::Duration;

use proptest::prelude::*;

use super::libvirt::domain;
use super::*;
use crate::guest::Lack;
use crate::guest::model::{
    Away, Definition, Disk, DomainFound, NetworkDefinition, NetworkFound, Occupied, PoolFound, Recent, Timing,
    VolumeFound,
};

fn any_definition(desired: Desired, name: String) -> impl Strategy<Value = Definition> {
    let wanted = desired.guests.iter().find(|guest| guest.name.as_str() == name);
    let wanted = wanted.map(|guest| Definition::of(guest, &desired.pools, &samples::host())).unwrap_or_default();
    let mut without_nics = wanted.clone();
    without_nics.nics.clear();
    let mut with_hostdev = wanted.clone();
    with_hostdev.breaches.insert("hostdev pci".to_owned());
    let bigger = Definition { memory: wanted.memory + (1 << 20), ..wanted.clone() };
    prop::sample::select(vec![wanted, without_nics, with_hostdev, bigger])
}

fn any_domain(desired: Desired, name: &'static str) -> impl Strategy<Value = (String, Option<DomainFound>)> {
    let state = prop::sample::select(vec![
        State::Running,
        State::ShutOff,
        State::Paused("an I/O error"),
        State::Other("shutting down"),
    ]);
    let definition = any_definition(desired.clone(), name.to_owned());
    let running = any_definition(desired, name.to_owned());
    let bits = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let occupied = prop::sample::select(vec![None, None, Some(Occupied::Job), Some(Occupied::Away(Away::Migrated))]);
    prop::option::of((state, definition, running, bits, occupied)).prop_map(move |found| {
        let domain = found.map(|(state, definition, running, bits, occupied)| {
            let (owned, persistent, autostart, snapshots) = bits;
            DomainFound {
                running: (state != State::ShutOff).then_some(running),
                persistent: persistent || state == State::ShutOff,
                autostart,
                occupied,
                irreplaceable: snapshots.then(|| "2 snapshots".to_owned()).into_iter().collect(),
                ..domain(owned, state, definition)
            }
        });
        (name.to_owned(), domain)
    })
}

fn any_network(name: &'static str) -> impl Strategy<Value = (String, Option<NetworkFound>)> {
    let definition = || {
        let forward = prop::option::of(prop::sample::select(vec!["bridge", "nat"]));
        let bridge = prop::option::of(prop::sample::select(vec!["br20", "virbr0"]));
        (forward, bridge).prop_map(|(forward, bridge)| NetworkDefinition {
            forward: forward.map(str::to_owned),
            bridge: bridge.map(str::to_owned),
        })
    };
    let bits = (any::<bool>(), any::<bool>(), any::<bool>());
    prop::option::of((definition(), prop::option::of(definition()), bits)).prop_map(move |found| {
        let network = found.map(|(definition, running, (owned, persistent, autostart))| NetworkFound {
            uuid: "f0e3f4a0-0000-4000-8000-000000000001".to_owned(),
            owned,
            definition,
            persistent: persistent || running.is_none(),
            running,
            autostart,
        });
        (name.to_owned(), network)
    })
}

fn any_pools() -> impl Strategy<Value = Vec<PoolFound>> {
    let pool = |name: &'static str, paths: Vec<&'static str>| {
        let found = (prop::sample::select(paths), any::<bool>(), any::<bool>());
        prop::option::of(found).prop_map(move |found| {
            let path = |path| Some(std::path::PathBuf::from(path));
            found.map(|(at, active, autostart)| PoolFound { name: name.to_owned(), path: path(at), active, autostart })
        })
    };
    (pool("default", vec!["/var/lib/libvirt/images", "/mnt"]), pool("secret", vec!["/srv/secure", "/srv"]))
        .prop_map(|(one, other)| one.into_iter().chain(other).collect())
}

fn any_recent() -> impl Strategy<Value = BTreeMap<GuestName, Recent>> {
    let age = || prop::option::of((0..2 * Timing::default().shutdown_timeout.as_secs()).prop_map(Duration::from_secs));
    let recent = (age(), age()).prop_map(|(started, shut_down)| Recent { started, failure: None, shut_down });
    prop::collection::btree_map(
        prop::sample::select(vec!["a", "c"]).prop_map(|name| name.parse().unwrap()),
        recent,
        0..3,
    )
}

/// A manifest and a libvirt in any state, ours, foreign and drifted alike.
pub(super) fn any_world() -> impl Strategy<Value = (Desired, Observed)> {
    samples::any_desired().prop_flat_map(|desired| {
        let domains = ["a", "b-1", "c", "theirs"].map(|name| any_domain(desired.clone(), name));
        let networks = ["LANBridge", "default", "theirs"].map(any_network);
        let secure = desired.pools.iter().any(|pool| pool.encrypted);
        let unencrypted = any::<bool>().prop_map(move |open| open && secure);
        let directories = prop::sample::subsequence(vec!["default".to_owned(), "secure".to_owned()], 0..=2);
        let rest = (any_pools(), directories, unencrypted, any_recent());
        (Just(desired), domains, networks, rest, any::<bool>()).prop_map(
            |(desired, domains, networks, (pools, mut directories, unencrypted, recent), full)| {
                let some = |(name, found): (String, Option<_>)| found.map(|found| (name, found));
                let mut world = empty_world();
                for pool in &desired.pools {
                    let found = pools.iter().find(|found| found.path.as_ref() == Some(&pool.path));
                    if found.is_some_and(|found| found.active) {
                        directories.push(pool.name.clone());
                        let disks = desired.guests.iter().flat_map(|guest| &guest.disks);
                        let disks = disks.filter(|disk| full && disk.pool == pool.name);
                        let volume = |disk: &Disk| VolumeFound {
                            capacity: disk.size,
                            format: Some(disk.format.as_str().to_owned()),
                        };
                        let volumes = disks.map(|disk| (disk.volume.clone(), volume(disk))).collect();
                        world.volumes.insert(pool.name.clone(), volumes);
                    }
                }
                world.domains = domains.into_iter().filter_map(some).collect();
                world.networks = networks.into_iter().filter_map(|(name, found)| Some((name, found?))).collect();
                (world.pools, world.directories, world.recent) = (pools, directories, recent);
                if unencrypted {
                    world.unencrypted.insert("secure".to_owned(), "/srv/secure is not on dm-crypt".to_owned());
                }
                (desired, world)
            },
        )
    })
}

pub(super) fn any_admission() -> impl Strategy<Value = Admission> {
    (any::<bool>(), any::<bool>()).prop_map(|(holds, force)| Admission {
        holds: holds
            .then(|| ("a".parse().unwrap(), Hold { what: None, lack: Lack::Unseen(None) }))
            .into_iter()
            .collect(),
        force,
    })
}
