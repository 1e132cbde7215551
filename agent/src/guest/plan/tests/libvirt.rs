//! A libvirt that is only a value, and what each step does to it.

use std::time::Duration;

use super::*;
use crate::guest::model::{Definition, DomainFound, NetworkFound, PoolFound, VolumeFound};
use crate::guest::xml::{Element, read_network, read_pool, read_volume};

/// What libvirt would have after the steps. It refuses what libvirt refuses.
pub(super) fn after(mut world: Observed, steps: &[Step]) -> Observed {
    for step in steps {
        do_step(&mut world, step);
    }
    world
}

fn do_step(world: &mut Observed, step: &Step) {
    match step {
        Step::DefinePool { pool, xml } => {
            assert!(world.pools.iter().all(|found| found.name != *pool), "pool {pool} exists");
            let path = read_pool(xml).unwrap();
            world.pools.push(PoolFound { name: pool.clone(), path, active: false, autostart: false });
        }
        Step::BuildPool { pool, .. } => world.directories.push(pool.clone()),
        Step::StartPool { pool, at } => {
            let found = world.pools.iter_mut().find(|found| found.name == *at).unwrap();
            assert!(!found.active && world.directories.contains(pool), "pool {at} cannot start");
            found.active = true;
            world.volumes.entry(pool.clone()).or_default();
        }
        Step::AutostartPool { pool } => {
            world.pools.iter_mut().find(|found| found.name == *pool).unwrap().autostart = true;
        }
        Step::CreateVolume { pool, volume, xml, .. } => {
            let capacity = Element::parse(xml).unwrap().text_at(&["capacity"]).unwrap().parse().unwrap();
            let made = VolumeFound { capacity, format: read_volume(xml).unwrap().format };
            let there = world.volumes.get_mut(pool).unwrap().insert(volume.clone(), made);
            assert_eq!(there, None, "volume {volume} exists");
        }
        Step::DestroyNetwork { network } => {
            let found = world.networks.get_mut(network).unwrap();
            assert!(found.running.take().is_some());
            if !found.persistent {
                world.networks.remove(network);
            }
        }
        Step::UndefineNetwork { network } => assert!(world.networks.remove(network).unwrap().running.is_none()),
        Step::DefineNetwork { network, xml } => define_network(world, network, xml),
        Step::StartNetwork { network } => {
            let found = world.networks.get_mut(network).unwrap();
            assert_eq!(found.running, None);
            found.running = Some(found.definition.clone());
        }
        Step::AutostartNetwork { network } => world.networks.get_mut(network).unwrap().autostart = true,
        step => do_domain_step(world, step),
    }
}

fn uuid(xml: &str) -> Option<String> {
    Element::parse(xml).unwrap().text_at(&["uuid"])
}

fn define_network(world: &mut Observed, name: &str, xml: &str) {
    let (owned, definition) = read_network(xml).unwrap();
    let old = world.networks.remove(name);
    assert!(old.is_none() || uuid(xml) == old.as_ref().map(|old| old.uuid.clone()), "network {name} exists");
    let running = old.as_ref().and_then(|old| old.running.clone());
    let autostart = old.as_ref().is_some_and(|old| old.autostart);
    let uuid = old.map_or_else(|| "new".to_owned(), |old| old.uuid);
    let found = NetworkFound { uuid, owned, definition, running, persistent: true, autostart };
    world.networks.insert(name.to_owned(), found);
}

fn do_domain_step(world: &mut Observed, step: &Step) {
    let bulkhead_types::Object::Guest(guest) = bulkhead_types::Step::object(step) else { unreachable!() };
    let name = guest.as_str();
    let recent = world.recent.entry(guest.clone()).or_default();
    let found = world.domains.get_mut(name);
    match step {
        Step::DefineDomain { wanted, found: seen, .. } => {
            assert_eq!(found.as_ref().map(|found| &found.definition), seen.as_deref(), "{name} changed meanwhile");
            let mut domain = found.cloned().unwrap_or_else(|| domain(true, State::ShutOff, Definition::default()));
            assert!(domain.owned, "{name} is foreign");
            domain.definition = edited(&domain.definition, wanted);
            domain.persistent = true;
            domain.chains.clear();
            world.domains.insert(name.to_owned(), domain);
        }
        Step::NoteAway { away, .. } => found.unwrap().noted_away = *away,
        Step::NoAutostart { .. } => found.unwrap().autostart = false,
        Step::Start { .. } => {
            let found = found.unwrap();
            assert_eq!(found.state, State::ShutOff);
            (found.state, found.running) = (State::Running, Some(found.definition.clone()));
            recent.started = Some(Duration::ZERO);
        }
        Step::Shutdown { .. } => {
            assert_eq!(found.unwrap().state, State::Running);
            recent.shut_down = Some(Duration::ZERO);
        }
        Step::Destroy { .. } => {
            let found = found.unwrap();
            (found.state, found.running) = (State::ShutOff, None);
            if !found.persistent {
                world.domains.remove(name);
            }
        }
        Step::UndefineDomain { .. } => assert_eq!(world.domains.remove(name).unwrap().state, State::ShutOff),
        other => unreachable!("{other:?}"),
    }
}

/// A definition with the facets set that an edit sets; that the edit of the XML does so is tested there.
fn edited(found: &Definition, wanted: &Definition) -> Definition {
    let mut nics: Vec<_> = Vec::new();
    let declared = wanted.declared(&found.nics);
    for (nic, declared) in found.nics.iter().zip(&declared) {
        match declared {
            Some(declared) if nic.is_bridged() => nics.push((*declared).clone()),
            None if nic.is_ours() => {}
            _ => nics.push(nic.clone()),
        }
    }
    nics.extend(wanted.nics.iter().filter(|nic| !declared.contains(&Some(nic))).cloned());
    let theirs = found.disks.iter().filter(|disk| wanted.disk(&disk.target).is_none());
    let disks = theirs.chain(&wanted.disks).cloned().collect();
    Definition { nics, disks, added: found.added.clone(), breaches: found.breaches.clone(), ..wanted.clone() }
}

pub(super) fn domain(owned: bool, state: State, definition: Definition) -> DomainFound {
    let running = (state != State::ShutOff).then(|| definition.clone());
    let uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f".to_owned();
    DomainFound { running, ..DomainFound::new(uuid, owned, state, definition) }
}

pub(super) fn empty_world() -> Observed {
    Observed { host: samples::host(), ..Observed::default() }
}
