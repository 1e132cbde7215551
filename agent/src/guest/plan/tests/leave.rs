//! Guests that left the manifest.

use std::time::Duration;

use super::*;
use crate::guest::model::Recent;

#[test]
fn a_guest_that_left_the_manifest_is_asked_then_kept_then_destroyed_if_forced() {
    let (mut world, name) = (settled(), "example".parse::<GuestName>().unwrap());
    let gone = Desired { guests: Vec::new(), ..samples::desired() };
    assert_eq!(words(&plan(&gone, &world, &Admission::default())), ["shutdown example"]);
    world.recent.insert(name.clone(), Recent { shut_down: Some(Duration::from_secs(9)), ..Recent::default() });
    assert!(plan(&gone, &world, &Admission::default()).is_empty());
    world.recent.insert(name, Recent { shut_down: Some(world.timing.shutdown_timeout), ..Recent::default() });
    let kept = plan(&gone, &world, &Admission::default());
    assert!(kept.is_empty());
    assert!(texts(&kept).contains("Held: is to go, but did not shut down in 60 s and was kept"));
    let forced = Admission { force: true, ..Admission::default() };
    assert_eq!(words(&plan(&gone, &world, &forced)), ["destroy example", "undefine example"]);
}

#[test]
fn a_guest_with_snapshots_that_left_the_manifest_stays_defined() {
    let mut world = settled();
    let domain = world.domains.get_mut("example").unwrap();
    (domain.state, domain.running) = (State::ShutOff, None);
    domain.irreplaceable = vec!["2 snapshots".to_owned(), "saved memory".to_owned()];
    let gone = Desired { guests: Vec::new(), ..samples::desired() };
    let plan = plan(&gone, &world, &Admission { force: true, ..Admission::default() });
    assert!(plan.is_empty());
    assert!(texts(&plan).contains("libvirt could not give back 2 snapshots, saved memory"), "{}", texts(&plan));
}

#[test]
fn a_guest_has_the_time_to_shut_down_that_libvirt_was_opened_with() {
    let mut world = settled();
    world.timing.shutdown_timeout = Duration::from_secs(5);
    world
        .recent
        .insert("example".parse().unwrap(), Recent { shut_down: Some(Duration::from_secs(9)), ..Recent::default() });
    let gone = Desired { guests: Vec::new(), ..samples::desired() };
    let kept = plan(&gone, &world, &Admission::default());
    assert!(texts(&kept).contains("did not shut down in 5 s and was kept"), "{}", texts(&kept));
}
