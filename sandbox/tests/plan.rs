//! Properties of plans, for any manifest and any state, with a small model of what systemd does with a step.
#![allow(clippy::expect_used)] // A test may stop at the first surprise.
use std::collections::{BTreeMap, BTreeSet};

use bulkhead_sandbox::model::{Bound, Bounds, Cgroup, Control, Desired, Limits, Observed, Slice};
use bulkhead_sandbox::plan::{Plan, Step, plan};
use bulkhead_types::{Cause, GuestName, Known, Limit, Object, Step as _};
use proptest::prelude::*;

fn of(memory: Option<u64>, cpu: Option<u64>, pids: Option<u64>) -> Limits {
    Limits::default()
        .with(Control::Memory, memory.into())
        .with(Control::Cpu, cpu.into())
        .with(Control::Pids, pids.into())
}

const SLICE: &str = "/machine.slice/web.slice";

/// A slice's group with these limits, bounded by nothing else.
fn group(limits: Limits, populated: bool) -> Cgroup {
    let own = |control| Known::Known(Bound { limit: limits[control], group: SLICE.to_owned() });
    Cgroup { path: SLICE.to_owned(), limits, bounds: Bounds::from_fn(own), populated }
}

/// What is known of a slice that a plan may stop.
fn populated(slice: &Slice) -> bool {
    !matches!(slice.populated(), Known::Known(false))
}

/// Whether neither systemd nor the kernel said anything that could not be read.
fn readable(slice: &Slice) -> bool {
    slice.properties.known().is_some() && slice.cgroup.known().is_some()
}

