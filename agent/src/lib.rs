//! The agent of Bulkhead: sequences the rooms and knows nothing of kernels.

mod agent;
mod atomic;
mod checksum;
pub mod cli;
pub mod daemon;
pub mod guest;
pub mod manifest;
pub mod offline;
mod reconcile;
mod regular;
pub mod resolver;
mod rooms;
pub mod socket;
mod status;
mod watch;
