//! The plan against a libvirt that is only a value: it converges, is quiet, and touches nothing foreign.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::guest::Lack;
use crate::guest::model::Guest;
use crate::guest::model::{
    Away, Definition, Disk, DomainFound, NetworkDefinition, NetworkFound, Occupied, PoolFound, Recent,
    SHUTDOWN_PATIENCE, State, VolumeFound,
};
use crate::guest::samples;
use crate::guest::xml::{Element, read_network, read_pool, read_volume};

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

fn domain(owned: bool, state: State, definition: Definition) -> DomainFound {
    let running = (state != State::ShutOff).then(|| definition.clone());
    let uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f".to_owned();
    DomainFound { running, ..DomainFound::new(uuid, owned, state, definition) }
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

fn any_given() -> impl Strategy<Value = Given> {
    (any::<bool>(), any::<bool>()).prop_map(|(holds, force)| Given {
        holds: holds.then(|| ("a".parse().unwrap(), Hold::Segment(Lack::Unseen(None)))).into_iter().collect(),
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
                prop_assert!(!given.holds.contains_key(&guest));
                let declared = desired.guests.iter().find(|declared| declared.name == guest).unwrap();
                prop_assert!(declared.start);
                prop_assert!(declared.disks.iter().all(|disk| !world.unencrypted.contains_key(&disk.pool)));
            }
        }
    }
}

