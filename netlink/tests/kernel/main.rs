//! Tests of this room against a real kernel, as root in a VM of the lab. Each has a network namespace of its own; a kernel
//! without 8021q, or a process without the privilege, fails them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may stop, and tells"
)]

mod drift;
mod foreign;
mod invisible;
mod ports;
mod segments;
mod survival;
mod trunks;
mod watch;
mod world;
