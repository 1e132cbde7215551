//! The daemon, asked on its socket.

use std::path::Path;

use bulkhead_api::{Client, Plan, Status, Summary};
use bulkhead_types::chain;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A connection to the daemon.
pub(crate) struct Agent(Client);

impl Agent {
    /// Connects.
    pub(crate) fn connect() -> Result<Self, String> {
        Client::connect(Path::new(bulkhead_api::PATH)).map(Self).map_err(|error| chain(&error))
    }

    /// What it knows of its host.
    pub(crate) fn status(&mut self) -> Result<Status, String> {
        typed("Status", self.call("Status")?["status"].take())
    }

    /// What an apply would write.
    pub(crate) fn plan(&mut self) -> Result<Plan, String> {
        typed("Plan", self.call("Plan")?)
    }

    /// Applies the manifest's files; an error when a step fails.
    pub(crate) fn apply(&mut self) -> Result<Summary, String> {
        typed("Apply", self.call("Apply")?["summary"].take())
    }

    fn call(&mut self, method: &str) -> Result<Value, String> {
        self.0.call(method, &json!({})).map_err(|error| format!("{method}: {}", chain(&error)))
    }
}

fn typed<T: DeserializeOwned>(method: &str, reply: Value) -> Result<T, String> {
    serde_json::from_value(reply)
        .map_err(|error| format!("{method}: the reply is not what the interface says: {error}"))
}
