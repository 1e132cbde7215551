//! Tests of this room against a real kernel, as root in a VM of the lab.
fn main() {}
