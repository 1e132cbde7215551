//! Properties of plans, for any manifest and any state, with a small model of what systemd does with a step.
#![allow(clippy::expect_used)] // A test may stop at the first surprise.
use std::collections::{BTreeMap, BTreeSet};

use bulkhead_sandbox::model::{Cgroup, Desired, Limits, Missing, Observed, Slice};
use bulkhead_sandbox::plan::{Plan, Step, plan};
use bulkhead_types::{Cause, GuestName, Object, Step as _};
use proptest::prelude::*;

/// What systemd makes of a plan.
fn carry_out(plan: &Plan, mut observed: Observed) -> Observed {
    for step in &plan.steps {
        match step {
            Step::SetLimits { guest, limits } => {
                let slice = observed.slices.entry(guest.clone()).or_default();
                slice.properties = *limits;
                if let Some(group) = &mut slice.cgroup {
                    group.limits = limits.without(observed.missing);
                }
            }
            Step::StartSlice { guest } => {
                let slice = observed.slices.entry(guest.clone()).or_default();
                slice.kept = true;
                let shown = slice.properties.without(observed.missing);
                slice.cgroup.get_or_insert_default().limits = shown;
            }
            Step::StopSlice { guest } => {
                let slice = observed.slices.get_mut(guest).expect("only what is there is stopped");
                let populated = slice.cgroup.as_ref().is_some_and(|group| group.populated);
                assert!(!populated, "a slice with processes in it is stopped");
                (slice.kept, slice.cgroup) = (false, None);
            }
        }
    }
    observed
}

fn guest() -> impl Strategy<Value = GuestName> {
    "[ab]-?[12]".prop_map(|text| text.parse().expect("a guest's name"))
}

fn limits() -> impl Strategy<Value = Limits> {
    // Odd numbers too: what is wanted is rounded, and what is there need not be ours.
    let value = |most: u64| prop_oneof![Just(None), (1..most).prop_map(Some)];
    (value(1 << 40), value(64_000_000), value(4096)).prop_map(|(memory, cpu, pids)| Limits { memory, cpu, pids })
}

fn desired() -> impl Strategy<Value = Desired> {
    prop::collection::btree_map(guest(), limits(), 0..5).prop_map(|guests| Desired { guests })
}

fn slice() -> impl Strategy<Value = Slice> {
    let group =
        (limits(), limits(), any::<bool>()).prop_map(|(limits, above, populated)| Cgroup { limits, above, populated });
    (any::<bool>(), limits(), prop::option::of(group)).prop_map(|(kept, properties, cgroup)| Slice {
        kept,
        properties,
        cgroup,
    })
}

fn observed() -> impl Strategy<Value = Observed> {
    (prop::collection::btree_map(guest(), slice(), 0..5), missing())
        .prop_map(|(slices, missing)| Observed { slices, missing })
}

fn missing() -> impl Strategy<Value = Missing> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(memory, cpu, pids)| Missing { memory, cpu, pids })
}

