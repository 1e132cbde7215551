//! Where an allow applies: pairs of sides that share a bridge.

use bulkhead_types::IfName;

use super::Topology;
use crate::model::{Allow, Bridge, Endpoint};

/// One side, on one bridge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// A NIC's port.
    Nic(IfName),
    /// The port towards the trunk.
    Outside(IfName),
    /// Every NIC of the bridge.
    Segment(IfName),
    /// The host, over that bridge.
    Host,
}

/// The pairs of an allow, the opener first.
pub(super) fn pairs(allow: &Allow, topology: &Topology<'_>) -> Vec<(Side, Side)> {
    let mut pairs = Vec::new();
    for bridge in topology.bridges() {
        let to = sides(&allow.to, bridge, topology);
        for from in sides(&allow.from, bridge, topology) {
            pairs.extend(to.iter().filter(|to| meet(&from, to)).map(|to| (from.clone(), to.clone())));
        }
    }
    pairs
}

/// Nobody needs an allow to speak to itself; outside and the host speak anyway.
fn meet(from: &Side, to: &Side) -> bool {
    match (from, to) {
        (Side::Segment(_), Side::Segment(_)) => true,
        (Side::Outside(_), Side::Host) | (Side::Host, Side::Outside(_)) => false,
        _ => from != to,
    }
}

fn sides(endpoint: &Endpoint, bridge: &Bridge, topology: &Topology<'_>) -> Vec<Side> {
    match endpoint {
        Endpoint::Guest(guest) => {
            let nics = topology.nics().filter(|nic| nic.guest == *guest && nic.bridge == bridge.name);
            nics.map(|nic| Side::Nic(nic.tap.clone())).collect()
        }
        Endpoint::Segment(name) if bridge.segment.as_ref() == Some(name) => vec![Side::Segment(bridge.name.clone())],
        Endpoint::Outside(name) if bridge.segment.as_ref() == Some(name) => {
            vec![Side::Outside(bridge.outside.clone())]
        }
        Endpoint::Host if bridge.host => vec![Side::Host],
        Endpoint::Segment(_) | Endpoint::Outside(_) | Endpoint::Host => Vec::new(),
    }
}
