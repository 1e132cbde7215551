//! The daemon's socket without a program in between: thousands of calls in the time of a hundred.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

const SOCKET: &str = "/run/bulkhead/io.bulkhead.Agent";
/// Of one call: an apply under a flood, in software emulation.
const DEADLINE: Duration = Duration::from_secs(60);

/// A connection to the daemon.
pub(super) struct Agent(BufReader<UnixStream>);

impl Agent {
    /// Connects.
    pub(super) fn connect() -> Result<Self, String> {
        let stream = UnixStream::connect(SOCKET).map_err(|error| format!("{SOCKET}: {error}"))?;
        stream.set_read_timeout(Some(DEADLINE)).map_err(|error| format!("{SOCKET}: {error}"))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Calls a method of `io.bulkhead.Agent` without parameters; the reply's.
    pub(super) fn call(&mut self, method: &str) -> Result<Value, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{method}: {error}");
        let call = json!({ "method": format!("io.bulkhead.Agent.{method}"), "parameters": {} });
        // A varlink message ends with a NUL.
        self.0.get_mut().write_all(format!("{call}\0").as_bytes()).map_err(|error| failed(&error))?;
        let mut reply = Vec::new();
        self.0.read_until(0, &mut reply).map_err(|error| failed(&error))?;
        reply.pop();
        let mut reply: Value = serde_json::from_slice(&reply).map_err(|error| failed(&error))?;
        if reply["error"].is_null() { Ok(reply["parameters"].take()) } else { Err(failed(&reply)) }
    }
}
