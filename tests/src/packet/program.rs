//! Other programs, with a deadline.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Error, guard};

const DEADLINE: Duration = Duration::from_secs(30);

/// Runs one command line, split at white space, in the calling thread's namespace; what it wrote on standard output.
///
/// # Errors
/// This is not the lab, or the program is not there, fails, or does not end within 30 s.
pub fn run(line: &str) -> Result<String, Error> {
    guard::permitted()?;
    let mut words = line.split_whitespace();
    let mut child = Command::new(words.next().unwrap_or_default())
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::call("start", line))?;
    // Read all along: a program that fills a pipe would wait for its reader for ever.
    let (output, errors) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let status = wait(&mut child, line)?;
    let text = |reader: JoinHandle<String>| reader.join().map_err(|_| Error::Thread("read a program's output"));
    let (output, errors) = (text(output)?, text(errors)?);
    if status.success() {
        return Ok(output);
    }
    let output = errors + &output;
    Err(Error::Program { line: line.to_owned(), status, output: output.trim_end().to_owned() })
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still what the program said.
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child, line: &str) -> Result<std::process::ExitStatus, Error> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().map_err(Error::call("wait for", line))? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            child.kill().and_then(|()| child.wait()).map_err(Error::call("kill", line))?;
            return Err(Error::Late { line: line.to_owned(), deadline: DEADLINE });
        }
        thread::sleep(Duration::from_millis(2));
    }
}
