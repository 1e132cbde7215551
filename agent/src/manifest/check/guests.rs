//! What a guest is made of, and whether its limits let it live.

use crate::manifest::location::Located;
use crate::manifest::problem::Problems;
use crate::manifest::tables::Tables;
use crate::manifest::value::{Entry, MIB, Pids, Size, show};
use crate::manifest::wire::Guest;

pub(super) fn check(tables: &Tables, problems: &mut Problems) {
    for Entry { table, location, .. } in &tables.guests.0 {
        memory(table, problems);
        if let Some(vcpus) = &table.vcpus {
            let (now, max) = (&vcpus.value.now, &vcpus.value.max);
            if now.value.0 > max.value.0 {
                problems
                    .error(&now.location, format!("`{}` is {}, more than `max`", now.location.key, now.value.0))
                    .label("at start")
                    .also(&max.location, "at most")
                    .help(format!("write now = {0} and max = {0}, or less at start", now.value.0));
            }
        }
        if let Some(pids) = table.limits.as_ref().and_then(|limits| limits.value.pids.as_ref()) {
            threads(pids, table, problems);
        }
        for disk in table.disk.iter().flat_map(|disks| &disks.value.0) {
            if let Some(size) = disk.table.size.as_ref().filter(|size| size.value.0 < MIB) {
                problems
                    .error(
                        &size.location,
                        format!("`{}` is {}, too small for a disk", size.location.key, show(size.value.0)),
                    )
                    .help("write at least \"1 MiB\"");
            }
        }
        if table.disk.is_none() && table.nic.is_none() && !problems.within(location.file, &location.key) {
            problems
                .absent_warning(location, format!("`{}` has neither disk nor NIC", location.key))
                .label("it has nothing to boot from")
                .help("write disk.vda = { pool = \"...\", size = \"...\" }");
        }
    }
}

/// What QEMU needs beside the guest's RAM, in bytes: 128 MiB for itself, its caches and devices, 1/64 of the RAM for page
/// tables and the bookkeeping of memory, 8 MiB for each CPU's thread. A guest that outgrows `memory.max` is killed.
fn overhead(memory: u64, vcpus: u32) -> u64 {
    128 * MIB + (memory / 64).next_multiple_of(MIB) + u64::from(vcpus) * 8 * MIB
}

fn vcpus_max(guest: &Guest) -> u32 {
    guest.vcpus.as_ref().map_or(1, |vcpus| vcpus.value.max.value.0)
}

fn memory(guest: &Guest, problems: &mut Problems) {
    let Some(memory) = &guest.memory else { return };
    let Size(bytes) = memory.value;
    whole_mebibytes(memory, problems);
    let Some(limit) = guest.limits.as_ref().and_then(|limits| limits.value.memory.as_ref()) else { return };
    whole_mebibytes(limit, problems);
    let cpus = vcpus_max(guest);
    let own = overhead(bytes, cpus);
    let least = bytes.saturating_add(own);
    if limit.value.0 < least {
        // Rounded up, so that what the help says to write is enough even where the RAM is an odd size.
        let write = show(least.next_multiple_of(MIB));
        problems
            .error(&limit.location, format!("`{}` is below the guest's RAM and QEMU's overhead", limit.location.key))
            .label(format!("less than {write}"))
            .also(&memory.location, "the guest's RAM")
            .help(format!(
                "write at least \"{write}\": RAM {} and overhead {} (128 MiB, 1/64 of the RAM, 8 MiB for each of {cpus} CPUs)",
                show(bytes),
                show(own)
            ));
    }
}

/// libvirt's unit of RAM where it is changed; and the kernel cuts a limit to whole pages, which would not be read back as
/// written.
fn whole_mebibytes(size: &Located<Size>, problems: &mut Problems) {
    let Size(bytes) = size.value;
    if !bytes.is_multiple_of(MIB) {
        problems
            .error(&size.location, format!("`{}` is {}, not a multiple of 1 MiB", size.location.key, show(bytes)))
            .help(format!("write \"{} MiB\"", bytes.div_ceil(MIB)));
    }
}

/// Threads that QEMU has beside one for each CPU before it does any work: main, RCU, I/O, monitor and some to spare.
const QEMU_THREADS: u32 = 16;
/// Threads that QEMU may start for disk I/O (`thread-pool-max` of its main loop).
const IO_THREADS: u32 = 64;

fn threads(pids: &Located<Pids>, guest: &Guest, problems: &mut Problems) {
    let start = vcpus_max(guest) + QEMU_THREADS;
    let work = start + IO_THREADS;
    if pids.value.0 < start {
        problems
            .error(&pids.location, format!("`{}` is {}, too few for QEMU to start", pids.location.key, pids.value.0))
            .label(format!("less than {start}"))
            .help(format!("write at least {work}: {QEMU_THREADS} threads of QEMU, one a CPU, {IO_THREADS} for disks"));
    } else if pids.value.0 < work {
        problems
            .warning(
                &pids.location,
                format!("`{}` is {}, too few when the guest's disks are busy", pids.location.key, pids.value.0),
            )
            .label(format!("less than {work}"))
            .help(format!(
                "write at least {work}: QEMU ends when it cannot start one of its {IO_THREADS} threads for disks"
            ));
    }
}
