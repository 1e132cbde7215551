//! From what is wanted and what is there to the calls that make the one the other. Pure: no I/O, no clock.

use std::fmt;

use bulkhead_types::{Cause, GuestName, Notice, Object};
use serde::Serialize;

use crate::model::{Cgroup, Desired, Limits, Missing, Observed, Slice};
use crate::systemd::properties;
use crate::unit;

/// One call to systemd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Set the limits of a guest's slice, also of one that is not active yet.
    SetLimits {
        /// The guest.
        guest: GuestName,
        /// The limits, as the kernel can hold them.
        limits: Limits,
    },
    /// Start the keeper of a guest's slice, and with it the slice.
    StartSlice {
        /// The guest.
        guest: GuestName,
    },
    /// Stop the keeper of a slice in which nothing runs; the slice goes by itself.
    StopSlice {
        /// The guest that left the manifest.
        guest: GuestName,
    },
}

impl bulkhead_types::Step for Step {
    fn object(&self) -> Object {
        let (Self::SetLimits { guest, .. } | Self::StartSlice { guest } | Self::StopSlice { guest }) = self;
        Object::Guest(guest.clone())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetLimits { guest, limits } => {
                write!(f, "systemctl set-property --runtime {}", unit::slice(guest))?;
                properties(*limits).into_iter().try_for_each(|property| write_property(f, property))
            }
            Self::StartSlice { guest } => write!(f, "systemctl start {}", unit::keeper(guest)),
            Self::StopSlice { guest } => write!(f, "systemctl stop {}", unit::keeper(guest)),
        }
    }
}

fn write_property(f: &mut fmt::Formatter<'_>, (name, value): (&str, Option<u64>)) -> fmt::Result {
    match (name, value) {
        // What systemctl calls it, in the percents of a CPU that it takes.
        ("CPUQuotaPerSecUSec", Some(value)) => write!(f, " CPUQuota={}%", value / Limits::CPU_GRAIN),
        ("CPUQuotaPerSecUSec", None) => f.write_str(" CPUQuota="),
        (_, Some(value)) => write!(f, " {name}={value}"),
        (_, None) => write!(f, " {name}=infinity"),
    }
}

/// The calls of systemd that are missing.
pub type Plan = bulkhead_types::Plan<Step>;

/// Plans the calls that give every guest its slice with its limits, and take away the slices of guests that have left.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    for (guest, limits) in &desired.guests {
        wanted(&mut plan, guest, limits.held(), observed);
    }
    for (guest, slice) in observed.slices.iter().filter(|(guest, _)| !desired.guests.contains_key(*guest)) {
        left(&mut plan, guest, slice);
    }
    plan
}

/// Limits before the start: nothing ever runs in a slice without them.
fn wanted(plan: &mut Plan, guest: &GuestName, limits: Limits, observed: &Observed) {
    let slice = observed.slices.get(guest);
    let group = slice.and_then(|slice| slice.cgroup.as_ref());
    let shown = limits.without(observed.missing);
    let held = slice.is_some_and(|slice| slice.properties == limits) && group.is_none_or(|g| g.limits == shown);
    if !held {
        plan.steps.push(Step::SetLimits { guest: guest.clone(), limits });
    }
    // A keeper whose group somebody removed: starting it again does nothing, stopping it first does.
    let kept = slice.is_some_and(|slice| slice.kept);
    if kept && group.is_none() {
        plan.steps.push(Step::StopSlice { guest: guest.clone() });
    }
    if !kept || group.is_none() {
        plan.steps.push(Step::StartSlice { guest: guest.clone() });
    }
    plan.notices.extend(group.and_then(|group| bounded_from_above(guest, shown, group)));
    plan.notices.extend(not_enforced(guest, limits, observed.missing));
}

fn not_enforced(guest: &GuestName, limits: Limits, missing: Missing) -> Option<Notice> {
    let names: Vec<&str> = [
        ("memory", limits.memory.is_some() && missing.memory),
        ("cpu", limits.cpu.is_some() && missing.cpu),
        ("pids", limits.pids.is_some() && missing.pids),
    ]
    .into_iter()
    .filter_map(|(name, missing)| missing.then_some(name))
    .collect();
    let text = format!(
        "nothing holds the {} limit of {}: this kernel was built or booted without that cgroup controller \
         (/sys/fs/cgroup/cgroup.controllers; cgroup_enable={} on its command line may bring it back)",
        names.join(" and "),
        unit::slice(guest),
        names.join(",")
    );
    (!names.is_empty()).then(|| Notice { object: Object::Guest(guest.clone()), cause: Cause::Unsupported, text })
}

fn bounded_from_above(guest: &GuestName, limits: Limits, group: &Cgroup) -> Option<Notice> {
    // A limit that the manifest leaves open is no promise that none above it holds.
    let less = |want: Option<u64>, above: Option<u64>| want.zip(above).is_some_and(|(want, above)| above < want);
    let names: Vec<&str> = [
        ("memory", less(limits.memory, group.above.memory)),
        ("cpu", less(limits.cpu, group.above.cpu)),
        ("pids", less(limits.pids, group.above.pids)),
    ]
    .into_iter()
    .filter_map(|(name, less)| less.then_some(name))
    .collect();
    let text = format!(
        "{} has less {} than the manifest says, because machine.slice or machine-bulkhead.slice has a tighter limit: raise \
         it there (systemctl set-property), or lower the guest's",
        unit::slice(guest),
        names.join(" and ")
    );
    (!names.is_empty()).then(|| Notice { object: Object::Guest(guest.clone()), cause: Cause::Held, text })
}

fn left(plan: &mut Plan, guest: &GuestName, slice: &Slice) {
    if slice.cgroup.as_ref().is_some_and(|group| group.populated) {
        plan.notices.push(Notice {
            object: Object::Guest(guest.clone()),
            cause: Cause::Held,
            text: format!(
                "{} is not in the manifest and is kept, because processes run in it: it goes when they end",
                unit::slice(guest)
            ),
        });
    } else if slice.kept {
        plan.steps.push(Step::StopSlice { guest: guest.clone() });
    }
}
