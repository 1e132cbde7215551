//! Who may talk to whom: the nftables ruleset, observed, planned and applied through libnftables.

pub mod model;
