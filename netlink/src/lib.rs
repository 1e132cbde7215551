//! Trunks, VLANs, bridges, ports, addresses and routes: observed, planned and applied over rtnetlink.

pub mod model;
