//! What the lab's cases and the rooms' kernel tests share: frames by hand, captures, floods, and the network namespaces
//! that stand in for guests.
#![allow(clippy::disallowed_methods, reason = "the lab runs other programs; the product does not")]

pub mod packet;
