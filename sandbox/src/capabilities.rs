//! The capabilities of the agent itself: the one list, dropping to it, and the proof.

use std::fs;
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability, CapsHashSet};

use crate::error::Error;

/// Everything the agent may do beyond an ordinary user, each with its reason. The unit grants the same list.
pub const REQUIRED: &[(Capability, &str)] = &[(
    Capability::CAP_NET_ADMIN,
    "links, addresses and routes (rtnetlink), nftables, and net.ipv6.conf sysctls of our own bridges",
)];

/// The five sets of a thread by their lines in `/proc/PID/task/TID/status` (capabilities(7)).
const SETS: [&str; 5] = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"];

/// Drops every capability outside [`REQUIRED`] from all five sets of the calling thread, and raises the required ones in all of
/// them.
///
/// The sets are per thread: call it before there is a second one, so that every later thread inherits them.
///
/// # Errors
/// When a required capability is not permitted, or a set cannot be changed.
pub fn drop_to_required() -> Result<(), Error> {
    let required: CapsHashSet = REQUIRED.iter().map(|(capability, _)| *capability).collect();
    let permitted = read(CapSet::Permitted)?;
    let missing: Vec<String> =
        REQUIRED.iter().filter(|(c, _)| !permitted.contains(c)).map(|(c, _)| c.to_string()).collect();
    if !missing.is_empty() {
        return Err(Error::NotPermitted { missing: missing.join(", ") });
    }
    // First, because dropping from it takes CAP_SETPCAP, which the next ones drop.
    for capability in read(CapSet::Bounding)?.difference(&required) {
        caps::drop(None, CapSet::Bounding, *capability).map_err(failed("drop", CapSet::Bounding))?;
    }
    // Ambient after inheritable and before permitted: it holds only what is in both.
    for set in [CapSet::Inheritable, CapSet::Ambient, CapSet::Effective, CapSet::Permitted] {
        if read(set)? != required {
            caps::set(None, set, &required).map_err(failed("set", set))?;
        }
    }
    Ok(())
}

/// Asserts that in every thread of this process all five sets are exactly [`REQUIRED`], as the kernel shows them.
///
/// # Errors
/// When a thread's set differs, which is named, or `/proc` cannot be read.
pub fn assert_required() -> Result<(), Error> {
    let tasks = Path::new("/proc/self/task");
    let unreadable = |source| Error::Read { path: tasks.to_owned(), source };
    for task in fs::read_dir(tasks).map_err(unreadable)? {
        let task = task.map_err(unreadable)?;
        let path = task.path().join("status");
        match fs::read_to_string(&path) {
            Ok(status) => check(&task.file_name().to_string_lossy(), &status, path)?,
            // The thread has ended since it was listed.
            Err(_) if !task.path().exists() => {}
            Err(source) => return Err(Error::Read { path, source }),
        }
    }
    Ok(())
}

fn check(thread: &str, status: &str, path: PathBuf) -> Result<(), Error> {
    let required = REQUIRED.iter().fold(0, |mask, (capability, _)| mask | capability.bitmask());
    for set in SETS {
        let mask =
            status.lines().find_map(|line| line.strip_prefix(set)).map(|mask| u64::from_str_radix(mask.trim(), 16));
        let Some(Ok(found)) = mask else { return Err(Error::Form { path, line: set }) };
        if found != required {
            let set = set.trim_end_matches(':');
            return Err(Error::NotRequired { thread: thread.to_owned(), set, found, required });
        }
    }
    Ok(())
}

fn read(set: CapSet) -> Result<CapsHashSet, Error> {
    caps::read(None, set).map_err(failed("read", set))
}

fn failed(action: &'static str, set: CapSet) -> impl FnOnce(caps::errors::CapsError) -> Error {
    let set = match set {
        CapSet::Ambient => "ambient",
        CapSet::Bounding => "bounding",
        CapSet::Effective => "effective",
        CapSet::Inheritable => "inheritable",
        CapSet::Permitted => "permitted",
    };
    move |source| Error::Capabilities { action, set, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT: &str = "Name:\tbulkheadd\nCapInh:\t0000000000001000\nCapPrm:\t0000000000001000\nCapEff:\t0000000000001000\n\
                         CapBnd:\t0000000000001000\nCapAmb:\t0000000000001000\nNoNewPrivs:\t1\n";

    #[test]
    fn the_unit_grants_exactly_the_required_capabilities() {
        let unit = include_str!("../../systemd/bulkheadd.service");
        let mut required: Vec<String> = REQUIRED.iter().map(|(capability, _)| capability.to_string()).collect();
        required.sort();
        for key in ["AmbientCapabilities=", "CapabilityBoundingSet="] {
            let lines: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix(key)).collect();
            let mut granted: Vec<&str> = lines.iter().flat_map(|line| line.split_whitespace()).collect();
            granted.sort_unstable();
            assert_eq!(granted, required, "{key}");
        }
    }

    #[test]
    fn a_thread_with_exactly_the_required_sets_passes() {
        check("1", EXACT, PathBuf::new()).unwrap();
    }

    #[test]
    fn one_capability_more_or_less_in_any_set_is_named() {
        for set in SETS {
            for other in ["0000000000003000", "0000000000000000"] {
                let line = format!("{set}\t0000000000001000");
                let status = EXACT.replace(&line, &format!("{set}\t{other}"));
                let error = check("7", &status, PathBuf::new()).unwrap_err().to_string();
                assert!(error.contains("thread 7") && error.contains(set.trim_end_matches(':')), "{error}");
            }
        }
    }
}
