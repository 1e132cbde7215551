//! What the daemon's socket says, as types, and a small client.
//!
//! A leaf: the daemon writes these types, and the command, the lab and other programs read them. They are the wire form of
//! the interface `io.bulkhead.Agent` and therefore flat: names, numbers and lists. [`DESCRIPTION`] says the same in varlink's
//! words, and a test compares the two.

#![forbid(unsafe_code)]

pub mod client;
mod error;
mod report;
mod status;

use std::time::{SystemTime, UNIX_EPOCH};

pub use client::Client;
pub use error::{ApplyFailed, ManifestInvalid, Why};
pub use report::{Done, Ended, Phase, Plan, Step, Summary};
pub use status::{
    Allow, Counter, Guest, GuestState, Limit, Manifest, Nic, Owner, PhaseTimes, Problem, Refused, Segment, State,
    Status, Trunk, Wake,
};

/// A time as the socket says it: microseconds since 1970. A clock before that is 0.
#[must_use]
pub fn microseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The interface's name.
pub const INTERFACE: &str = "io.bulkhead.Agent";
/// The interface in varlink's words, as `org.varlink.service.GetInterfaceDescription` gives it.
pub const DESCRIPTION: &str = include_str!("io.bulkhead.Agent.varlink");
/// The interface that every varlink service has.
pub const SERVICE: &str = "org.varlink.service";
/// That interface in varlink's words.
pub const SERVICE_DESCRIPTION: &str = include_str!("org.varlink.service.varlink");
/// Where the socket is.
pub const PATH: &str = "/run/bulkhead/io.bulkhead.Agent";
/// Members of this group administer.
pub const ADMIN_GROUP: &str = "bulkhead";
/// Members of this group observe.
pub const OBSERVE_GROUP: &str = "bulkhead-observe";
