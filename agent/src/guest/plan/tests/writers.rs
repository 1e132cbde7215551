//! Images that more than one disk would write.

use super::libvirt::domain;
use super::*;
use crate::guest::model::{Definition, DiskDefinition};

const IMAGE: &str = "/var/lib/libvirt/images/example-vda.raw";

fn disk(target: &str) -> DiskDefinition {
    DiskDefinition {
        target: target.to_owned(),
        kind: "file".to_owned(),
        path: Some(IMAGE.into()),
        ..DiskDefinition::default()
    }
}

/// The example, not yet defined, whose volume is there, and another domain with these disks.
fn beside(owned: bool, state: State, disks: Vec<DiskDefinition>) -> Observed {
    let mut world = settled();
    world.domains.clear();
    let definition = Definition { disks, ..Definition::default() };
    world.domains.insert("other".to_owned(), domain(owned, state, definition));
    world
}

fn planned(world: &Observed) -> Plan {
    plan(&samples::desired(), world, &Admission::default())
}

#[test]
fn an_image_of_another_domain_is_given_to_no_guest_and_both_are_named() {
    let path = DiskDefinition { path: Some("/x/s1".into()), ..disk("vdb") };
    let volume = Some(("images".to_owned(), "example-vda.raw".to_owned()));
    let by_name = DiskDefinition { kind: "volume".to_owned(), path: None, volume, ..disk("vdb") };
    for (state, here, options) in [
        (State::ShutOff, disk("vdb"), "--config"),
        (State::Running, disk("vdb"), "--config --live"),
        (State::ShutOff, by_name, "--config"),
        (State::ShutOff, path, "--config"),
    ] {
        let mut world = beside(false, state, vec![here]);
        world.pools[0].name = "images".to_owned();
        let other = world.domains.get_mut("other").unwrap();
        if other.definition.disks[0].path.as_deref() == Some("/x/s1".as_ref()) {
            other.chains.insert("vdb".to_owned(), Ok(vec!["/x/s1".into(), IMAGE.into()]));
        }
        let held = planned(&world);
        assert!(held.is_empty(), "{:?}", words(&held));
        let text = format!(
            "guest example Held: is left alone: its disk vda is {IMAGE}, which domain other has as disk vdb too, and two guests \
             that write one image destroy it; `virsh detach-disk other vdb {options}` takes it from other"
        );
        assert!(texts(&held).contains(&text), "{}", texts(&held));
    }
}

#[test]
fn a_guest_whose_image_somebody_else_took_too_is_not_started_again() {
    let mut world = settled();
    let definition = Definition { disks: vec![disk("vda")], ..Definition::default() };
    world.domains.insert("other".to_owned(), domain(false, State::ShutOff, definition));
    let example = world.domains.get_mut("example").unwrap();
    (example.state, example.running) = (State::ShutOff, None);
    assert!(planned(&world).is_empty(), "{:?}", words(&planned(&world)));
    world.domains.get_mut("other").unwrap().definition.disks.clear();
    assert_eq!(words(&planned(&world)), ["start example"]);
}

#[test]
fn an_image_with_which_a_domain_still_runs_is_waited_for() {
    let mut world = beside(false, State::Running, vec![disk("vdb")]);
    let other = world.domains.get_mut("other").unwrap();
    other.definition.disks.clear();
    assert!(texts(&planned(&world)).contains("`virsh detach-disk other vdb --live`"), "{}", texts(&planned(&world)));
    let other = world.domains.get_mut("other").unwrap();
    other.running.as_mut().unwrap().disks[0].path = Some("/x/s1".into());
    other.running_chains.insert("vdb".to_owned(), vec!["/x/s1".into(), IMAGE.into()]);
    assert!(planned(&world).is_empty());
}

#[test]
fn who_only_reads_an_image_or_cannot_be_read_holds_nobody() {
    let mut world = beside(false, State::Running, vec![DiskDefinition { shared: true, ..disk("sda") }]);
    world.domains.get_mut("other").unwrap().running_chains.insert("sda".to_owned(), vec![IMAGE.into()]);
    world.unread.domains.insert("unread".to_owned(), "no".to_owned());
    assert_eq!(words(&planned(&world)), ["define example", "start example"]);
}

#[test]
fn a_disk_that_is_called_another_name_is_not_attached_twice() {
    let mut desired = samples::desired();
    desired.guests[0].disks[0].target = "vdd".to_owned();
    for off in [true, false] {
        let mut world = settled();
        let example = world.domains.get_mut("example").unwrap();
        if off {
            (example.state, example.running) = (State::ShutOff, None);
        }
        let held = plan(&desired, &world, &Admission::default());
        assert!(held.is_empty(), "{:?}", words(&held));
        let text = format!(
            "is left alone: its disk vdd is {IMAGE}, which its definition has as disk vda too, and two disks that write one \
             image destroy it; `virsh detach-disk example vda --config` takes it from vda"
        );
        assert!(texts(&held).contains(&text), "{}", texts(&held));
        // As that command leaves it.
        world.domains.get_mut("example").unwrap().definition.disks.clear();
        let detached = words(&plan(&desired, &world, &Admission::default()));
        assert!(detached[0].starts_with("define example anew (missing disk vdd"), "{detached:?}");
        assert_eq!(detached.len(), 1 + usize::from(off), "{detached:?}");
    }
}

#[test]
fn a_volume_that_goes_from_one_guest_to_another_waits_until_the_first_gives_it_up() {
    let mut desired = samples::desired();
    let mut other = Guest { nics: Vec::new(), ..samples::guest("other") };
    other.disks[0].volume = desired.guests[0].disks.remove(0).volume;
    desired.guests.push(other);
    let world = settled();
    let held = plan(&desired, &world, &Admission::default());
    assert!(!words(&held).iter().any(|step| step.contains("other")), "{:?}", words(&held));
    assert!(texts(&held).contains("`virsh detach-disk example vda --config --live`"), "{}", texts(&held));
}

#[test]
fn a_guest_by_another_name_on_the_same_volume_starts_when_the_old_one_is_gone() {
    let mut desired = samples::desired();
    desired.guests[0].name = "other".parse().unwrap();
    let mut world = settled();
    for step in ["shutdown example", "undefine example"] {
        let waits = plan(&desired, &world, &Admission::default());
        assert_eq!(words(&waits), [step]);
        assert!(texts(&waits).contains("guest other Pending: is left alone"), "{}", texts(&waits));
        world = after(world, &waits.steps);
        if let Some(example) = world.domains.get_mut("example") {
            (example.state, example.running) = (State::ShutOff, None);
        }
    }
    assert_eq!(words(&plan(&desired, &world, &Admission::default())), ["define other", "start other"]);
}

#[test]
fn a_guest_by_another_name_on_an_empty_volume_is_told_what_it_does_not_get() {
    let mut desired = samples::desired();
    desired.guests = vec![samples::guest("other")];
    let empty = plan(&desired, &settled(), &Admission::default());
    assert_eq!(words(&empty)[0], "vol-create default other-vda.raw");
    let text = format!("begins empty, with nothing of what leaves the manifest ({IMAGE} of example)");
    assert!(texts(&empty).contains(&text), "{}", texts(&empty));
}
