//! A small blocking varlink client: one connection, one call at a time, replies ended by NUL.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::failure::Failure;
use crate::socket::INTERFACE;

/// Longer than a daemon that is alive needs for an answer, also behind an apply that waits for a guest to shut down.
const PATIENCE: Duration = Duration::from_secs(120);

/// A connection to the daemon.
pub(super) struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
    answered: bool,
}

impl Client {
    pub(super) fn connect(path: &Path) -> Result<Self, Failure> {
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => Failure::NotPermitted(path.to_owned()),
            _ => Failure::Unreachable(path.to_owned(), error),
        })?;
        Ok(Self { stream: BufReader::new(stream), path: path.to_owned(), answered: false })
    }

    /// One call, one reply: its parameters.
    pub(super) fn call(&mut self, method: &str, parameters: &Value) -> Result<Value, Failure> {
        self.stream.get_ref().set_read_timeout(Some(PATIENCE)).map_err(Failure::Broken)?;
        self.send(&json!({ "method": format!("{INTERFACE}.{method}"), "parameters": parameters }))?;
        self.reply().map(|(parameters, _)| parameters)
    }

    /// One call, many replies: `each` sees the parameters of all but the last, which are returned. The daemon may be silent
    /// for as long as its work takes.
    pub(super) fn stream(
        &mut self,
        method: &str,
        parameters: &Value,
        mut each: impl FnMut(Value) -> Result<(), Failure>,
    ) -> Result<Value, Failure> {
        self.stream.get_ref().set_read_timeout(None).map_err(Failure::Broken)?;
        self.send(&json!({ "method": format!("{INTERFACE}.{method}"), "parameters": parameters, "more": true }))?;
        loop {
            match self.reply()? {
                (parameters, true) => each(parameters)?,
                (parameters, false) => return Ok(parameters),
            }
        }
    }

    fn send(&mut self, call: &Value) -> Result<(), Failure> {
        let mut bytes = call.to_string().into_bytes();
        bytes.push(0);
        match self.stream.get_mut().write_all(&bytes) {
            // Closed unread; a reply that says why may still be there to be read.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            result => result.map_err(Failure::Broken),
        }
    }

    /// The parameters, and whether more replies follow.
    fn reply(&mut self) -> Result<(Value, bool), Failure> {
        let mut bytes = Vec::new();
        let end = self.stream.read_until(0, &mut bytes);
        match end {
            Ok(_) if bytes.pop() == Some(0) => {}
            Ok(_) => return Err(self.closed(ErrorKind::UnexpectedEof.into())),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(self.closed(error)),
            Err(error) => return Err(Failure::Broken(error)),
        }
        self.answered = true;
        let mut reply: Value = serde_json::from_slice(&bytes).map_err(|error| Failure::Reply(error.to_string()))?;
        let parameters = reply.get_mut("parameters").map_or_else(|| json!({}), Value::take);
        match reply.get("error") {
            Some(Value::String(error)) => Err(Failure::Refused { error: error.clone(), parameters }),
            Some(_) => Err(Failure::Reply("an error that is no text".to_owned())),
            None => Ok((parameters, reply.get("continues") == Some(&Value::Bool(true)))),
        }
    }

    /// Whoever may nothing is closed without an answer; whoever had one before was let in.
    fn closed(&self, error: io::Error) -> Failure {
        if self.answered { Failure::Broken(error) } else { Failure::NotPermitted(self.path.clone()) }
    }
}
