//! The varlink service `io.bulkhead.Agent`: who may do what, and nothing else; the reconcile loop does the work.
//!
//! A connection goes through [`access`] before a byte of it is read, then through `connection` (bytes, bounds, times) and
//! `call` (methods). [`Status`] comes from a watch channel and never waits; everything else is a [`Request`] to the loop.

pub mod access;
mod call;
mod connection;
mod listen;
mod places;
mod serve;
mod sys;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use bulkhead_api::{ApplyFailed, Done, ManifestInvalid, Plan, Status, Summary, Why};
use tokio::sync::{mpsc, oneshot, watch};

pub use access::{Groups, Role};
pub use listen::{bind, from_systemd};
pub use serve::serve;

/// What the socket asks of the reconcile loop. The receiver of an answer may be gone: the work is then done all the same.
#[derive(Debug)]
pub enum Request {
    /// Observe and plan; write nothing.
    Plan {
        /// Where the plan goes.
        reply: oneshot::Sender<Result<Plan, Refusal>>,
    },
    /// Read the manifest's files and make the host so.
    Apply {
        /// Also what would otherwise be kept and reported.
        force: bool,
        /// Where each step goes once it has ended. Unbounded, because the plan bounds it and the sender cannot wait.
        progress: mpsc::UnboundedSender<Done>,
        /// Where the end goes.
        done: oneshot::Sender<Result<Summary, Refusal>>,
    },
    /// Remove what is ours.
    Teardown {
        /// Also guests that do not shut down.
        force: bool,
        /// Where each step goes once it has ended.
        progress: mpsc::UnboundedSender<Done>,
        /// Where the end goes.
        done: oneshot::Sender<Result<Summary, Refusal>>,
    },
}

/// Why the loop does not do what it was asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// The manifest's files have errors; nothing was changed.
    ManifestInvalid(ManifestInvalid),
    /// The work was tried, and the host is not as it should be.
    Failed(ApplyFailed),
    /// Not now.
    Busy(Why),
}

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
    /// Connections of one user.
    pub per_user: usize,
    /// Connections of all users but root.
    pub total: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            message: 64 * 1024,
            receive: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            send: Duration::from_secs(10),
            per_user: 16,
            total: 64,
        }
    }
}

/// What a connection needs of the daemon.
#[derive(Debug, Clone)]
pub struct Service {
    /// Whose members may do what.
    pub groups: Groups,
    /// How much they may have.
    pub bounds: Bounds,
    /// JSON Schema of the manifest.
    pub schema: Arc<serde_json::Value>,
    /// The last published status.
    pub status: watch::Receiver<Arc<Status>>,
    /// The way to the loop; a full channel answers `Busy`.
    pub requests: mpsc::Sender<Request>,
}
