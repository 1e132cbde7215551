//! Limits: a slice for each guest.

use bulkhead_sandbox::model::{self as room, Control};

use crate::manifest::model::{Guest, Limits};

pub(super) fn lower(guests: &[Guest]) -> room::Desired {
    let slice = |guest: &Guest| {
        let Guest { name, memory: _, vcpus: _, disks: _, nics: _, limits, start: _ } = guest;
        (name.clone(), self::limits(limits))
    };
    room::Desired { guests: guests.iter().map(slice).collect() }
}

fn limits(limits: &Limits) -> room::Limits {
    let Limits { memory, cpu, pids } = *limits;
    let number = |control| match control {
        Control::Memory => memory,
        Control::Cpu => cpu,
        Control::Pids => pids.map(u64::from),
    };
    room::Limits::from_fn(|control| number(control).into())
}
