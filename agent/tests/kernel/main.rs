//! Tests of the guest room against a real libvirtd and QEMU, as root in a VM of the lab with the package installed. Guests
//! have no operating system: iPXE is enough for a life.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // A test may stop, and tells.
#![allow(clippy::disallowed_methods)] // Somebody else changes things with virsh: that is what is tested.

mod daemon;
mod drift;
mod foreign;
mod kept;
mod life;
mod schema;
mod sealed;
mod stops;
mod user;
mod world;
