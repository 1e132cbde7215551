//! Unit and property tests, on the machine itself: they read and compute, and write to no kernel.

use std::io::{self, BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::count::Count;

/// What the host's tests did.
pub(crate) struct Ran {
    /// How many ended how.
    pub(crate) count: Count,
    /// Whether cargo itself ended well: false after a build error too.
    pub(crate) clean: bool,
}

/// What property tests draw their cases from, unless the caller says otherwise: a run says the same of the same tree.
const SEED: (&str, &str) = ("PROPTEST_RNG_SEED", "1");

/// Runs the workspace's tests and passes their lines on as they come. They take the processors only as far as nobody else
/// wants them: a machine that is kept waiting shows what no host does.
///
/// # Errors
/// When cargo cannot be started or its output cannot be read.
pub(crate) fn run(filter: Option<&str>) -> io::Result<Ran> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new("nice");
    command.args(["-n", "19"]).arg(cargo).args(["test", "--workspace", "--no-fail-fast", "--locked"]);
    if std::env::var_os(SEED.0).is_none() {
        command.env(SEED.0, SEED.1);
    }
    if let Some(filter) = filter {
        command.args(["--", filter]);
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut count = Count::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            println!("host | {line}");
            count.add_line(&line);
        }
    }
    Ok(Ran { count, clean: child.wait()?.success() })
}
