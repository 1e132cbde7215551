//! Other programs, with a deadline.

use std::process::Command;
use std::time::Duration;

use crate::deadline::run_until;
use crate::{Error, guard};

const DEADLINE: Duration = Duration::from_secs(30);

/// Runs one command line, split at white space, in the calling thread's namespace; what it wrote on standard output.
///
/// # Errors
/// This is not the lab, or the program is not there, fails, or does not end within 30 s.
pub fn run(line: &str) -> Result<String, Error> {
    guard::permitted()?;
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    let ended = run_until(command.args(words), DEADLINE).map_err(Error::call("run", line))?;
    if ended.success {
        return Ok(ended.stdout);
    }
    let output = ended.stderr + &ended.stdout;
    Err(Error::Program { line: line.to_owned(), status: ended.status, output: output.trim_end().to_owned() })
}