proptest! {
    #[test]
    fn a_plan_converges(desired in desired(), observed in observed()) {
        let after = carry_out(&plan(&desired, &observed), observed);
        prop_assert_eq!(plan(&desired, &after).steps, vec![]);
        for (guest, limits) in &desired.guests {
            let slice = &after.slices[guest];
            prop_assert!(slice.kept);
            prop_assert_eq!(slice.cgroup.as_ref().map(|group| group.limits), Some(limits.held().without(after.missing)));
        }
    }

    #[test]
    fn what_is_as_desired_is_left_alone(desired in desired()) {
        let there = |limits: &Limits| Slice {
            kept: true,
            properties: limits.held(),
            cgroup: Some(Cgroup { limits: limits.held(), above: Limits::default(), populated: true }),
        };
        let slices = desired.guests.iter().map(|(guest, limits)| (guest.clone(), there(limits))).collect();
        prop_assert_eq!(plan(&desired, &Observed { slices, ..Observed::default() }), Plan::default());
    }

    #[test]
    fn limits_are_set_before_a_slice_starts(desired in desired(), observed in observed()) {
        let mut now = observed.clone();
        for step in plan(&desired, &observed).steps {
            if let Step::StartSlice { guest } = &step {
                prop_assert_eq!(now.slices[guest].properties, desired.guests[guest].held());
            }
            now = carry_out(&Plan { steps: vec![step], notices: vec![] }, now);
        }
    }

    #[test]
    fn a_slice_with_processes_is_kept_and_named(observed in observed()) {
        let plan = plan(&Desired::default(), &observed);
        let stopped: BTreeSet<Object> = plan.steps.iter().map(Step::object).collect();
        for (guest, slice) in &observed.slices {
            let object = Object::Guest(guest.clone());
            let populated = slice.cgroup.as_ref().is_some_and(|group| group.populated);
            let named = plan.notices.iter().any(|notice| notice.object == object && notice.cause == Cause::Held);
            prop_assert_eq!(named, populated);
            prop_assert_eq!(stopped.contains(&object), slice.kept && !populated);
        }
    }

    #[test]
    fn one_guest_never_changes_another_s_steps(desired in desired(), observed in observed()) {
        let guests: BTreeSet<&GuestName> = desired.guests.keys().chain(observed.slices.keys()).collect();
        let mut alone = Vec::new();
        for guest in guests {
            let only = |limits: &Limits| Desired { guests: BTreeMap::from([(guest.clone(), *limits)]) };
            let desired = desired.guests.get(guest).map(only).unwrap_or_default();
            let slices = observed.slices.get(guest).map(|slice| (guest.clone(), slice.clone())).into_iter().collect();
            alone.extend(plan(&desired, &Observed { slices, missing: observed.missing }).steps);
        }
        let mut together = plan(&desired, &observed).steps;
        together.sort_by_key(Step::object);
        prop_assert_eq!(together, alone);
    }
}

fn web(limits: Limits) -> Desired {
    Desired { guests: BTreeMap::from([("web-1".parse().expect("a guest's name"), limits)]) }
}

#[test]
fn steps_are_printed_as_systemctl_takes_them() {
    let limits = Limits { memory: Some(768 << 20), cpu: Some(1_500_000), pids: Some(256) };
    let lines: Vec<String> = plan(&web(limits), &Observed::default()).steps.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            r"systemctl set-property --runtime machine-bulkhead-web\x2d1.slice MemoryMax=805306368 CPUQuota=150% TasksMax=256",
            r"systemctl start bulkhead-slice@web\x2d1.service",
        ]
    );
    let open = plan(&web(Limits::default()), &Observed::default()).steps[0].to_string();
    assert!(open.ends_with("MemoryMax=infinity CPUQuota= TasksMax=infinity"), "{open}");
}

#[test]
fn a_tighter_limit_above_is_told_and_not_mended() {
    let limits = Limits { memory: Some(768 << 20), cpu: None, pids: Some(256) };
    let above = Limits { memory: Some(512 << 20), cpu: Some(10_000), pids: Some(256) };
    let slice = Slice { kept: true, properties: limits, cgroup: Some(Cgroup { limits, above, populated: true }) };
    let guest: GuestName = "web-1".parse().expect("a guest's name");
    let plan = plan(&web(limits), &Observed { slices: BTreeMap::from([(guest, slice)]), ..Observed::default() });
    assert!(plan.is_empty());
    assert_eq!(plan.notices.len(), 1);
    assert!(plan.notices[0].text.contains("less memory than"), "{}", plan.notices[0].text);
}

#[test]
fn a_limit_that_the_kernel_cannot_hold_is_told_and_not_set_for_ever() {
    let limits = Limits { memory: Some(768 << 20), cpu: None, pids: Some(256) };
    let missing = Missing { memory: true, cpu: true, pids: false };
    let observed = carry_out(
        &plan(&web(limits), &Observed { missing, ..Observed::default() }),
        Observed { missing, ..Observed::default() },
    );
    let plan = plan(&web(limits), &observed);
    assert!(plan.is_empty());
    assert_eq!(plan.notices.iter().map(|notice| notice.cause).collect::<Vec<_>>(), [Cause::Unsupported]);
    assert!(plan.notices[0].text.starts_with("nothing holds the memory limit"), "{}", plan.notices[0].text);
}
