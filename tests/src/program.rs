//! Runs other programs to their end.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Lines of a failed program's stderr that its error quotes.
const LAST_LINES: usize = 30;
/// Between two looks at whether a program has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long the pipes of an ended program may stay open, held by what it left behind.
const PIPES_LINGER: Duration = Duration::from_secs(1);

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

/// How a program ended, whatever it said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Whether its exit status is 0.
    pub(crate) success: bool,
    /// The status, in words.
    pub(crate) status: ExitStatus,
    /// All that it wrote to stdout.
    pub(crate) stdout: String,
    /// All that it wrote to stderr.
    pub(crate) stderr: String,
}

/// Runs a program to its end, or kills it at the deadline, which is an error.
///
/// # Errors
/// When it cannot be started or does not end in time.
pub(crate) fn run_until(command: &mut Command, deadline: Duration) -> io::Result<Ended> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stdout = text_of(child.stdout.take());
    let stderr = text_of(child.stderr.take());
    let status = end(&mut child, deadline)?;
    // A process that it left behind may hold the pipes for ever.
    let text = |pipe: &Receiver<String>| pipe.recv_timeout(PIPES_LINGER).unwrap_or_default();
    Ok(Ended { success: status.success(), status, stdout: text(&stdout), stderr: text(&stderr) })
}

fn end(child: &mut Child, deadline: Duration) -> io::Result<ExitStatus> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if began.elapsed() > deadline {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("had not ended after {} s and was killed", deadline.as_secs()),
            ));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Reads a pipe to its end on a thread of its own.
fn text_of(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is what there is to show.
            let _ = pipe.read_to_end(&mut bytes);
        }
        // Nobody waits any more after the deadline.
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_is_quoted() {
        let error = output(Command::new("sh").args(["-c", "echo no such luck >&2; exit 3"]), &|_| ()).unwrap_err();
        assert!(error.to_string().contains("no such luck"), "{error}");
    }

    #[test]
    fn a_program_that_does_not_end_is_killed_at_the_deadline() {
        let began = Instant::now();
        let error = run_until(Command::new("sleep").arg("600"), Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn both_outputs_and_the_status_come_back() {
        let script = "echo out; echo err >&2; exit 3";
        let ended = run_until(Command::new("sh").args(["-c", script]), Duration::from_secs(10)).unwrap();
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str(), ended.status.code()), ("out\n", "err\n", Some(3)));
        assert!(!ended.success);
    }
}
