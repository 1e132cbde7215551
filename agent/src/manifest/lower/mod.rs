//! From the model to what each room wants: one file a room.
//!
//! Each takes the model's structs apart whole, so that a key that nobody thought of in a room does not compile.

mod guest;
mod links;
mod policy;
mod resolver;
mod sandbox;

use std::net::IpAddr;

use bulkhead_types::IfName;
use serde::Serialize;

use super::identity::HostId;
use super::model::Model;

/// Everything the manifest wants, room by room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Desired {
    /// Links, addresses and routes.
    pub netlink: bulkhead_netlink::model::Desired,
    /// The ruleset.
    pub policy: bulkhead_policy::model::Desired,
    /// The guests' slices.
    pub sandbox: bulkhead_sandbox::model::Desired,
    /// Pools, networks and domains.
    pub guest: crate::guest::model::Desired,
    /// DNS servers, in the order of the manifest.
    pub dns: Vec<Dns>,
    /// Declared trunks, whether they carry a segment or not.
    pub trunks: Vec<IfName>,
}

/// DNS servers that the host asks on one segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dns {
    /// The bridge that they are reached by.
    pub bridge: IfName,
    /// Their addresses, the first is asked first.
    pub servers: Vec<IpAddr>,
}

/// What each room wants on this host.
pub(super) fn lower(model: &Model, host: &HostId) -> Desired {
    let Model { trunks, segments, pools, guests, allows, default_network } = model;
    Desired {
        netlink: links::lower(segments, guests, host),
        policy: policy::lower(segments, guests, allows, host),
        sandbox: sandbox::lower(guests),
        guest: guest::lower(segments, pools, guests, *default_network),
        dns: resolver::lower(segments),
        trunks: trunks.clone(),
    }
}
