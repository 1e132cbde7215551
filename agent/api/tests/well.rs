//! When a host is well: only when every promise of its manifest holds.

#![allow(clippy::unwrap_used)] // a test may stop at the first surprise, in its functions too

use bulkhead_api::*;
use bulkhead_types::{Cause, Notice, Object};

fn ready() -> Status {
    Status {
        ready: true,
        verified: true,
        trunks: vec![Trunk { name: "eth1".parse().unwrap(), state: State::Ready, why: None }],
        guests: vec![guest(GuestState::Running), guest(GuestState::Stopped)],
        ..Status::default()
    }
}

fn guest(state: GuestState) -> Guest {
    Guest {
        name: "web".parse().unwrap(),
        state,
        why: None,
        vcpus: Some(1),
        memory: Some(1),
        limits: Vec::new(),
        accelerated: None,
        nics: Vec::new(),
    }
}

/// A guest's memory, of which 2 bytes are declared.
fn limit(at: Option<u64>, unknown: Option<&str>) -> Limit {
    Limit {
        control: "memory".to_owned(),
        declared: Some(2),
        at,
        tighter: at == Some(1),
        group: None,
        unknown: unknown.map(str::to_owned),
        text: String::new(),
    }
}

fn notice(cause: Cause) -> Notice {
    Notice { object: Object::Policy, cause, text: String::new() }
}

#[test]
fn a_host_of_which_all_was_seen_and_is_as_declared_is_well() {
    assert!(ready().is_well());
    assert!(!Status { ready: false, ..ready() }.is_well());
    assert!(!Status { verified: false, ..ready() }.is_well(), "a step is left, or not all was looked at");
    let guests = |since_start_us| PhaseTimes { phase: Phase::Guests, since_start_us, since_boot_us: None };
    assert!(Status { phases: vec![guests(Some(7))], ..ready() }.is_well());
    assert!(!Status { phases: vec![guests(None)], ..ready() }.is_well(), "a phase that was never done");
}

#[test]
fn a_trunk_that_is_missing_is_not_well() {
    let mut status = ready();
    status.trunks[0].state = State::Pending;
    assert!(!status.is_well());
}

#[test]
fn a_guest_that_is_not_known_or_does_not_run_as_declared_is_not_well() {
    for state in [GuestState::Unknown, GuestState::Held, GuestState::Paused, GuestState::Stopping] {
        let mut status = ready();
        status.guests.push(guest(state));
        assert!(!status.is_well(), "{state:?}");
    }
    let mut status = ready();
    status.guests[1].why = Some("its volume is missing".to_owned());
    assert!(!status.is_well(), "stopped for a reason");
    let mut status = ready();
    status.guests[0].why = Some("runs with what leads past its walls".to_owned());
    assert!(!status.is_well(), "outside its walls");
}

#[test]
fn only_foreign_and_unsupported_notices_leave_a_host_well() {
    for (cause, well) in [
        (Cause::Foreign, true),
        (Cause::Unsupported, true),
        (Cause::Pending, false),
        (Cause::Clash, false),
        (Cause::Held, false),
    ] {
        let notices = vec![notice(cause)];
        assert_eq!(Status { notices: notices.clone(), ..ready() }.is_well(), well, "{cause:?}");
        assert_eq!(Plan { steps: Vec::new(), notices: notices.clone() }.is_well(), well, "{cause:?}");
        assert_eq!(Summary { verified: true, notices, ..Summary::default() }.is_well(), well, "{cause:?}");
    }
}

#[test]
fn a_step_that_failed_or_is_still_to_be_done_is_not_well() {
    let step = Step { phase: Phase::Links, object: Object::Policy, text: String::new() };
    assert!(!Plan { steps: vec![step.clone()], notices: Vec::new() }.is_well());
    assert!(!Summary { verified: true, remaining: vec![step.clone()], ..Summary::default() }.is_well());
    assert!(!Summary::default().is_well(), "not verified");
    let Step { phase, object, text } = step;
    let failed = Done { phase, object, text, outcome: Ended::Failed, why: None };
    assert!(!Status { report: vec![failed], ..ready() }.is_well());
}

#[test]
fn a_guest_that_is_bounded_otherwise_than_the_manifest_says_is_not_well() {
    for (at, well) in [(Some(2), true), (Some(1), false), (Some(3), false), (None, false)] {
        let mut status = ready();
        status.guests[0].limits = vec![limit(at, None)];
        assert_eq!(status.is_well(), well, "{at:?}");
        status.guests[0].limits[0].declared = None;
        assert!(status.is_well(), "what the manifest leaves open is no promise: {at:?}");
    }
}

#[test]
fn a_running_guest_of_which_it_is_not_known_what_bounds_it_is_not_well() {
    let mut status = ready();
    status.guests[0].limits = vec![limit(None, Some("denied"))];
    assert!(!status.is_well());
    // Of one that does not run nothing has to be known: its slice may not be there.
    status.guests[0].state = GuestState::Stopped;
    assert!(status.is_well());
}
