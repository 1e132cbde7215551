//! The plan against a libvirt that is only a value: it converges, is quiet, and touches nothing foreign.

mod disks;
mod domains;
mod leave;
mod libvirt;
mod networks;
mod occupied;
mod pools;
mod properties;
mod worlds;
mod writers;

use libvirt::{after, empty_world};

use super::*;
use crate::guest::model::{DomainFound, Guest, State};
use crate::guest::samples;

fn words(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

fn texts(plan: &Plan) -> String {
    plan.notices.iter().map(|n| format!("{} {:?}: {}\n", n.object, n.cause, n.text)).collect()
}

fn settled() -> Observed {
    let world = empty_world();
    let steps = plan(&samples::desired(), &world, &Admission::default()).steps;
    let mut world = after(world, &steps);
    world.recent.clear();
    world
}

fn off(change: impl FnOnce(&mut DomainFound)) -> Plan {
    let mut world = settled();
    let domain = world.domains.get_mut("example").unwrap();
    (domain.state, domain.running) = (State::ShutOff, None);
    change(domain);
    plan(&samples::desired(), &world, &Admission::default())
}

#[test]
fn an_empty_libvirt_is_filled_in_the_order_in_which_things_need_each_other() {
    let plan = plan(&samples::desired(), &empty_world(), &Admission::default());
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

#[test]
fn a_host_as_the_manifest_says_is_left_alone() {
    let plan = plan(&samples::desired(), &settled(), &Admission::default());
    assert!(plan.is_empty());
    assert!(plan.notices.iter().all(|notice| notice.cause == Cause::Unsupported), "{}", texts(&plan));
}

#[test]
fn without_libvirt_everything_waits_and_nothing_is_planned() {
    let plan = plan(&samples::desired(), &Observed::down("no socket"), &Admission::default());
    assert!(plan.is_empty());
    assert_eq!(plan.notices.len(), 3);
    assert!(plan.notices.iter().all(|notice| notice.cause == Cause::Pending));
}

#[test]
fn one_object_that_cannot_be_read_is_held_and_the_others_go_on() {
    let mut desired = samples::desired();
    desired.guests.push(Guest { disks: Vec::new(), nics: Vec::new(), ..samples::guest("other") });
    let why = || "is not well-formed XML".to_owned();
    let mut world = empty_world();
    world.unread.domains.insert("example".to_owned(), why());
    world.unread.networks.insert("LANBridge".to_owned(), why());
    let plan_ = plan(&desired, &world, &Admission::default());
    let words = words(&plan_);
    assert!(words.contains(&"start other".to_owned()), "{words:?}");
    assert!(!words.iter().any(|step| step.contains("example") || step.contains("LANBridge")), "{words:?}");
    world.unread.pools.insert("default".to_owned(), why());
    let plan = plan(&desired, &world, &Admission::default());
    for text in
        ["guest example Unknown: is left alone: what libvirt has of it cannot be read", "pool default Unknown: what"]
    {
        assert!(texts(&plan).contains(text), "{}", texts(&plan));
    }
}