proptest! {
    #[test]
    fn whoever_somebody_else_works_on_is_left_alone((desired, world) in any_world(), given in any_given()) {
        let steps = plan(&desired, &world, &given).steps;
        for (name, found) in world.domains.iter().filter(|(_, found)| found.occupied.is_some()) {
            let of_it = |step: &Step| bulkhead_types::Step::object(step) == Object::Guest(name.parse().unwrap());
            let touches = |step: &&Step| of_it(step) && !matches!(step, Step::NoteAway { .. });
            let touched: Vec<_> = steps.iter().filter(touches).collect();
            let leaves = matches!(&touched[..], [] | [Step::UndefineDomain { .. }]) && found.state == State::ShutOff;
            prop_assert!(touched.is_empty() || leaves, "{:?}", touched);
        }
    }

    #[test]
    fn what_libvirt_could_not_give_back_is_never_undefined((desired, world) in any_world(), given in any_given()) {
        for step in plan(&desired, &world, &given).steps {
            if let Step::UndefineDomain { guest } = step {
                prop_assert!(world.domains[guest.as_str()].irreplaceable.is_empty());
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
    assert!(texts(&plan).contains("runs with the old definition until it is restarted (missing NIC bh-0123456789ab"));
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
    world.unencrypted.insert("default".to_owned(), "/var/lib/libvirt/images is on /dev/sda1".to_owned());
    let plan = plan(&desired, &world, &Given::default());
    assert_eq!(words(&plan), ["net-define LANBridge", "net-start LANBridge", "net-autostart LANBridge"]);
    assert!(texts(&plan).contains(
        "guest example Held: is not started: its pool default is declared encrypted, and /var/lib/libvirt/images is on"
    ));
}

#[test]
fn a_guest_whose_earlier_phase_failed_is_made_ready_but_not_started() {
    let hold =
        Hold::Limits(Lack::Left { step: "systemctl start".to_owned(), refused: Some("no such unit".to_owned()) });
    let holds = [("example".parse().unwrap(), hold)].into();
    let plan = plan(&samples::desired(), &empty_world(), &Given { holds, force: false });
    assert_eq!(words(&plan).last().map(String::as_str), Some("define example"));
    assert!(texts(&plan).contains("guest example Held: is not started: its limits do not hold: no such unit"));
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

/// The example, shut off or running, whose disk is on another image, and what libvirt says of that image.
fn on_image(path: &str, chain: Result<Vec<&str>, &str>, state: State) -> Observed {
    let mut world = settled();
    let domain = world.domains.get_mut("example").unwrap();
    domain.definition.disks[0].path = Some(path.into());
    domain.definition.disks[0].format = Some("qcow2".to_owned());
    domain.running = (state != State::ShutOff).then(|| domain.definition.clone());
    domain.state = state;
    let chain = chain.map(|images| images.into_iter().map(Into::into).collect()).map_err(str::to_owned);
    domain.chains.insert("vda".to_owned(), chain);
    world
}

const BASE: &str = "/var/lib/libvirt/images/example-vda.raw";

#[test]
fn a_guest_on_an_overlay_of_its_volume_keeps_it_and_is_started_from_it() {
    let chain = Ok(vec!["/x/s1", BASE]);
    let running = plan(&samples::desired(), &on_image("/x/s1", chain.clone(), State::Running), &Given::default());
    assert!(running.is_empty(), "{:?}", words(&running));
    assert!(
        texts(&running).contains("Held: its disk vda is on /x/s1, an overlay of the declared volume example-vda.raw")
    );
    let mut desired = samples::desired();
    desired.guests[0].memory *= 2;
    let bigger = plan(&desired, &on_image("/x/s1", chain, State::ShutOff), &Given::default());
    let [Step::DefineDomain { wanted, differences, .. }, Step::Start { .. }] = &bigger.steps[..] else {
        panic!("{:?}", words(&bigger))
    };
    assert_eq!(differences[..], ["memory 512 MiB instead of 1024 MiB", "current memory 512 MiB instead of 1024 MiB"]);
    assert_eq!(wanted.disks[0].path.as_deref(), Some(std::path::Path::new("/x/s1")));
}

#[test]
fn a_guest_on_an_image_of_which_nothing_is_known_is_left_alone() {
    let mut world = on_image("/x/s1", Err("no active pool of libvirt's holds /x/s1"), State::ShutOff);
    // No empty volume takes the place of a base that is not listed.
    world.volumes.get_mut("default").unwrap().clear();
    let plan = plan(&samples::desired(), &world, &Given::default());
    assert!(plan.is_empty(), "{:?}", words(&plan));
    assert!(texts(&plan).contains("Held: is left alone: its disk vda is /x/s1, and whether that is an overlay of"));
}

#[test]
fn an_overlay_outside_its_encrypted_pool_holds_its_guest() {
    let mut desired = samples::desired();
    desired.pools[0].encrypted = true;
    let within = "/var/lib/libvirt/images/example-vda.s1";
    for (image, held) in [("/var/tmp/example-vda.s1", true), (within, false)] {
        let mut world = on_image(image, Ok(vec![image, BASE]), State::ShutOff);
        world.pools[0].autostart = false;
        let plan = plan(&desired, &world, &Given::default());
        assert_eq!(!words(&plan).contains(&"start example".to_owned()), held, "{:?}", words(&plan));
        assert_eq!(texts(&plan).contains("outside its encrypted pool default"), held, "{}", texts(&plan));
    }
}

#[test]
fn a_disk_whose_image_is_no_overlay_of_the_volume_is_not_put_back() {
    // As `virsh blockpull` and `virsh blockcopy --pivot` leave it: what was written last is not in the volume.
    for state in [State::ShutOff, State::Running] {
        let world = on_image("/x/other", Ok(vec!["/x/other", "/x/golden"]), state);
        let plan = plan(&samples::desired(), &world, &Given::default());
        assert!(plan.is_empty(), "{:?}", words(&plan));
        let said = texts(&plan);
        assert!(
            said.contains("of which it is no overlay") && said.contains("virsh detach-disk example vda --config"),
            "{said}"
        );
    }
}

#[test]
fn a_guest_that_runs_on_an_overlay_which_its_definition_does_not_name_is_told_what_it_would_lose() {
    let mut world = settled();
    let domain = world.domains.get_mut("example").unwrap();
    domain.running.as_mut().unwrap().disks[0].path = Some("/x/s1".into());
    domain.running_chains.insert("vda".to_owned(), vec!["/x/s1".into(), BASE.into()]);
    let plan = plan(&samples::desired(), &world, &Given::default());
    assert!(plan.is_empty());
    assert!(
        texts(&plan).contains("what was written since would be lost at the next start; `virsh blockcommit example vda")
    );
}

fn off(change: impl FnOnce(&mut DomainFound)) -> Plan {
    let mut world = settled();
    let domain = world.domains.get_mut("example").unwrap();
    (domain.state, domain.running) = (State::ShutOff, None);
    change(domain);
    plan(&samples::desired(), &world, &Given::default())
}

#[test]
fn a_guest_that_moved_away_or_was_saved_to_a_file_is_not_started() {
    for (occupied, text) in [
        (Occupied::Away(Away::Migrated), "Held: is left alone: it moved to another host"),
        (Occupied::Away(Away::Saved), "Held: is left alone: its memory was saved to a file; `virsh restore FILE`"),
        (
            Occupied::Unknown("no".to_owned()),
            "Unknown: is left alone: whether libvirt is at work on it is not known: no",
        ),
    ] {
        let away = occupied.away();
        let plan = off(|domain| domain.occupied = Some(occupied));
        let noted = away.map(|away| format!("metadata example ({})", away.as_str()));
        assert_eq!(words(&plan), Vec::from_iter(noted));
        assert!(texts(&plan).contains(text), "{}", texts(&plan));
    }
    let here_again = off(|domain| domain.noted_away = Some(Away::Migrated));
    assert_eq!(words(&here_again), ["metadata example (here again)", "start example"]);
}

#[test]
fn saved_memory_goes_on_before_its_definition_changes_and_only_within_the_walls() {
    let saved = samples::definition();
    let resumed = off(|domain| {
        domain.definition.memory *= 2;
        domain.saved = Some(Ok(saved.clone()));
    });
    assert_eq!(words(&resumed), ["start example"]);
    let elsewhere = off(|domain| {
        let mut saved = saved;
        saved.nics[0].bridge = Some("virbr0".to_owned());
        domain.saved = Some(Ok(saved));
    });
    assert!(elsewhere.is_empty());
    assert!(texts(&elsewhere).contains("is in its saved memory, which `virsh managedsave-remove example` gives up"));
}

#[test]
fn what_leads_past_the_walls_holds_a_guest_and_is_named_while_it_runs() {
    let breach = |definition: &mut Definition| _ = definition.breaches.insert("hostdev pci".to_owned());
    let held = off(|domain| breach(&mut domain.definition));
    assert!(held.is_empty());
    assert!(
        texts(&held).contains("Held: is not started: its definition leads past its walls (hostdev pci); `virsh edit")
    );
    let mut world = settled();
    breach(world.domains.get_mut("example").unwrap().running.as_mut().unwrap());
    let running = plan(&samples::desired(), &world, &Given::default());
    assert!(running.is_empty());
    assert!(
        texts(&running).contains("Violation: runs with what leads past its walls (hostdev pci)"),
        "{}",
        texts(&running)
    );
}

#[test]
fn a_volume_of_another_format_holds_its_guest_and_both_are_named() {
    for (found, text) in [
        (Some("qcow2"), "its volume example-vda.raw is qcow2, the manifest says raw; write `format = \"qcow2\"`"),
        (None, "libvirt does not say whether its volume example-vda.raw is raw"),
    ] {
        let mut world = empty_world();
        let volume = VolumeFound { capacity: 20 << 30, format: found.map(str::to_owned) };
        let pool =
            PoolFound { name: "default".into(), path: Some(samples::pool().path), active: true, autostart: true };
        world.pools.push(pool);
        world.volumes.insert("default".to_owned(), [("example-vda.raw".to_owned(), volume)].into());
        let plan = plan(&samples::desired(), &world, &Given::default());
        assert!(words(&plan).iter().all(|step| !step.contains("example")), "{:?}", words(&plan));
        assert!(texts(&plan).contains(text), "{}", texts(&plan));
    }
}

#[test]
fn a_volume_of_another_size_is_told_how_to_grow_and_never_to_shrink() {
    let sized = |capacity, off: bool| {
        let mut world = settled();
        world.volumes.get_mut("default").unwrap().get_mut("example-vda.raw").unwrap().capacity = capacity;
        if off {
            (world.domains.get_mut("example").unwrap().state, world.domains.get_mut("example").unwrap().running) =
                (State::ShutOff, None);
        }
        texts(&plan(&samples::desired(), &world, &Given::default()))
    };
    assert!(sized(1 << 30, false).contains("`virsh blockresize example vda 21474836480B`"));
    assert!(sized(1 << 30, true).contains("`virsh vol-resize example-vda.raw 21474836480 --pool default`"));
    let larger = sized(40 << 30, true);
    assert!(larger.contains("correct the manifest") && !larger.contains("virsh"), "{larger}");
}

#[test]
fn one_object_that_cannot_be_read_is_held_and_the_others_go_on() {
    let mut desired = samples::desired();
    desired.guests.push(Guest { disks: Vec::new(), nics: Vec::new(), ..samples::guest("other") });
    let why = || "is not well-formed XML".to_owned();
    let mut world = empty_world();
    world.unread.domains.insert("example".to_owned(), why());
    world.unread.networks.insert("LANBridge".to_owned(), why());
    let plan_ = plan(&desired, &world, &Given::default());
    let words = words(&plan_);
    assert!(words.contains(&"start other".to_owned()), "{words:?}");
    assert!(!words.iter().any(|step| step.contains("example") || step.contains("LANBridge")), "{words:?}");
    world.unread.pools.insert("default".to_owned(), why());
    let plan = plan(&desired, &world, &Given::default());
    for text in
        ["guest example Unknown: is left alone: what libvirt has of it cannot be read", "pool default Unknown: what"]
    {
        assert!(texts(&plan).contains(text), "{}", texts(&plan));
    }
}

#[test]
fn a_guest_with_snapshots_that_left_the_manifest_stays_defined() {
    let mut world = settled();
    let domain = world.domains.get_mut("example").unwrap();
    (domain.state, domain.running) = (State::ShutOff, None);
    domain.irreplaceable = vec!["2 snapshots".to_owned(), "saved memory".to_owned()];
    let gone = Desired { guests: Vec::new(), ..samples::desired() };
    let plan = plan(&gone, &world, &Given { force: true, ..Given::default() });
    assert!(plan.is_empty());
    assert!(texts(&plan).contains("libvirt could not give back 2 snapshots, saved memory"), "{}", texts(&plan));
}

#[test]
fn a_directory_that_the_daemon_cannot_see_is_never_made() {
    let mut world = empty_world();
    world.hidden.insert("default".to_owned(), "the agent does not see what is in /home".to_owned());
    let plan = plan(&samples::desired(), &world, &Given::default());
    assert!(!words(&plan).iter().any(|step| step.starts_with("pool-build")), "{:?}", words(&plan));
    assert!(texts(&plan).contains("pool default Held: its directory /var/lib/libvirt/images is not made"));
}