/// What systemd makes of a plan. What cannot be read stays so.
fn carry_out(plan: &Plan, mut observed: Observed) -> Observed {
    for step in &plan.steps {
        match step {
            Step::SetLimits { guest, limits } => {
                let slice = observed.slices.entry(guest.clone()).or_default();
                if let Known::Known(properties) = &mut slice.properties {
                    *properties = *limits;
                }
                if let Known::Known(Some(group)) = &mut slice.cgroup {
                    group.limits = limits.without(&observed.missing);
                }
            }
            Step::StartSlice { guest } => {
                let slice = observed.slices.entry(guest.clone()).or_default();
                slice.kept = true;
                let shown = slice.properties.known().copied().unwrap_or_default().without(&observed.missing);
                if slice.cgroup == Known::Known(None) {
                    slice.cgroup = Known::Known(Some(group(shown, false)));
                }
            }
            Step::StopSlice { guest } => {
                let slice = observed.slices.get_mut(guest).expect("only what is there is stopped");
                assert!(!populated(slice), "a slice with processes in it is stopped");
                (slice.kept, slice.cgroup) = (false, Known::Known(None));
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
    (value(1 << 40), value(64_000_000), value(4096)).prop_map(|(memory, cpu, pids)| of(memory, cpu, pids))
}

/// Mostly known.
fn known<T: std::fmt::Debug + Clone + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Known<T>> {
    prop_oneof![4 => value.prop_map(Known::Known), 1 => Just(Known::Unknown("no".to_owned()))]
}

fn desired() -> impl Strategy<Value = Desired> {
    prop::collection::btree_map(guest(), limits(), 0..5).prop_map(|guests| Desired { guests })
}

fn slice() -> impl Strategy<Value = Slice> {
    let group = (limits(), any::<bool>()).prop_map(|(limits, populated)| group(limits, populated));
    (any::<bool>(), known(limits()), known(prop::option::of(group))).prop_map(|(kept, properties, cgroup)| Slice {
        kept,
        properties,
        cgroup,
    })
}

fn observed() -> impl Strategy<Value = Observed> {
    let missing = prop::collection::btree_set(prop::sample::select(Control::ALL.to_vec()), 0..3);
    (prop::collection::btree_map(guest(), slice(), 0..5), missing)
        .prop_map(|(slices, missing)| Observed { slices, missing })
}

proptest! {
    #[test]
    fn a_plan_converges(desired in desired(), observed in observed()) {
        let after = carry_out(&plan(&desired, &observed), observed);
        let left = plan(&desired, &after);
        for (guest, limits) in &desired.guests {
            let slice = &after.slices[guest];
            prop_assert!(slice.kept);
            let steps: Vec<&Step> = left.steps.iter().filter(|step| step.object() == Object::Guest(guest.clone())).collect();
            if readable(slice) {
                prop_assert!(steps.is_empty(), "{:?}", steps);
                let shown = slice.cgroup.known().and_then(Option::as_ref).map(|group| group.limits);
                prop_assert_eq!(shown, Some(limits.rounded().without(&after.missing)));
            } else {
                // Whoever asks whether its limits hold finds what is left to do, and why.
                prop_assert!(matches!(steps[..], [Step::SetLimits { .. }]), "{:?}", steps);
                let said = |cause| left.notices.iter().any(|n| n.object == Object::Guest(guest.clone()) && n.cause == cause);
                prop_assert!(said(Cause::Pending));
            }
        }
        prop_assert!(left.steps.iter().all(|step| desired.guests.keys().any(|name| step.object() == Object::Guest(name.clone()))));
    }

    #[test]
    fn what_is_as_desired_is_left_alone(desired in desired()) {
        let there = |limits: &Limits| Slice {
            kept: true,
            properties: Known::Known(limits.rounded()),
            cgroup: Known::Known(Some(group(limits.rounded(), true))),
        };
        let slices = desired.guests.iter().map(|(guest, limits)| (guest.clone(), there(limits))).collect();
        prop_assert_eq!(plan(&desired, &Observed { slices, ..Observed::default() }), Plan::default());
    }

    #[test]
    fn limits_are_set_before_a_slice_starts(desired in desired(), observed in observed()) {
        let mut now = observed.clone();
        for step in plan(&desired, &observed).steps {
            if let Step::StartSlice { guest } = &step {
                let set = now.slices[guest].properties.known().copied();
                prop_assert!(set.is_none_or(|set| set == desired.guests[guest].rounded()), "{:?}", set);
            }
            now = carry_out(&Plan { steps: vec![step], notices: vec![] }, now);
        }
    }

    #[test]
    fn a_slice_in_which_processes_may_run_is_kept_and_named(observed in observed()) {
        let plan = plan(&Desired::default(), &observed);
        let stopped: BTreeSet<Object> = plan.steps.iter().map(Step::object).collect();
        for (guest, slice) in &observed.slices {
            let object = Object::Guest(guest.clone());
            let populated = populated(slice);
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
            alone.extend(plan(&desired, &Observed { slices, missing: observed.missing.clone() }).steps);
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
    let limits = of(Some(768 << 20), Some(1_500_000), Some(256));
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

/// What is said of web-1 with these limits when something else on its path has another one.
fn elsewhere(limits: Limits, control: Control, limit: u64, path: &str) -> Vec<String> {
    let bound = Known::Known(Bound { limit: Limit::At(limit), group: path.to_owned() });
    let mut group = group(limits, true);
    group.bounds = group.bounds.with(control, bound);
    let slice = Slice { kept: true, properties: Known::Known(limits), cgroup: Known::Known(Some(group)) };
    let guest: GuestName = "web-1".parse().expect("a guest's name");
    let plan = plan(&web(limits), &Observed { slices: BTreeMap::from([(guest, slice)]), ..Observed::default() });
    assert!(plan.is_empty(), "{:?}", plan.steps);
    assert!(plan.notices.iter().all(|notice| notice.cause == Cause::Held));
    plan.notices.into_iter().map(|notice| notice.text).collect()
}

#[test]
fn a_tighter_limit_elsewhere_is_told_with_its_group_and_what_lifts_it() {
    let limits = of(Some(768 << 20), None, Some(256));
    assert_eq!(
        elsewhere(limits, Control::Pids, 100, "/machine.slice"),
        [
            "the pids limit is 100 tasks and not the manifest's 256 tasks, because /machine.slice has a tighter one: lift it there \
          (`systemctl set-property --runtime 'machine.slice' TasksMax=infinity`), or lower the guest's"
        ]
    );
    assert_eq!(
        elsewhere(limits, Control::Memory, 200 << 20, "/machine.slice/web.slice/machine-qemu.scope/libvirt"),
        ["the memory limit is 200 MiB and not the manifest's 768 MiB, because \
          /machine.slice/web.slice/machine-qemu.scope/libvirt has a tighter one: lift it there \
          (`virsh memtune web-1 --live --hard-limit -1`), or lower the guest's"]
    );
    // One that the manifest leaves open is no promise.
    assert!(elsewhere(limits, Control::Cpu, 10_000, "/machine.slice").is_empty());
}

#[test]
fn a_limit_that_the_kernel_cannot_hold_is_told_and_not_set_for_ever() {
    let limits = of(Some(768 << 20), None, Some(256));
    let nothing = Observed { missing: BTreeSet::from([Control::Memory, Control::Cpu]), ..Observed::default() };
    let observed = carry_out(&plan(&web(limits), &nothing), nothing);
    let plan = plan(&web(limits), &observed);
    assert!(plan.is_empty());
    assert_eq!(plan.notices.iter().map(|notice| notice.cause).collect::<Vec<_>>(), [Cause::Held]);
    assert!(plan.notices[0].text.starts_with("nothing holds the memory limit"), "{}", plan.notices[0].text);
}
