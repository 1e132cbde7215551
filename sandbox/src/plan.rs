//! From what is wanted and what is there to the calls that make the one the other. Pure: no I/O, no clock.

use std::collections::BTreeSet;
use std::fmt;

use bulkhead_types::{Cause, GuestName, Known, Limit, Notice, Object};
use serde::Serialize;

use crate::cgroup;
use crate::model::{Cgroup, Control, Desired, Limits, Observed, Slice};
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
                limits.iter().try_for_each(|(control, limit)| write!(f, " {}", control.assignment(*limit)))
            }
            Self::StartSlice { guest } => write!(f, "systemctl start {}", unit::keeper(guest)),
            Self::StopSlice { guest } => write!(f, "systemctl stop {}", unit::keeper(guest)),
        }
    }
}

/// The calls of systemd that are missing.
pub type Plan = bulkhead_types::Plan<Step>;

/// Plans the calls that give every guest its slice with its limits, and take away the slices of guests that have left.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    for (guest, limits) in &desired.guests {
        wanted(&mut plan, guest, limits.rounded(), observed);
    }
    for (guest, slice) in observed.slices.iter().filter(|(guest, _)| !desired.guests.contains_key(*guest)) {
        left(&mut plan, guest, slice);
    }
    plan
}

/// Limits before the start: nothing ever runs in a slice without them. What is not known is set again: it is not as wanted until it
/// was seen so, and whoever asks whether the limits hold finds a step that is left.
fn wanted(plan: &mut Plan, guest: &GuestName, limits: Limits, observed: &Observed) {
    let none = Slice::default();
    let there = observed.slices.get(guest);
    let slice = there.unwrap_or(&none);
    let shown = limits.without(&observed.missing);
    let stands = there.is_some()
        && slice.properties == Known::Known(limits)
        && slice.cgroup.known().is_some_and(|group| group.as_ref().is_none_or(|group| group.limits == shown));
    if !stands {
        plan.steps.push(Step::SetLimits { guest: guest.clone(), limits });
    }
    // A keeper whose group somebody removed: starting it again does nothing, stopping it first does.
    let gone = slice.cgroup == Known::Known(None);
    if slice.kept && gone {
        plan.steps.push(Step::StopSlice { guest: guest.clone() });
    }
    if !slice.kept || gone {
        plan.steps.push(Step::StartSlice { guest: guest.clone() });
    }
    if let Some(why) = unknown(slice) {
        plan.notice(Object::Guest(guest.clone()), Cause::Pending, format!("its limits are not known: {why}"));
    }
    if let Known::Known(Some(group)) = &slice.cgroup {
        for control in Control::ALL {
            plan.notices.extend(tighter(guest, control, shown[control], group));
        }
    }
    plan.notices.extend(not_enforced(guest, limits, &observed.missing));
}

fn unknown(slice: &Slice) -> Option<&str> {
    let group = match &slice.cgroup {
        Known::Unknown(why) => return Some(why),
        Known::Known(group) => group.as_ref(),
    };
    let bounds = group.into_iter().flat_map(|group| group.bounds.iter()).find_map(|(_, bound)| bound.why());
    slice.properties.why().or(bounds)
}

fn not_enforced(guest: &GuestName, limits: Limits, missing: &BTreeSet<Control>) -> Option<Notice> {
    let limited = limits.iter().filter(|(_, limit)| **limit != Limit::Max);
    let names: Vec<&str> = limited.filter(|(c, _)| missing.contains(c)).map(|(control, _)| control.name()).collect();
    let text = format!(
        "nothing holds the {} limit of {}: this kernel was built or booted without that cgroup controller \
         (/sys/fs/cgroup/cgroup.controllers; cgroup_enable={} on its command line may bring it back)",
        names.join(" and "),
        unit::slice(guest),
        names.join(",")
    );
    (!names.is_empty()).then(|| Notice { object: Object::Guest(guest.clone()), cause: Cause::Held, text })
}

/// A limit that the manifest leaves open is no promise that none holds elsewhere on the path.
fn tighter(guest: &GuestName, control: Control, wanted: Limit, group: &Cgroup) -> Option<Notice> {
    let bound = group.bounds[control].known().filter(|bound| bound.group != group.path)?;
    let (Limit::At(wanted), Limit::At(at)) = (wanted, bound.limit) else { return None };
    let text = format!(
        "the {} limit is {} and not the manifest's {}, because {} has a tighter one: lift it there{}, or lower the guest's",
        control.name(),
        control.text(at),
        control.text(wanted),
        bound.group,
        lift(guest, control, &bound.group).map(|words| format!(" (`{words}`)")).unwrap_or_default(),
    );
    (at < wanted).then(|| Notice { object: Object::Guest(guest.clone()), cause: Cause::Held, text })
}

/// What a person can do about a limit of a group that is not ours.
fn lift(guest: &GuestName, control: Control, group: &str) -> Option<String> {
    match group.rsplit('/').next()? {
        cgroup::LIBVIRT => control.lift(guest),
        unit => Some(format!("systemctl set-property --runtime '{unit}' {}", control.assignment(Limit::Max))),
    }
}

fn left(plan: &mut Plan, guest: &GuestName, slice: &Slice) {
    let why = match slice.populated() {
        Known::Known(false) if slice.kept => return plan.steps.push(Step::StopSlice { guest: guest.clone() }),
        Known::Known(false) => return,
        Known::Known(true) => "processes run in it: it goes when they end".to_owned(),
        Known::Unknown(why) => format!("whether processes run in it is not known: {why}"),
    };
    let text = format!("{} is not in the manifest and is kept, because {why}", unit::slice(guest));
    plan.notice(Object::Guest(guest.clone()), Cause::Held, text);
}
