//! What the lab's cases and its kernel tests share: frames by hand, captures, floods, the network namespaces that stand in for
//! guests, and programs with a deadline.
#![allow(clippy::disallowed_methods, reason = "the lab runs other programs; the product does not")]

pub mod deadline;
pub mod packet;
