//! Runs a program to its end, or to a deadline.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at whether a program has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long the pipes of an ended program may stay open, held by what it left behind.
const PIPES_LINGER: Duration = Duration::from_secs(1);

/// How a program ended, whatever it said.
#[derive(Debug)]
pub struct Ended {
    /// Whether its exit status is 0.
    pub success: bool,
    /// The status, in words.
    pub status: ExitStatus,
    /// All that it wrote to stdout.
    pub stdout: String,
    /// All that it wrote to stderr.
    pub stderr: String,
}

/// Runs a program to its end, or kills it at the deadline, which is an error.
///
/// # Errors
/// When it cannot be started or does not end in time.
pub fn run_until(command: &mut Command, deadline: Duration) -> io::Result<Ended> {
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
