//! What runs in a machine of the lab, as root, from its unit `bulkhead-lab.service`: the rooms' kernel tests, then cases.

mod lab;
mod tests;

use std::fs;

use serde::{Deserialize, Serialize};

pub(crate) use lab::{Lab, MANIFEST};

use crate::suite::Suite;

/// Where the initramfs mounts what the host hands in.
pub(crate) const PAYLOAD: &str = "/lab";
/// What is to be done, as JSON.
pub(crate) const TASK_FILE: &str = "/lab/task.json";
/// The repository's `tests/cases`.
const CASES_FOLDER: &str = "/lab/cases";
/// The repository's `examples/seed.toml`.
const SEED_MANIFEST: &str = "/lab/examples/seed.toml";
/// The kernel command line's word without which nothing here does anything.
pub(crate) const WORD: &str = "bulkhead.lab=1";
/// Begins a line for the host's program, which is not shown.
pub(crate) const CONTROL: &str = "::";

/// What one boot is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    /// The release, which the cases ask for.
    pub(crate) suite: Suite,
    /// The rooms' kernel tests to run.
    pub(crate) rooms: Vec<Room>,
    /// Names of the cases to run.
    pub(crate) cases: Vec<String>,
}

/// The kernel tests of one room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Room {
    /// The room's name: `netlink`.
    pub(crate) name: String,
    /// Its tests, by the name that its harness knows; empty is all.
    pub(crate) tests: Vec<String>,
}

impl Room {
    /// Name of a room's program in the payload.
    pub(crate) fn program_of(name: &str) -> String {
        format!("{name}-kernel")
    }
}

/// Does what the host asked for.
///
/// # Errors
/// When this is no machine of the lab, or the task cannot be read.
pub(crate) fn run() -> Result<bool, String> {
    let line = fs::read_to_string("/proc/cmdline").map_err(|error| format!("/proc/cmdline: {error}"))?;
    // A case changes interfaces, rules and guests of whatever it runs on.
    if !line.split_whitespace().any(|word| word == WORD) {
        return Err(format!("this is no machine of the lab: its kernel was started without `{WORD}`"));
    }
    let text = fs::read_to_string(TASK_FILE).map_err(|error| format!("{TASK_FILE}: {error}"))?;
    let task: Task = serde_json::from_str(&text).map_err(|error| format!("{TASK_FILE}: {error}"))?;
    println!("{CONTROL}up");
    let count = tests::run(&task);
    println!("{CONTROL}ended {} {}", count.passed, count.failed);
    Ok(count.failed == 0)
}
