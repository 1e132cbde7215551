//! Tests of this room against a real systemd and cgroup v2, as root in a VM of the lab with the package installed.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // A test may stop at the first surprise.
#![allow(clippy::disallowed_methods)] // Tests run systemctl and busctl, as an administrator would.

mod capabilities;
mod foreign;
mod life;
mod limits;
mod user;
mod watch;
mod world;
