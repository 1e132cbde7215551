//! Runs other programs to their end.

use std::io::{self, BufRead, BufReader};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

/// Lines of a failed program's stderr that its error quotes.
const LAST_LINES: usize = 30;

/// Why a program did not do what it was run for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It is not there.
    #[error("start {program}; is it installed?")]
    Start {
        /// Its name.
        program: String,
        /// The system's answer.
        source: io::Error,
    },
    /// It said no.
    #[error("{program} failed ({status}); its last words:\n{output}")]
    Failed {
        /// Its name and first arguments.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote to stderr.
        output: String,
    },
}

/// Runs a program to its end and returns its stdout; every line of its stderr goes to `progress`.
///
/// # Errors
/// When it cannot be started or fails.
pub(crate) fn output(command: &mut Command, progress: &dyn Fn(&str)) -> Result<String, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let words = command.get_args().take(2).map(|a| a.to_string_lossy().into_owned());
    let program = [program].into_iter().chain(words).collect::<Vec<_>>().join(" ");
    let start = |source| Error::Start { program: program.clone(), source };
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(start)?;
    let stdout = child.stdout.take();
    // Two pipes need two readers: one alone would wait for ever on the other's full buffer.
    let reader = thread::spawn(move || stdout.map_or_else(|| Ok(String::new()), io::read_to_string));
    let mut lines = Vec::new();
    for line in child.stderr.take().into_iter().flat_map(|pipe| BufReader::new(pipe).lines()).map_while(Result::ok) {
        progress(line.trim());
        lines.push(line);
    }
    let status = child.wait().map_err(start)?;
    let text = reader.join().unwrap_or_else(|_| Ok(String::new())).map_err(start)?;
    if status.success() {
        return Ok(text);
    }
    let output = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
    Err(Error::Failed { program, status, output })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_is_quoted() {
        let error = output(Command::new("sh").args(["-c", "echo no such luck >&2; exit 3"]), &|_| ()).unwrap_err();
        assert!(error.to_string().contains("no such luck"), "{error}");
    }
}
