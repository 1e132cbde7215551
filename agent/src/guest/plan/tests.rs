//! The plan against a libvirt that is only a value: it converges, is quiet, and touches nothing foreign.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::guest::model::{
    Definition, DomainFound, NetworkDefinition, NetworkFound, PoolFound, Recent, SHUTDOWN_PATIENCE, State,
};
use crate::guest::samples;
use crate::guest::xml::{Element, read_domain, read_network, read_pool};

/// What libvirt would have after the steps. It refuses what libvirt refuses.
fn after(mut world: Observed, steps: &[Step]) -> Observed {
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
            let size = Element::parse(xml).unwrap().text_at(&["capacity"]).unwrap().parse().unwrap();
            let there = world.volumes.get_mut(pool).unwrap().insert(volume.clone(), size);
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
    Element::parse(xml).unwrap().text_at(&["uuid"]).map(str::to_owned)
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
        Step::DefineDomain { xml, .. } => {
            assert!(found.is_none() || uuid(xml) == found.as_ref().map(|old| old.uuid.clone()), "{name} exists");
            let (owned, definition) = read_domain(xml).unwrap();
            let mut domain = found.cloned().unwrap_or_else(|| domain(false, State::ShutOff, definition.clone()));
            (domain.owned, domain.definition, domain.persistent) = (owned, definition, true);
            world.domains.insert(name.to_owned(), domain);
        }
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

fn domain(owned: bool, state: State, definition: Definition) -> DomainFound {
    let running = (state != State::ShutOff).then(|| definition.clone());
    let uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f".to_owned();
    DomainFound { uuid, owned, state, definition, running, persistent: true, autostart: false }
}

fn empty_world() -> Observed {
    Observed { host: samples::host(), ..Observed::default() }
}

fn any_definition(desired: Desired, name: String) -> impl Strategy<Value = Definition> {
    let wanted = desired.guests.iter().find(|guest| guest.name.as_str() == name);
    let wanted = wanted.map(|guest| Definition::of(guest, &desired.pools, &samples::host())).unwrap_or_default();
    let mut without_nics = wanted.clone();
    without_nics.nics.clear();
    let mut with_hostdev = wanted.clone();
    with_hostdev.others.insert("hostdev pci".to_owned());
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
    let bits = (any::<bool>(), any::<bool>(), any::<bool>());
    prop::option::of((state, definition, running, bits)).prop_map(move |found| {
        let domain = found.map(|(state, definition, running, (owned, persistent, autostart))| DomainFound {
            running: (state != State::ShutOff).then_some(running),
            persistent: persistent || state == State::ShutOff,
            autostart,
            ..domain(owned, state, definition)
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
    let age = || prop::option::of((0..2 * SHUTDOWN_PATIENCE.as_secs()).prop_map(Duration::from_secs));
    let recent = (age(), age()).prop_map(|(started, shut_down)| Recent { started, failure: None, shut_down });
    prop::collection::btree_map(
        prop::sample::select(vec!["a", "c"]).prop_map(|name| name.parse().unwrap()),
        recent,
        0..3,
    )
}

/// A manifest and a libvirt in any state, ours, foreign and drifted alike.
fn any_world() -> impl Strategy<Value = (Desired, Observed)> {
    samples::any_desired().prop_flat_map(|desired| {
        let domains = ["a", "b-1", "c", "theirs"].map(|name| any_domain(desired.clone(), name));
        let networks = ["LANBridge", "default", "theirs"].map(any_network);
        let secure = desired.pools.iter().any(|pool| pool.encrypted);
        let unsealed = any::<bool>().prop_map(move |open| open && secure);
        let directories = prop::sample::subsequence(vec!["default".to_owned(), "secure".to_owned()], 0..=2);
        let rest = (any_pools(), directories, unsealed, any_recent());
        (Just(desired), domains, networks, rest, any::<bool>()).prop_map(
            |(desired, domains, networks, (pools, mut directories, unsealed, recent), full)| {
                let some = |(name, found): (String, Option<_>)| found.map(|found| (name, found));
                let mut world = empty_world();
                for pool in &desired.pools {
                    let found = pools.iter().find(|found| found.path.as_ref() == Some(&pool.path));
                    if found.is_some_and(|found| found.active) {
                        directories.push(pool.name.clone());
                        let disks = desired.guests.iter().flat_map(|guest| &guest.disks);
                        let disks = disks.filter(|disk| full && disk.pool == pool.name);
                        let volumes = disks.map(|disk| (disk.volume.clone(), disk.size)).collect();
                        world.volumes.insert(pool.name.clone(), volumes);
                    }
                }
                world.domains = domains.into_iter().filter_map(some).collect();
                world.networks = networks.into_iter().filter_map(|(name, found)| Some((name, found?))).collect();
                (world.pools, world.directories, world.recent) = (pools, directories, recent);
                if unsealed {
                    world.unsealed.insert("secure".to_owned(), "/srv/secure is not on dm-crypt".to_owned());
                }
                (desired, world)
            },
        )
    })
}

fn any_given() -> impl Strategy<Value = Given> {
    (any::<bool>(), any::<bool>()).prop_map(|(blocked, force)| Given {
        blocked: blocked.then(|| ("a".parse().unwrap(), "its bridge failed".to_owned())).into_iter().collect(),
        force,
    })
}

/// Everything of a libvirt that is not ours, less its own `default` where the manifest says absent.
fn foreign(world: &Observed, desired: &Desired) -> (Vec<PoolFound>, Vec<NetworkFound>, Vec<DomainFound>) {
    let ours = |name: &str| desired.pools.iter().any(|pool| pool.name == name);
    let goes = |name: &str, found: &NetworkFound| desired.default_network_absent && name == "default" && found.is_nat();
    let networks = world.networks.iter().filter(|(name, found)| !found.owned && !goes(name, found));
    let domains = world.domains.values().filter(|found| !found.owned);
    let pools = world.pools.iter().filter(|found| !ours(&found.name));
    // A pool that is used is started; nothing else of it changes.
    let pools = pools.map(|found| PoolFound { active: true, ..found.clone() });
    (pools.collect(), networks.map(|(_, found)| found.clone()).collect(), domains.cloned().collect())
}

proptest! {
    #[test]
    fn the_plan_after_an_apply_is_empty((desired, world) in any_world(), given in any_given()) {
        let first = plan(&desired, &world, &given);
        let world = after(world, &first.steps);
        prop_assert_eq!(plan(&desired, &world, &given).steps, vec![]);
    }

    #[test]
    fn foreign_objects_survive_every_plan((desired, world) in any_world(), given in any_given()) {
        let before = foreign(&world, &desired);
        let steps = plan(&desired, &world, &given).steps;
        prop_assert_eq!(foreign(&after(world, &steps), &desired), before);
    }

    #[test]
    fn a_held_guest_is_never_started((desired, world) in any_world(), given in any_given()) {
        for step in plan(&desired, &world, &given).steps {
            if let Step::Start { guest } = step {
                prop_assert!(!given.blocked.contains_key(&guest));
                let declared = desired.guests.iter().find(|declared| declared.name == guest).unwrap();
                prop_assert!(declared.start);
                prop_assert!(declared.disks.iter().all(|disk| !world.unsealed.contains_key(&disk.pool)));
            }
        }
    }
}

fn words(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

fn texts(plan: &Plan) -> String {
    plan.notices.iter().map(|n| format!("{} {:?}: {}\n", n.object, n.cause, n.text)).collect()
}

#[test]
fn an_empty_libvirt_is_filled_in_the_order_in_which_things_need_each_other() {
    let plan = plan(&samples::desired(), &empty_world(), &Given::default());
    assert_eq!(
        words(&plan),
        [
            "pool-define default",
            "pool-build default",
            "pool-start default",
            "pool-autostart default",
            "vol-create default example-vda.raw",
            "net-define LANBridge",
            "net-start LANBridge",
            "net-autostart LANBridge",
            "define example",
            "start example",
        ]
    );
}

fn settled() -> Observed {
    let world = empty_world();
    let steps = plan(&samples::desired(), &world, &Given::default()).steps;
    let mut world = after(world, &steps);
    world.recent.clear();
    world
}

#[test]
fn a_host_as_the_manifest_says_is_left_alone() {
    let plan = plan(&samples::desired(), &settled(), &Given::default());
    assert!(plan.is_empty());
    assert!(plan.notices.iter().all(|notice| notice.cause == Cause::Unsupported), "{}", texts(&plan));
}

#[test]
fn without_libvirt_everything_waits_and_nothing_is_planned() {
    let plan = plan(&samples::desired(), &Observed::down("no socket"), &Given::default());
    assert!(plan.is_empty());
    assert_eq!(plan.notices.len(), 3);
    assert!(plan.notices.iter().all(|notice| notice.cause == Cause::Pending));
}

#[test]
fn a_definition_that_somebody_edited_is_mended_and_a_running_guest_keeps_running() {
    let mut world = settled();
    let domain = world.domains.get_mut("example").unwrap();
    domain.definition.memory += 1 << 20;
    domain.running.as_mut().unwrap().nics.clear();
    let plan = plan(&samples::desired(), &world, &Given::default());
    assert_eq!(words(&plan), ["define example anew (memory 513 MiB instead of 512 MiB)"]);
    assert!(texts(&plan).contains("runs with the old definition until it is restarted (missing nic bh-0123456789ab"));
}

#[test]
fn libvirts_own_autostart_is_turned_off() {
    let mut world = settled();
    world.domains.get_mut("example").unwrap().autostart = true;
    assert_eq!(words(&plan(&samples::desired(), &world, &Given::default())), ["autostart --disable example"]);
}

#[test]
fn a_guest_that_stopped_is_started_again_but_not_at_once() {
    let mut world = settled();
    let domain = world.domains.get_mut("example").unwrap();
    (domain.state, domain.running) = (State::ShutOff, None);
    assert_eq!(words(&plan(&samples::desired(), &world, &Given::default())), ["start example"]);
    let recent = Recent { started: Some(Duration::from_secs(3)), failure: None, shut_down: None };
    world.recent.insert("example".parse().unwrap(), recent);
    let plan = plan(&samples::desired(), &world, &Given::default());
    assert!(plan.is_empty());
    assert!(texts(&plan).contains("guest example Pending: stopped again; is started 30 s after its last start"));
}

#[test]
fn a_guest_that_left_the_manifest_is_asked_then_kept_then_destroyed_if_forced() {
    let (mut world, name) = (settled(), "example".parse::<GuestName>().unwrap());
    let gone = Desired { guests: Vec::new(), ..samples::desired() };
    assert_eq!(words(&plan(&gone, &world, &Given::default())), ["shutdown example"]);
    world.recent.insert(name.clone(), Recent { shut_down: Some(Duration::from_secs(9)), ..Recent::default() });
    assert!(plan(&gone, &world, &Given::default()).is_empty());
    world.recent.insert(name, Recent { shut_down: Some(SHUTDOWN_PATIENCE), ..Recent::default() });
    let kept = plan(&gone, &world, &Given::default());
    assert!(kept.is_empty());
    assert!(texts(&kept).contains("Held: left the manifest, but did not shut down in 60 s and was kept"));
    let forced = Given { force: true, ..Given::default() };
    assert_eq!(words(&plan(&gone, &world, &forced)), ["destroy example", "undefine example"]);
}

#[test]
fn a_lost_volume_is_not_replaced_by_an_empty_one() {
    let mut world = settled();
    world.volumes.get_mut("default").unwrap().clear();
    let domain = world.domains.get_mut("example").unwrap();
    (domain.state, domain.running) = (State::ShutOff, None);
    let plan = plan(&samples::desired(), &world, &Given::default());
    assert!(plan.is_empty(), "{:?}", words(&plan));
    assert!(texts(&plan).contains("is not started: its volume example-vda.raw is gone from pool default"));
}

#[test]
fn guests_of_an_encrypted_pool_wait_for_its_mount_and_nothing_is_made_below_it() {
    let mut desired = samples::desired();
    desired.pools[0].encrypted = true;
    let mut world = empty_world();
    world.unsealed.insert("default".to_owned(), "/var/lib/libvirt/images is on /dev/sda1".to_owned());
    let plan = plan(&desired, &world, &Given::default());
    assert_eq!(words(&plan), ["net-define LANBridge", "net-start LANBridge", "net-autostart LANBridge"]);
    assert!(texts(&plan).contains(
        "guest example Held: is not started: its pool default is declared encrypted, and /var/lib/libvirt/images is on"
    ));
}

#[test]
fn a_guest_whose_earlier_phase_failed_is_made_ready_but_not_started() {
    let blocked = [("example".parse().unwrap(), "its slice could not be made".to_owned())].into();
    let plan = plan(&samples::desired(), &empty_world(), &Given { blocked, force: false });
    assert_eq!(words(&plan).last().map(String::as_str), Some("define example"));
    assert!(texts(&plan).contains("guest example Held: is not started: its slice could not be made"));
}

#[test]
fn only_libvirts_own_nat_network_is_removed_and_only_when_asked() {
    let nat = NetworkDefinition { forward: Some("nat".to_owned()), bridge: Some("virbr0".to_owned()) };
    let found = NetworkFound {
        uuid: "u".to_owned(),
        owned: false,
        definition: nat.clone(),
        running: Some(nat),
        persistent: true,
        autostart: true,
    };
    let mut world = settled();
    world.networks.insert("default".to_owned(), found.clone());
    assert_eq!(
        words(&plan(&samples::desired(), &world, &Given::default())),
        ["net-destroy default", "net-undefine default"]
    );
    let kept = Desired { default_network_absent: false, ..samples::desired() };
    assert!(plan(&kept, &world, &Given::default()).is_empty());
    world.networks.get_mut("default").unwrap().definition.forward = Some("route".to_owned());
    let other = plan(&samples::desired(), &world, &Given::default());
    assert!(other.is_empty());
    assert!(texts(&other).contains("network default Clash"));
}

#[test]
fn a_clash_of_names_names_both_sides() {
    let mut world = settled();
    world.domains.get_mut("example").unwrap().owned = false;
    world.networks.get_mut("LANBridge").unwrap().owned = false;
    world.pools[0].path = Some("/mnt".into());
    let plan = plan(&samples::desired(), &world, &Given::default());
    assert!(plan.is_empty());
    let texts = texts(&plan);
    for text in [
        "guest example Clash: the manifest declares guest example, but a domain example that is not ours is there",
        "network LANBridge Clash: the manifest publishes bridge br20 as libvirt network LANBridge, but a network LANBridge",
        "pool default Clash: the manifest's pool default is /var/lib/libvirt/images, but libvirt's pool default is /mnt",
    ] {
        assert!(texts.contains(text), "{texts}");
    }
}
