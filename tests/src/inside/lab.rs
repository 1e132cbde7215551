//! What a case has at hand: commands with a deadline, waiting with a deadline, the daemon's manifest and status.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bulkhead_api::{Status, Summary};
use bulkhead_packet::{Ended, run_until};
use bulkhead_types::{Cause, Notice};

use super::{Agent, CASES_FOLDER, CONTROL, SEED_MANIFEST};
use crate::suite::Suite;

/// Where the daemon reads its manifest.
pub(crate) const MANIFEST: &str = "/etc/bulkhead/host.toml";
/// How long a command may take that says nothing else. Software emulation, and QEMU within it, is slow.
const DEADLINE: Duration = Duration::from_secs(60);
/// An apply of a whole manifest may wait for libvirt, which may be starting a guest.
const APPLY_DEADLINE: Duration = Duration::from_secs(180);
/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A virtual machine of the lab, from inside.
pub(crate) struct Lab {
    suite: Suite,
    measured: RefCell<Vec<String>>,
}

impl Lab {
    /// Only `inside::run` makes one: whoever has a `Lab` is in a machine of the lab, where everything may be changed.
    pub(super) fn new(suite: Suite) -> Self {
        Self { suite, measured: RefCell::default() }
    }

    /// The release that runs here.
    pub(crate) fn suite(&self) -> Suite {
        self.suite
    }

    /// A file of `tests/cases/`, for example `forward/host.toml`.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        Path::new(CASES_FOLDER).join(path)
    }

    /// The text of a file of `tests/cases/`.
    pub(crate) fn text(&self, path: &str) -> Result<String, String> {
        let path = self.file(path);
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Says how far a long case has come. The host's program gives up a machine that is silent for ten minutes.
    pub(crate) fn at(&self, progress: &str) {
        println!("{CONTROL}at {progress}");
    }

    /// Keeps a measured value, which is printed under the case.
    pub(crate) fn measured(&self, line: impl Into<String>) {
        self.measured.borrow_mut().push(line.into());
    }

    /// What was measured since this was asked last.
    pub(super) fn take_measured(&self) -> Vec<String> {
        self.measured.take()
    }

    /// Runs a command line (words apart by spaces, no shell) which must succeed; returns its stdout.
    pub(crate) fn run(&self, line: &str) -> Result<String, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.run_words(&words)
    }

    /// Like `run`, for words with spaces in them.
    pub(crate) fn run_words(&self, words: &[&str]) -> Result<String, String> {
        let ended = self.attempt(words, DEADLINE)?;
        if ended.success { Ok(ended.stdout) } else { Err(said(words, &ended)) }
    }

    /// Runs a command, however it ends; an error when it cannot be started or has not ended by the deadline.
    pub(crate) fn attempt(&self, words: &[&str], deadline: Duration) -> Result<Ended, String> {
        let Some((program, arguments)) = words.split_first() else { return Err("a command needs words".to_owned()) };
        run_until(Command::new(program).args(arguments), deadline)
            .map_err(|error| format!("{}: {error}", words.join(" ")))
    }

    /// Looks until `look` is content and returns how long that took; else the error says what was waited for and what
    /// was seen at last.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        deadline: Duration,
        look: impl Fn() -> Result<T, String>,
    ) -> Result<(T, Duration), String> {
        let began = Instant::now();
        loop {
            match look() {
                Ok(found) => return Ok((found, began.elapsed())),
                Err(seen) if began.elapsed() > deadline => {
                    return Err(format!("waited {} s for {what}; seen instead: {seen}", deadline.as_secs()));
                }
                Err(_) => sleep(LOOK_EVERY),
            }
        }
    }

    /// Makes `manifest` the host's own and applies it; the daemon's last words as JSON lines. Everything that is to be written has
    /// to be; what the machine lacks, such as the seed's encrypted mount, may be said, for which the exit status is 1.
    pub(crate) fn apply(&self, manifest: &str) -> Result<String, String> {
        fs::write(MANIFEST, manifest).map_err(|error| format!("{MANIFEST}: {error}"))?;
        let words = ["bulkhead", "apply", "--json"];
        let ended = self.attempt(&words, APPLY_DEADLINE)?;
        if ended.success || only_lacks(&ended.stdout) { Ok(ended.stdout) } else { Err(said(&words, &ended)) }
    }

    /// Applies `tests/cases/NAME/host.toml`.
    pub(crate) fn apply_case(&self, name: &str) -> Result<String, String> {
        self.apply(&self.text(&format!("{name}/host.toml"))?)
    }

    /// Applies `examples/seed.toml` again, which each case of the boot `SEED` leaves behind.
    pub(crate) fn apply_seed(&self) -> Result<String, String> {
        self.apply(&read(SEED_MANIFEST)?)
    }

    /// Whether the host is as the seed says, as a case finds it and leaves it.
    pub(super) fn as_found(&self) -> Result<(), String> {
        if read(MANIFEST)? != read(SEED_MANIFEST)? {
            return Err(format!("{MANIFEST} is not the seed any more"));
        }
        self.wait("the host to be as the seed says", APPLY_DEADLINE, || {
            let mut agent = Agent::connect()?;
            let (manifest, plan) = (agent.status()?.manifest, agent.plan()?);
            if !manifest.pending && plan.steps.is_empty() { Ok(()) } else { Err(format!("{manifest:?}, {plan:?}")) }
        })
        .map(drop)
    }

    /// What the daemon knows of the host.
    pub(crate) fn status(&self) -> Result<Status, String> {
        Agent::connect()?.status()
    }

    /// The last lines of the daemon's log.
    pub(crate) fn journal(&self, lines: usize) -> String {
        let lines = lines.to_string();
        let words = ["journalctl", "--no-pager", "--output=short-monotonic", "--unit=bulkheadd", "--lines", &lines];
        self.run_words(&words).unwrap_or_else(|error| error)
    }
}

/// Whether an apply left nothing to be written, knows all and met nobody in its way.
fn only_lacks(lines: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Last {
        summary: Summary,
    }
    let last = lines.lines().last().and_then(|line| serde_json::from_str::<Last>(line).ok());
    let harmless = |notice: &Notice| !matches!(notice.cause, Cause::Clash | Cause::Violation | Cause::Unknown);
    last.is_some_and(|Last { summary }| {
        summary.verified && summary.remaining.is_empty() && summary.notices.iter().all(harmless)
    })
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

/// How a command failed, for people.
fn said(words: &[&str], ended: &Ended) -> String {
    format!("`{}` ended with {}: {}{}", words.join(" "), ended.status, ended.stderr.trim_end(), ended.stdout.trim_end())
}

/// What of a status says why the host is not ready yet.
pub(crate) fn brief(status: &Status) -> String {
    let notices: String = status.notices.iter().map(|notice| format!("\n{}: {}", notice.object, notice.text)).collect();
    format!("ready {}, phases {:?}{notices}", status.ready, status.phases)
}
