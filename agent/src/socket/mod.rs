//! The varlink service `io.bulkhead.Agent`: who may do what, and nothing else; the reconcile loop does the work.
//!
//! A connection goes through [`access`] before a byte of it is read, then through `connection` (bytes, bounds, times) and
//! `method` (one file each). The status comes from a watch channel and is written once for all who ask; everything else is
//! a [`Request`] to the loop, in the queue of the caller's role.
//!
//! The protocol is JSON and a NUL, so that it is read and written here: the state machines of the varlink crates take every
//! reply as a tree of its own, and would write a status anew for each caller.

pub mod access;
mod connection;
mod inbox;
mod listen;
mod method;
mod permits;
mod refused;
mod reply;
mod request;
mod serve;
mod sys;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use bulkhead_api::Status;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

pub use access::{Groups, Role};
pub use listen::{bind, from_systemd};
pub use request::{Answer, Queues, Refusal, Request, Requests, queues};
pub use serve::serve;

use method::Written;
use permits::Permits;
use refused::Refused;
use reply::Reply;

/// How much of the agent's time and memory one peer, and all of them, may have.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of one call; a longer one ends the connection.
    pub message: usize,
    /// Time between the first and the last byte of a call.
    pub receive: Duration,
    /// Time between two calls.
    pub idle: Duration,
    /// Time for the peer to take one reply.
    pub send: Duration,
    /// How long a status waits for counters that are as fresh as the question.
    pub counters: Duration,
    /// How old counters may be and still be fresh: many questions are no more than so many readings.
    pub fresh: Duration,
    /// Connections of one user.
    pub per_user: usize,
    /// Connections of all observers together.
    pub observers: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            message: 64 * 1024,
            receive: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            send: Duration::from_secs(10),
            counters: Duration::from_millis(500),
            fresh: Duration::from_millis(250),
            per_user: 16,
            observers: 64,
        }
    }
}

/// What a connection needs of the daemon.
#[derive(Debug)]
pub struct Service {
    groups: Groups,
    bounds: Bounds,
    /// The reply with the JSON Schema of the manifest.
    schema: Reply,
    /// The last published status.
    status: watch::Receiver<Arc<Status>>,
    /// The same as bytes.
    written: Written,
    /// When the loop was last asked for the counters and gave them; held while it is asked.
    read: Mutex<Option<Instant>>,
    queues: Queues,
    connections: Permits,
    /// Plans that are with the loop.
    plans: Permits,
    refused: Refused,
}

impl Service {
    /// A service for members of these groups, that gives this schema and the last status, and asks the loop by these queues.
    #[must_use]
    pub fn new(
        groups: Groups,
        bounds: Bounds,
        schema: &serde_json::Value,
        status: watch::Receiver<Arc<Status>>,
        queues: Queues,
    ) -> Self {
        Self {
            groups,
            bounds,
            schema: Reply::one("schema", schema),
            status,
            written: Written::default(),
            read: Mutex::default(),
            queues,
            connections: Permits::new(bounds.per_user, bounds.observers),
            plans: Permits::new(1, usize::MAX),
            refused: Refused::default(),
        }
    }
}
