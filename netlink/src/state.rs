//! What status and map show of a segment.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bulkhead_types::IfName;
use serde::Serialize;

use crate::lookup::{Lookup, stays_ours};
use crate::model::{Desired, Link, Observed, Route};
use crate::trunks;

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
    /// The trunk's name in the manifest, and its state, whatever it is called now.
    pub trunk: (IfName, LinkState),
    /// The VLAN link's name and state.
    pub vlan: (IfName, LinkState),
    /// The bridge's name and state.
    pub bridge: (IfName, LinkState),
    /// Whether the VLAN link carries the segment's tag on its trunk, and is a port of its bridge.
    pub attached: bool,
    /// MTU of the bridge in bytes, if it is there.
    pub mtu: Option<u32>,
    /// Every address on the bridge, whoever added it.
    pub addresses: Vec<ipnet::IpNet>,
    /// Gateways of the default routes through the bridge.
    pub gateways: Vec<IpAddr>,
    /// Everything that is a port of the bridge but the VLAN link.
    pub ports: Vec<PortState>,
}

impl SegmentState {
    /// Whether frames can pass between the trunk and the bridge's ports: guests need that, and nothing of the host's own
    /// addresses and routes.
    #[must_use]
    pub fn stands(&self) -> bool {
        let links = [&self.trunk, &self.vlan, &self.bridge];
        self.attached && links.into_iter().all(|(_, state)| *state == LinkState::Up)
    }
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
    states(&Lookup::new(desired, observed))
}

pub(crate) fn states(lookup: &Lookup<'_>) -> Vec<SegmentState> {
    let trunks = trunks::find(lookup);
    let mut routes: BTreeMap<u32, Vec<&Route>> = BTreeMap::new();
    for route in lookup.routes().filter(|route| route.destination.prefix_len() == 0) {
        route.index.into_iter().for_each(|index| routes.entry(index).or_default().push(route));
    }
    let segments = lookup.segments().map(|segment| {
        let trunk = trunks.get(&segment.trunk).and_then(|trunk| trunk.link());
        let (vlan, bridge) = (lookup.named(&segment.vlan_link), lookup.named(&segment.bridge));
        let carrier = trunk.and_then(|trunk| lookup.vlan(trunk.index, segment.vlan.get()));
        let index = bridge.map_or(0, |bridge| bridge.index);
        let port = |link: &Link| PortState {
            name: link.name.clone(),
            declared: lookup.declared_port(link).is_some_and(|port| port.bridge == segment.bridge),
            up: link.up,
        };
        let others = lookup.ports_of(index).filter(|link| link.name != segment.vlan_link.as_str());
        SegmentState {
            trunk: (segment.trunk.clone(), presence(trunk)),
            vlan: (segment.vlan_link.clone(), ours(vlan)),
            bridge: (segment.bridge.clone(), ours(bridge)),
            attached: vlan.is_some_and(|vlan| {
                carrier.is_some_and(|carrier| carrier.index == vlan.index) && vlan.master == Some(index)
            }),
            mtu: bridge.map(|bridge| bridge.mtu),
            addresses: lookup.addresses_on(index).map(|address| address.address).collect(),
            gateways: routes.get(&index).into_iter().flatten().filter_map(|route| route.gateway).collect(),
            ports: others.map(port).collect(),
        }
    });
    segments.collect()
}

fn ours(link: Option<&Link>) -> LinkState {
    if link.is_some_and(|link| !stays_ours(link)) { LinkState::Foreign } else { presence(link) }
}

fn presence(link: Option<&Link>) -> LinkState {
    link.map_or(LinkState::Absent, |link| if link.up { LinkState::Up } else { LinkState::Down })
}
