//! Limits as cgroupfs has them. Reads only: who writes is systemd.
//!
//! The controllers' files are read with cgroups-rs, given the group's directory; its setters are not for us (its v2 swappiness
//! writes `memory.swap.max`, its `apply` hides failures).

use std::io;
use std::path::{Path, PathBuf};

use cgroups_rs::cpu::CpuController;
use cgroups_rs::hierarchies::{UNIFIED_MOUNTPOINT, is_cgroup2_unified_mode};
use cgroups_rs::memory::MemController;
use cgroups_rs::pid::PidController;
use cgroups_rs::{MaxValue, error::ErrorKind};

use crate::error::Error;
use crate::model::{Cgroup, Limits, Missing};

/// Reads the group at `path`, as systemd's `ControlGroup` and `/proc/PID/cgroup` name it (from the root, with a leading `/`).
///
/// `Ok(None)` when the group is gone, also when it goes while it is read.
pub(crate) fn read(path: &str) -> Result<Option<Cgroup>, Error> {
    require_unified()?;
    let group = directory(path);
    let Some(populated) = populated(&group)? else { return Ok(None) };
    let above = match Path::new(path).parent() {
        Some(parent) => tightest(parent)?,
        None => Limits::default(),
    };
    Ok(Some(Cgroup { limits: limits(&group)?, above, populated }))
}

/// The tightest limits from the group at `path` up to the root: what holds for a process in it.
pub(crate) fn tightest(path: &Path) -> Result<Limits, Error> {
    require_unified()?;
    path.ancestors()
        .filter_map(Path::to_str)
        .try_fold(Limits::default(), |found, group| Ok(found.tighter(limits(&directory(group))?)))
}

/// The controllers that no group of this machine can have.
pub(crate) fn missing() -> Result<Missing, Error> {
    require_unified()?;
    let path = directory("cgroup.controllers");
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Read { path, source })?;
    let missing = |controller: &str| !text.split_whitespace().any(|word| word == controller);
    Ok(Missing { memory: missing("memory"), cpu: missing("cpu"), pids: missing("pids") })
}

fn require_unified() -> Result<(), Error> {
    if is_cgroup2_unified_mode() { Ok(()) } else { Err(Error::NotUnified) }
}

fn directory(path: &str) -> PathBuf {
    Path::new(UNIFIED_MOUNTPOINT).join(path.trim_start_matches('/'))
}

/// A file that is not there is a controller that is not enabled for the group (or the root, which has no limits): no limit.
fn limits(group: &Path) -> Result<Limits, Error> {
    let memory = MemController::new(group.to_owned(), true);
    let cpu = CpuController::new(group.to_owned(), true);
    let pids = PidController::new(group.to_owned(), true);
    let quota = value(group, "cpu.max", cpu.cfs_quota())?.and_then(|quota| u64::try_from(quota).ok());
    let period = value(group, "cpu.max", cpu.cfs_period())?;
    Ok(Limits {
        memory: value(group, "memory.max", memory.get_mem())?.and_then(|memory| memory.max).and_then(number),
        cpu: quota.zip(period).map(|(quota, period)| quota.saturating_mul(1_000_000) / period.max(1)),
        pids: value(group, "pids.max", pids.get_pid_max())?.and_then(number),
    })
}

fn number(value: MaxValue) -> Option<u64> {
    match value {
        MaxValue::Max => None,
        MaxValue::Value(number) => u64::try_from(number).ok(),
    }
}

fn value<T>(group: &Path, file: &'static str, result: Result<T, cgroups_rs::error::Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if absent(&error) => Ok(None),
        Err(source) => Err(Error::Limit { file, group: group.to_owned(), source }),
    }
}

/// Opening said that there is no such file, or reading said that the group has just gone (ENODEV of kernfs).
fn absent(error: &cgroups_rs::error::Error) -> bool {
    const ENODEV: i32 = 19;
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    matches!(error.kind(), ErrorKind::ReadFailed(_))
        && cause.is_some_and(|cause| cause.kind() == io::ErrorKind::NotFound || cause.raw_os_error() == Some(ENODEV))
}

/// The line `populated` of `cgroup.events`, which cgroups-rs does not read.
fn populated(group: &Path) -> Result<Option<bool>, Error> {
    let path = group.join("cgroup.events");
    match std::fs::read_to_string(&path) {
        Ok(text) if text.lines().any(|line| line == "populated 1") => Ok(Some(true)),
        Ok(text) if text.lines().any(|line| line == "populated 0") => Ok(Some(false)),
        Ok(_) => Err(Error::Form { path, line: "populated" }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(files: &[(&str, &str)]) -> PathBuf {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bulkhead-cgroup-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        for (name, text) in files {
            std::fs::write(directory.join(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn the_kernel_s_files_become_limits() {
        let group = group(&[
            ("memory.max", "805306368\n"),
            ("memory.high", "max\n"),
            ("memory.low", "0\n"),
            ("memory.min", "0\n"),
            ("cpu.max", "150000 100000\n"),
            ("pids.max", "256\n"),
        ]);
        let found = limits(&group).unwrap();
        assert_eq!(found, Limits { memory: Some(805_306_368), cpu: Some(1_500_000), pids: Some(256) });
        std::fs::remove_dir_all(group).unwrap();
    }

    #[test]
    fn max_and_a_missing_controller_are_no_limit() {
        let group = group(&[("cpu.max", "max 100000\n"), ("pids.max", "max\n")]);
        assert_eq!(limits(&group).unwrap(), Limits::default());
        std::fs::remove_dir_all(group).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_understood_is_an_error_and_not_no_limit() {
        let group = group(&[("pids.max", "many\n")]);
        assert!(matches!(limits(&group), Err(Error::Limit { file: "pids.max", .. })));
        std::fs::remove_dir_all(group).unwrap();
    }
}
