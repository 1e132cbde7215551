//! What libvirt has on a host.

use std::collections::BTreeMap;
use std::mem;

use super::text;
use crate::guest::model::{
    Definition, Desired, DomainFound, Guest, Host, Network, NetworkDefinition, NetworkFound, Observed, PoolFound,
    State, Timing, Unread, VolumeFound,
};
use crate::manifest;

/// What an apply left in libvirt, and what became of it.
pub(crate) fn observed(host: &mut super::Host<'_>) -> Result<Observed, String> {
    let mut observed = applied(&host.base.guest, host.planned);
    change_networks(&mut observed, mem::take(&mut host.text.network));
    change_domains(&mut observed, mem::take(&mut host.text.domain))?;
    Ok(observed)
}

/// Everything of a manifest, on a libvirt with KVM that has the directories of the planned one's pools.
fn applied(base: &Desired, planned: &manifest::Desired) -> Observed {
    let host = Host { kind: "kvm".to_owned(), machine: None, emulators: Default::default() };
    let network = |network: &Network| {
        let definition = NetworkDefinition::of(network);
        (network.name.clone(), found_network(true, &network.name, definition))
    };
    let domain = |guest: &Guest| {
        let definition = Definition::of(guest, &base.pools, &host);
        let mut found = DomainFound::new(format!("uuid of {}", guest.name), true, State::ShutOff, definition);
        run(&mut found, guest.start);
        (guest.name.to_string(), found)
    };
    Observed {
        down: None,
        pools: base
            .pools
            .iter()
            .map(|pool| PoolFound {
                name: pool.name.clone(),
                path: Some(pool.path.clone()),
                active: true,
                autostart: !pool.encrypted,
            })
            .collect(),
        directories: planned.guest.pools.iter().map(|pool| pool.name.clone()).collect(),
        hidden: BTreeMap::new(),
        volumes: volumes(base, &planned.guest),
        unencrypted: BTreeMap::new(),
        networks: base.networks.iter().map(network).collect(),
        domains: base.guests.iter().map(domain).collect(),
        unread: Unread::default(),
        recent: BTreeMap::new(),
        timing: Timing::default(),
        host,
    }
}

/// The volumes of each planned pool whose directory is one of the base's.
fn volumes(base: &Desired, planned: &Desired) -> BTreeMap<String, BTreeMap<String, VolumeFound>> {
    let mut volumes = BTreeMap::new();
    for pool in &planned.pools {
        let Some(here) = base.pools.iter().find(|here| here.path == pool.path) else { continue };
        let disks = base.guests.iter().flat_map(|guest| &guest.disks).filter(|disk| disk.pool == here.name);
        let volume = |format: &str, capacity| VolumeFound { capacity, format: Some(format.to_owned()) };
        let found = disks.map(|disk| (disk.volume.clone(), volume(disk.format.as_str(), disk.size))).collect();
        volumes.insert(pool.name.clone(), found);
    }
    volumes
}

fn found_network(owned: bool, name: &str, definition: NetworkDefinition) -> NetworkFound {
    NetworkFound {
        uuid: format!("uuid of {name}"),
        owned,
        running: Some(definition.clone()),
        definition,
        persistent: true,
        autostart: true,
    }
}

fn run(found: &mut DomainFound, running: bool) {
    found.state = if running { State::Running } else { State::ShutOff };
    found.running = running.then(|| found.definition.clone());
}

/// Changes networks, and adds foreign ones.
fn change_networks(observed: &mut Observed, networks: BTreeMap<String, text::Network>) {
    for (name, text::Network { absent, forward, bridge }) in networks {
        let before = observed.networks.remove(&name);
        if absent {
            continue;
        }
        let owned = before.is_some();
        let before = before.map(|found| found.definition).unwrap_or_default();
        let definition = NetworkDefinition { forward: forward.or(before.forward), bridge: bridge.or(before.bridge) };
        let found = found_network(owned, &name, definition);
        observed.networks.insert(name, found);
    }
}

/// Changes domains, and adds foreign ones.
fn change_domains(observed: &mut Observed, domains: BTreeMap<String, text::Domain>) -> Result<(), String> {
    for (name, text::Domain { absent, running, autostart, overlays }) in domains {
        if absent {
            observed.domains.remove(&name);
            continue;
        }
        let found = observed.domains.entry(name.clone()).or_insert_with(|| {
            DomainFound::new(format!("uuid of {name}"), false, State::ShutOff, Definition::default())
        });
        for (target, mut images) in overlays {
            let disk = found.definition.disks.iter_mut().find(|disk| disk.target == target);
            let disk = disk.ok_or_else(|| format!("domain {name} has no disk {target}"))?;
            images.extend(disk.path.take());
            disk.path = images.first().cloned();
            disk.format = Some("qcow2".to_owned());
            found.running_chains.insert(target.clone(), images.clone());
            found.chains.insert(target, Ok(images));
        }
        let running = running.unwrap_or(found.state == State::Running);
        run(found, running);
        found.autostart = autostart.unwrap_or(found.autostart);
        if !running {
            found.running_chains.clear();
        }
    }
    Ok(())
}
