//! What the manifest wants of guests' slices, what systemd and the kernel have, and which of it is ours.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_types::{GuestName, Known, Limit};
use serde::Serialize;

pub use crate::control::{Control, PerControl};
pub use crate::unit::guest_of_slice;

/// Everything the manifest wants of guests' slices: one each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Desired {
    /// The limits of each guest.
    pub guests: BTreeMap<GuestName, Limits>,
}

/// The limits of one group, or of what is wanted of one.
pub type Limits = PerControl<Limit>;

impl Limits {
    /// These limits as the kernel and systemd can hold them.
    #[must_use]
    pub fn rounded(self) -> Self {
        Self::from_fn(|control| control.rounded(self[control]))
    }

    /// What the kernel shows of these limits when it lacks some controllers.
    #[must_use]
    pub fn without(self, missing: &BTreeSet<Control>) -> Self {
        Self::from_fn(|control| if missing.contains(&control) { Limit::Max } else { self[control] })
    }
}

/// What there is of ours: every slice and keeper whose name is one of a guest's; and what the kernel cannot enforce.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Each by its guest.
    pub slices: BTreeMap<GuestName, Slice>,
    /// Controls whose controller this kernel lacks or was booted without (the root's `cgroup.controllers`): their limits are
    /// written down and hold nobody.
    pub missing: BTreeSet<Control>,
}

/// One guest's slice, as systemd and the kernel have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slice {
    /// Whether its `bulkhead-slice@.service` is active, so that it stays while nothing runs in it.
    pub kept: bool,
    /// The limits that systemd has for the unit and will write again.
    pub properties: Known<Limits>,
    /// Its cgroup; none while the slice is not active.
    pub cgroup: Known<Option<Cgroup>>,
}

impl Slice {
    /// Whether a process is in it or below it.
    #[must_use]
    pub fn populated(&self) -> Known<bool> {
        self.cgroup.as_ref().map(|group| group.as_ref().is_some_and(|group| group.populated))
    }
}

/// A slice's cgroup, as cgroupfs has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// From the root of cgroupfs, with a leading `/`.
    pub path: String,
    /// Its own limits.
    pub limits: Limits,
    /// What bounds the guest: the tightest limits from the root to the group that libvirt has below the slice.
    pub bounds: Bounds,
    /// Whether a process is in it or below it.
    pub populated: bool,
}

/// What bounds a guest by each control. It is never looser than the slice's own limit, and may be tighter.
pub type Bounds = PerControl<Known<Bound>>;

/// The tightest limit along a path of cgroups, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// How much.
    pub limit: Limit,
    /// The group that has it, from the root of cgroupfs. Of equal ones the slice's own goes first.
    pub group: String,
}
