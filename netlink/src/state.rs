//! What status and map show of a segment.

use std::net::IpAddr;

use bulkhead_types::IfName;
use serde::Serialize;

use crate::model::{Desired, LINK_GROUP, Link, Observed};

/// One of the links that a segment needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// There is none of that name.
    Absent,
    /// Something of that name is not ours; of a trunk this is never said.
    Foreign,
    /// It is there and administratively down.
    Down,
    /// It is there and up.
    Up,
}

/// A segment as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentState {
    /// The trunk's name and state.
    pub trunk: (IfName, LinkState),
    /// The VLAN link's name and state.
    pub vlan: (IfName, LinkState),
    /// The bridge's name and state.
    pub bridge: (IfName, LinkState),
    /// MTU of the bridge in bytes, if it is there.
    pub mtu: Option<u32>,
    /// Every address on the bridge, whoever added it.
    pub addresses: Vec<ipnet::IpNet>,
    /// Gateways of the default routes through the bridge.
    pub gateways: Vec<IpAddr>,
    /// Everything that is a port of the bridge but the VLAN link.
    pub ports: Vec<PortState>,
}

/// A port of one of our bridges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortState {
    /// Its name.
    pub name: String,
    /// Whether it is a declared NIC's and belongs on this bridge.
    pub declared: bool,
    /// Whether it is administratively up.
    pub up: bool,
}

/// The state of each segment, in the manifest's order.
#[must_use]
pub fn state(desired: &Desired, observed: &Observed) -> Vec<SegmentState> {
    let own = |name: &IfName| match observed.link(name) {
        Some(link) if link.own().is_none() || link.group != LINK_GROUP => LinkState::Foreign,
        link => presence(link),
    };
    let segments = desired.segments.iter().map(|segment| {
        let bridge = observed.link(&segment.bridge);
        let index = bridge.map(|bridge| bridge.index);
        let ports = observed.links.values().filter(|link| index.is_some() && link.master == index);
        let port = |link: &Link| PortState {
            name: link.name.clone(),
            declared: desired.ports.iter().any(|(name, p)| name.as_str() == link.name && p.bridge == segment.bridge),
            up: link.up,
        };
        let through = observed.routes.iter().filter(|route| index.is_some() && route.index == index);
        SegmentState {
            trunk: (segment.trunk.clone(), presence(observed.link(&segment.trunk))),
            vlan: (segment.vlan_link.clone(), own(&segment.vlan_link)),
            bridge: (segment.bridge.clone(), own(&segment.bridge)),
            mtu: bridge.map(|bridge| bridge.mtu),
            addresses: observed.addresses.iter().filter(|a| Some(a.index) == index).map(|a| a.address).collect(),
            gateways: through.filter(|route| route.destination.prefix_len() == 0).filter_map(|r| r.gateway).collect(),
            ports: ports.filter(|link| link.name != segment.vlan_link.as_str()).map(port).collect(),
        }
    });
    segments.collect()
}

fn presence(link: Option<&Link>) -> LinkState {
    link.map_or(LinkState::Absent, |link| if link.up { LinkState::Up } else { LinkState::Down })
}
