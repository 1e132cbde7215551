//! `memory.max`.

use super::{Facts, number, number_from_bus, number_to_bus};

pub(super) const FACTS: Facts = Facts {
    name: "memory",
    property: "MemoryMax",
    file: "memory.max",
    // The largest page of Linux: below a page the kernel rounds down.
    grain: 64 * 1024,
    parse: number,
    to_bus: number_to_bus,
    parse_bus: number_from_bus,
    assignment: |limit| limit.at().map_or_else(|| "MemoryMax=infinity".to_owned(), |n| format!("MemoryMax={n}")),
    text: |number| {
        // A limit is whole pages, so that nothing is cut off.
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        let whole = units.into_iter().find(|(shift, _)| number % (1 << shift) == 0);
        whole.map_or_else(|| format!("{number} bytes"), |(shift, unit)| format!("{} {unit}", number >> shift))
    },
    lift: |guest| Some(format!("virsh memtune {guest} --live --hard-limit -1")),
};
