//! What runs in a machine of the lab, as root, from its unit `bulkhead-lab.service`: the rooms' kernel tests, then cases.

mod agent;
mod demo;
mod lab;
mod tests;

use std::fs;
use std::process::Command;
use std::time::Duration;

use bulkhead_packet::{permitted, run_until};
use serde::{Deserialize, Serialize};

pub(crate) use agent::Agent;
pub(crate) use lab::{Lab, MANIFEST, brief};

use crate::suite::Suite;

/// Where the initramfs mounts what the host hands in.
pub(crate) const PAYLOAD: &str = "/lab";
/// The folder of the tasks, each as JSON, in the payload.
pub(crate) const TASKS: &str = "tasks";
/// The repository's `tests/cases`.
const CASES_FOLDER: &str = "/lab/cases";
/// The repository's `examples/seed.toml`.
const SEED_MANIFEST: &str = "/lab/examples/seed.toml";
/// Begins the kernel command line's word that names the task.
pub(crate) const TASK_WORD: &str = "bulkhead.task=";
/// How long a boot may go on beside us before the cases begin all the same.
const BOOT_DEADLINE: Duration = Duration::from_secs(240);
/// What the console says when the task begins.
pub(crate) const UP: &str = "lab: up";
/// Begins a line for the host's program, which is not shown.
pub(crate) const CONTROL: &str = "::";

/// What one boot is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Task {
    /// The release, which the cases ask for.
    pub(crate) suite: Suite,
    /// What to do.
    pub(crate) purpose: Purpose,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// Run kernel tests and cases.
    Tests {
        /// The rooms' kernel tests.
        rooms: Vec<Room>,
        /// Names of the cases.
        cases: Vec<String>,
    },
    /// Show Bulkhead at work.
    Demo {
        /// Then leave the user at a shell on the second serial port, which is a terminal of this size.
        shell: Option<Size>,
    },
}

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Size {
    /// Lines.
    pub(crate) rows: u16,
    /// Characters of a line.
    pub(crate) columns: u16,
}

/// The kernel tests of one room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Room {
    /// The room's name: `netlink`.
    pub(crate) name: String,
    /// Its tests, by the names that its harness knows.
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
    // A case changes interfaces, rules and guests of whatever it runs on.
    permitted()?;
    let line = fs::read_to_string("/proc/cmdline").map_err(|error| format!("/proc/cmdline: {error}"))?;
    let named = line.split_whitespace().find_map(|word| word.strip_prefix(TASK_WORD));
    let name = named.ok_or_else(|| format!("the kernel was started without a word `{TASK_WORD}NAME`"))?;
    let file = format!("{PAYLOAD}/{TASKS}/{name}.json");
    let text = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    let task: Task = serde_json::from_str(&text).map_err(|error| format!("{file}: {error}"))?;
    // On the console, whoever has our own port: a terminal is not read by the host's program.
    fs::write("/dev/console", format!("{UP}\n")).map_err(|error| format!("/dev/console: {error}"))?;
    let count = match &task.purpose {
        Purpose::Tests { rooms, cases } => {
            println!("{CONTROL}up");
            booted();
            tests::run(task.suite, rooms, cases)
        }
        Purpose::Demo { shell: Some(size) } => return demo::with_shell(task.suite, *size),
        Purpose::Demo { shell: None } => {
            println!("{CONTROL}up");
            demo::run(task.suite, true)
        }
    };
    println!("{CONTROL}ended {} {}", count.passed, count.failed);
    Ok(count.failed == 0)
}

/// Waits until all that the boot starts has started; what has not by then is shown, and the cases will say what it means.
fn booted() {
    println!("{CONTROL}at the rest of the boot");
    let mut wait = Command::new("systemctl");
    let waited = run_until(wait.args(["is-system-running", "--wait"]), BOOT_DEADLINE);
    // `degraded` is an end too: a failed unit is shown, and for the cases to judge.
    if waited.is_ok_and(|ended| ended.stdout.trim() == "running") {
        return;
    }
    for arguments in [["list-jobs", "--no-pager"], ["--failed", "--no-pager"]] {
        let shown = run_until(Command::new("systemctl").args(arguments), Duration::from_secs(30));
        shown.iter().flat_map(|ended| ended.stdout.lines()).for_each(|line| println!("    {line}"));
    }
}
