//! The daemon ends after any of its calls; the next one starts from what it finds.

use bulkhead::guest::model::{Desired, DomainFound, NetworkFound, Observed, PoolFound};

use crate::world::*;

/// What two ways to the same manifest must have in common; libvirt chooses the uuid.
#[derive(Debug, PartialEq)]
struct Common {
    pools: Vec<PoolFound>,
    networks: Vec<(String, NetworkFound)>,
    domains: Vec<(String, DomainFound)>,
    volumes: Vec<String>,
}

fn common(observed: Observed) -> Common {
    let tests = |name: &String| name.starts_with("t-");
    let uuid = String::new;
    let networks = observed.networks.into_iter().filter(|(name, _)| tests(name));
    let domains = observed.domains.into_iter().filter(|(name, _)| tests(name));
    Common {
        pools: observed.pools.into_iter().filter(|pool| tests(&pool.name)).collect(),
        networks: networks.map(|(name, found)| (name, NetworkFound { uuid: uuid(), ..found })).collect(),
        domains: domains.map(|(name, found)| (name, DomainFound { uuid: uuid(), ..found })).collect(),
        volumes: observed.volumes.into_values().flat_map(|volumes| volumes.into_keys()).collect(),
    }
}

/// Goes from `from` to `to` once for each call of that way, ends after that call, and begins anew.
async fn stop_after_each_call(from: &Desired, to: &Desired) {
    let mut world = World::open().await;
    let mut stop = 0;
    let mut straight = None;
    loop {
        empty();
        world.restart().await;
        world.settle(from).await;
        world.restart().await;
        world.prepare(to).await;
        let mut plan = world.plan(to).await;
        let all = plan.steps.len();
        plan.steps.truncate(if straight.is_none() { all } else { stop });
        world.apply(&plan).await;
        let last = plan.steps.last().map(ToString::to_string);
        world.restart().await;
        world.settle(to).await;
        let reached = common(world.observe(to).await);
        println!("stopped after {} of {all} calls ({last:?})", plan.steps.len());
        match &straight {
            None => straight = Some(reached),
            Some(straight) => {
                assert_eq!(reached, *straight, "stopped after {last:?}");
                stop += 1;
                if stop == all {
                    return;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_first_apply_that_ends_after_any_call_is_completed_by_the_next() {
    // Case 8 of the lab stops before a start.
    let mut to = desired(guest("t-stop"));
    to.guests[0].start = false;
    stop_after_each_call(&Desired::default(), &to).await;
}

#[tokio::test]
async fn a_change_that_ends_after_any_call_is_completed_by_the_next() {
    let mut from = desired(guest("t-stop"));
    from.guests[0].start = false;
    let mut to = from.clone();
    // Another disk for the guest, and another bridge for the network.
    to.guests[0].disks.push(disk("t-stop", "vdb", bulkhead::guest::model::Format::Qcow2));
    to.networks[0].bridge = "bt-other".parse().unwrap();
    stop_after_each_call(&from, &to).await;
}

#[tokio::test]
async fn a_leave_that_ends_after_any_call_is_completed_by_the_next() {
    let mut from = desired(guest("t-stop"));
    from.guests[0].start = false;
    stop_after_each_call(&from, &Desired::default()).await;
}

#[tokio::test]
async fn a_guest_that_is_just_being_started_is_not_started_twice() {
    let mut world = World::open().await;
    let desired = desired(guest("t-start"));
    world.prepare(&desired).await;
    let mut plan = world.plan(&desired).await;
    assert_eq!(plan.steps.pop().unwrap().to_string(), "start t-start");
    world.apply(&plan).await;
    // The daemon that asked for this start is gone, libvirtd still works on it; or ours comes first after all.
    let mut start = std::process::Command::new("virsh").args(["start", "t-start"]).spawn().unwrap();
    while start.try_wait().unwrap().is_none() {
        let observed = world.observe(&desired).await;
        let plan = world.plan(&desired).await;
        println!("{:?}: {:?} {:?}", observed.domains["t-start"].state, words(&plan), told(&plan));
        world.apply(&plan).await;
    }
    assert_eq!(world.settle(&desired).await.0, []);
    assert!(runs(&world.observe(&desired).await, "t-start"));
}
