//! A small blocking varlink client: one connection, one call at a time, replies ended by NUL.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::INTERFACE;

/// Longer than a daemon that is alive needs for an answer, also behind an apply that waits for a guest to shut down.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers at the socket.
    #[error("connect to {0}")]
    Unreachable(PathBuf, #[source] io::Error),
    /// The daemon said that it does not serve this user, or the way to the socket is closed to them.
    #[error("the daemon at {0} does not serve this user")]
    NotPermitted(PathBuf),
    /// The daemon answered with an error.
    #[error("the daemon answered {error} {parameters}")]
    Refused {
        /// The error's whole name, with its interface.
        error: String,
        /// What it says.
        parameters: Value,
    },
    /// What came is not what the interface says.
    #[error("the daemon's answer is not understood: {0}")]
    Reply(String),
    /// The connection ended before the answer had come. What was asked may be done, in part or not at all.
    #[error("the daemon at {0} ended the connection before it had answered")]
    Ended(PathBuf),
    /// The socket failed, or no answer came in time.
    #[error("wait for the daemon's answer")]
    Broken(#[source] io::Error),
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Client {
    /// Connects to the socket at this path, which is [`crate::PATH`] on a host.
    ///
    /// # Errors
    /// Nobody listens there, or the way to it is closed to the caller.
    pub fn connect(path: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => Error::NotPermitted(path.to_owned()),
            _ => Error::Unreachable(path.to_owned(), error),
        })?;
        Ok(Self { stream: BufReader::new(stream), path: path.to_owned() })
    }

    /// One call, one reply: its parameters.
    ///
    /// # Errors
    /// The daemon refused, was silent for two minutes, ended the connection, or said what no reply is.
    pub fn call(&mut self, method: &str, parameters: &Value) -> Result<Value, Error> {
        self.stream.get_ref().set_read_timeout(Some(PATIENCE)).map_err(Error::Broken)?;
        self.send(&json!({ "method": format!("{INTERFACE}.{method}"), "parameters": parameters }))?;
        self.reply().map(|(parameters, _)| parameters)
    }

    /// One call, many replies: `each` sees the parameters of all but the last, which are returned. The daemon may be silent
    /// for as long as its work takes.
    ///
    /// # Errors
    /// As for [`Client::call`], and what `each` returns, which ends the stream.
    pub fn stream<E: From<Error>>(
        &mut self,
        method: &str,
        parameters: &Value,
        mut each: impl FnMut(Value) -> Result<(), E>,
    ) -> Result<Value, E> {
        self.stream.get_ref().set_read_timeout(None).map_err(Error::Broken)?;
        self.send(&json!({ "method": format!("{INTERFACE}.{method}"), "parameters": parameters, "more": true }))?;
        loop {
            match self.reply()? {
                (parameters, true) => each(parameters)?,
                (parameters, false) => return Ok(parameters),
            }
        }
    }

    fn send(&mut self, call: &Value) -> Result<(), Error> {
        let mut bytes = call.to_string().into_bytes();
        bytes.push(0);
        match self.stream.get_mut().write_all(&bytes) {
            // Closed unread; a reply that says why may still be there to be read.
            Err(error) if is_end(&error) => Ok(()),
            result => result.map_err(Error::Broken),
        }
    }

    /// The parameters, and whether more replies follow.
    fn reply(&mut self) -> Result<(Value, bool), Error> {
        let mut bytes = Vec::new();
        let end = self.stream.read_until(0, &mut bytes);
        match end {
            Ok(_) if bytes.pop() == Some(0) => {}
            Ok(_) => return Err(Error::Ended(self.path.clone())),
            Err(error) if is_end(&error) => return Err(Error::Ended(self.path.clone())),
            Err(error) => return Err(Error::Broken(error)),
        }
        let mut reply: Value = serde_json::from_slice(&bytes).map_err(|error| Error::Reply(error.to_string()))?;
        let parameters = reply.get_mut("parameters").map_or_else(|| json!({}), Value::take);
        match reply.get("error") {
            Some(Value::String(error)) if error.strip_prefix(INTERFACE) == Some(".NotServed") => {
                Err(Error::NotPermitted(self.path.clone()))
            }
            Some(Value::String(error)) => Err(Error::Refused { error: error.clone(), parameters }),
            Some(_) => Err(Error::Reply("an error that is no text".to_owned())),
            None => Ok((parameters, reply.get("continues") == Some(&Value::Bool(true)))),
        }
    }
}

/// Whether the other side is gone: a unix socket that is closed with unread bytes resets its peer.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}
