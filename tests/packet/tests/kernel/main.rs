//! The packet toolkit with a real kernel: what a case concludes from it must be so. As root, in a machine of the lab.
#![allow(clippy::disallowed_methods, reason = "the lab runs other programs; the product does not")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may stop, and tells"
)]

mod conversations;
mod counts;
mod world;
