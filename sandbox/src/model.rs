//! What the manifest wants of guests' slices, what systemd and the kernel have, and which of it is ours.

use std::collections::BTreeMap;

use bulkhead_types::GuestName;
use serde::Serialize;

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
