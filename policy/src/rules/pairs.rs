//! Where an allow applies: pairs of places that share a bridge.

use bulkhead_types::IfName;

use super::Site;
use crate::model::{Allow, Bridge, Endpoint};

/// One side, on one bridge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
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
pub(super) fn pairs(allow: &Allow, site: &Site<'_>) -> Vec<(Place, Place)> {
    let mut pairs = Vec::new();
    for bridge in site.bridges() {
        let to = places(&allow.to, bridge, site);
        for from in places(&allow.from, bridge, site) {
            pairs.extend(to.iter().filter(|to| meet(&from, to)).map(|to| (from.clone(), to.clone())));
        }
    }
    pairs
}

/// Nobody needs an allow to speak to itself; outside and the host speak anyway.
fn meet(from: &Place, to: &Place) -> bool {
    match (from, to) {
        (Place::Segment(_), Place::Segment(_)) => true,
        (Place::Outside(_), Place::Host) | (Place::Host, Place::Outside(_)) => false,
        _ => from != to,
    }
}

fn places(endpoint: &Endpoint, bridge: &Bridge, site: &Site<'_>) -> Vec<Place> {
    match endpoint {
        Endpoint::Guest(guest) => {
            let nics = site.nics().filter(|nic| nic.guest == *guest && nic.bridge == bridge.name);
            nics.map(|nic| Place::Nic(nic.tap.clone())).collect()
        }
        Endpoint::Segment(name) if bridge.segment.as_ref() == Some(name) => vec![Place::Segment(bridge.name.clone())],
        Endpoint::Outside(name) if bridge.segment.as_ref() == Some(name) => {
            vec![Place::Outside(bridge.outside.clone())]
        }
        Endpoint::Host if bridge.host => vec![Place::Host],
        Endpoint::Segment(_) | Endpoint::Outside(_) | Endpoint::Host => Vec::new(),
    }
}
