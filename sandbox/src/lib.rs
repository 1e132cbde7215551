//! Cgroup limits of guests, observed, planned and applied through systemd; and the agent's own capabilities.

pub mod model;
