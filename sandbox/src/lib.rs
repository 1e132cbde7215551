//! Cgroup limits of guests, observed, planned and applied through systemd; and the agent's own capabilities.

mod apply;
pub mod capabilities;
mod cgroup;
mod control;
pub mod error;
pub mod model;
mod observe;
pub mod plan;
mod systemd;
pub mod unit;
pub mod watch;

pub use error::Error;
pub use systemd::Systemd;
