//! Tests of this room against a real kernel, with real frames and sockets, as root in a VM of the lab. Each has network
//! namespaces of its own; a kernel without bridge conntrack, or a process without the privilege, fails them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may stop, and tells"
)]

mod acquaintances;
mod closed;
mod discovery;
mod flows;
mod frame;
mod host;
mod leak;
mod listing;
mod paths;
mod routed;
mod spoof;
mod steady;
mod survival;
mod talk;
mod watch;
mod world;
mod zones;
