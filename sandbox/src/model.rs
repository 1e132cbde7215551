//! What the manifest wants of guests' slices, what systemd and the kernel have, and which of it is ours.

use std::collections::BTreeMap;

use bulkhead_types::GuestName;
use serde::Serialize;

pub use crate::unit::guest_of_slice;

/// Everything the manifest wants of guests' slices: one each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Desired {
    /// The limits of each guest.
    pub guests: BTreeMap<GuestName, Limits>,
}

/// The limits of one guest's slice. `None` is the kernel's `max`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// `memory.max` in bytes: guest RAM and QEMU's own together.
    pub memory: Option<u64>,
    /// `cpu.max` as microseconds of CPU time a second: 1 500 000 is one and a half CPUs.
    pub cpu: Option<u64>,
    /// `pids.max`: processes and threads.
    pub pids: Option<u64>,
}

impl Limits {
    /// The bytes that `memory.max` is a multiple of: the largest page size of Linux, below which the kernel rounds down.
    pub const MEMORY_GRAIN: u64 = 64 * 1024;
    /// The microseconds that [`Limits::cpu`] is a multiple of: systemd keeps `CPUQuota=` in whole percents of a CPU across a
    /// daemon-reload (`bus_cgroup_set_property` of its dbus-cgroup.c), and takes less than one as none at all.
    pub const CPU_GRAIN: u64 = 10_000;

    /// These limits as the kernel and systemd can hold them: rounded down to a grain, never to nothing.
    #[must_use]
    pub fn held(self) -> Self {
        let floor = |grain: u64| move |value: u64| (value - value % grain).max(grain);
        Self {
            memory: self.memory.map(floor(Self::MEMORY_GRAIN)),
            cpu: self.cpu.map(floor(Self::CPU_GRAIN)),
            pids: self.pids.map(floor(1)),
        }
    }

    /// What the kernel shows of these limits when it lacks some controllers.
    #[must_use]
    pub fn without(self, missing: Missing) -> Self {
        Self {
            memory: self.memory.filter(|_| !missing.memory),
            cpu: self.cpu.filter(|_| !missing.cpu),
            pids: self.pids.filter(|_| !missing.pids),
        }
    }

    /// The tighter of two limits, each for itself: what holds for a process below both.
    #[must_use]
    pub fn tighter(self, other: Self) -> Self {
        let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Self {
            memory: least(self.memory, other.memory),
            cpu: least(self.cpu, other.cpu),
            pids: least(self.pids, other.pids),
        }
    }
}

/// What there is of ours: every slice and keeper whose name is one of a guest's; and what the kernel cannot enforce.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Observed {
    /// Each by its guest.
    pub slices: BTreeMap<GuestName, Slice>,
    /// The controllers that this kernel lacks or was booted without.
    pub missing: Missing,
}

/// Controllers that are not in the root's `cgroup.controllers`: their limits are written down and hold nobody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// `memory` is missing.
    pub memory: bool,
    /// `cpu` is missing.
    pub cpu: bool,
    /// `pids` is missing.
    pub pids: bool,
}

/// One guest's slice, as systemd and the kernel have it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Slice {
    /// Whether its `bulkhead-slice@.service` is active, so that it stays while nothing runs in it.
    pub kept: bool,
    /// The limits that systemd has for the unit and will write again.
    pub properties: Limits,
    /// Its cgroup; `None` while the slice is not active.
    pub cgroup: Option<Cgroup>,
}

/// A slice's cgroup, as cgroupfs has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cgroup {
    /// Its own limits.
    pub limits: Limits,
    /// The tightest limits of the groups above it, which bound it too.
    pub above: Limits,
    /// Whether a process is in it or below it.
    pub populated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_rounded_down_to_what_can_be_held_and_never_to_nothing() {
        let odd = Limits { memory: Some(805_306_369), cpu: Some(1_259_999), pids: Some(0) };
        assert_eq!(odd.held(), Limits { memory: Some(805_306_368), cpu: Some(1_250_000), pids: Some(1) });
        assert_eq!(Limits { memory: Some(1), cpu: Some(1), pids: None }.held().cpu, Some(10_000));
        assert_eq!(Limits::default().held(), Limits::default());
    }

    #[test]
    fn the_tighter_limit_holds_each_for_itself() {
        let (a, b) =
            (Limits { memory: Some(1), cpu: None, pids: Some(9) }, Limits { memory: Some(2), cpu: None, pids: None });
        assert_eq!(a.tighter(b), a);
    }
}
