//! What the kernel has once a manifest was applied, and what may have become of it: for plans of hosts that are not this one.

use std::net::IpAddr;

use bulkhead_types::{IfName, Mac};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_route::route::RouteHeader;

use crate::model::{
    Address, BridgeOptions, Desired, FdbEntry, Kind, LINK_GROUP, Link, Observed, PROTOCOL, Port, PortFlags, Route,
    Segment, trunk_alias,
};
use crate::plan::IPV6_MIN_MTU;

/// The MTU of a link of which nothing else is said.
const MTU: u32 = 1500;

impl Link {
    /// A physical port of that name that somebody else set up. It gets its ifindex and its MAC address where it is added.
    #[must_use]
    pub fn foreign(name: &str) -> Self {
        Self { name: name.to_owned(), up: true, mtu: MTU, ipv6: Some(true), ..Self::default() }
    }
}

impl Observed {
    /// What a kernel has that has these trunks once this was applied there, with the taps of the declared ports that run.
    #[must_use]
    pub fn applied<'a>(
        desired: &Desired,
        trunks: impl IntoIterator<Item = &'a IfName>,
        taps: impl IntoIterator<Item = &'a IfName>,
    ) -> Self {
        let mut observed = Self::default();
        for trunk in trunks {
            if observed.link(trunk).is_none() {
                let carried = desired.segments.iter().filter(|segment| segment.trunk == *trunk);
                let mtu = carried.filter_map(|segment| segment.mtu).fold(MTU, u32::max);
                observed.add_link(Link { mtu, ..Link::foreign(trunk.as_str()) });
            }
        }
        for segment in &desired.segments {
            stand(&mut observed, segment);
        }
        for (tap, port) in taps.into_iter().filter_map(|tap| desired.ports.get_key_value(tap)) {
            plug(&mut observed, tap, port);
        }
        observed
    }

    /// Adds a link under an ifindex of its own, which is returned.
    pub fn add_link(&mut self, link: Link) -> u32 {
        let index = self.links.highest().unwrap_or(0).saturating_add(1);
        let [.., high, low] = index.to_be_bytes();
        let mac = link.mac.or_else(|| Mac::try_from([0x02, 0, 0, 0, high, low]).ok());
        self.links.insert(Link { index, mac, ..link });
        index
    }

    /// As the kernel deletes a link: its addresses and routes go, and the VLAN links on it; what was its port is no port any more.
    pub fn remove_link(&mut self, index: u32) {
        self.links.remove(index);
        self.addresses.retain(|address| address.index != index);
        self.routes.retain(|route| route.index != Some(index));
        self.fdb.retain(|entry| entry.index != index);
        let links: Vec<Link> = self.links.values().cloned().collect();
        for link in links {
            if matches!(link.kind, Kind::Vlan { parent, .. } if parent == Some(index)) {
                self.remove_link(link.index);
            } else if link.master == Some(index) {
                self.fdb.retain(|entry| entry.index != link.index);
                self.links.insert(Link { master: None, port: None, ..link });
            }
        }
    }
}

fn stand(observed: &mut Observed, segment: &Segment) {
    let trunk = observed.link(&segment.trunk).map(|trunk| (trunk.index, trunk.mtu));
    let mtu = segment.mtu.or(trunk.map(|(_, mtu)| mtu)).unwrap_or(MTU);
    let addresses = segment.host.iter().flat_map(|host| &host.addresses);
    let ipv6 = |speaks| (mtu >= IPV6_MIN_MTU).then_some(speaks);
    let made = |name: &IfName| Link { group: LINK_GROUP, mtu, ..Link::foreign(name.as_str()) };
    let bridge = observed.add_link(Link {
        kind: Kind::Bridge(BridgeOptions::default()),
        mac: Some(segment.mac),
        ipv6: ipv6(addresses.clone().any(|address| address.addr().is_ipv6())),
        ..made(&segment.bridge)
    });
    observed.add_link(Link {
        kind: Kind::Vlan { id: segment.vlan.get(), parent: trunk.map(|(index, _)| index), dot1q: true },
        alias: Some(trunk_alias(&segment.trunk)),
        master: Some(bridge),
        port: Some(PortFlags::uplink(true)),
        ipv6: ipv6(false),
        ..made(&segment.vlan_link)
    });
    for address in addresses {
        let mut earlier = observed.addresses.iter().filter(|other| other.index == bridge);
        let secondary = address.addr().is_ipv4() && earlier.any(|other| other.address.trunc() == address.trunc());
        let (address, protocol) = (*address, PROTOCOL);
        observed.addresses.push(Address { index: bridge, address, protocol, secondary, duplicate: false });
    }
    for (gateway, metric) in segment.host.iter().flat_map(|host| host.gateways.iter().map(|ip| (*ip, host.metric))) {
        observed.routes.push(Route {
            table: u32::from(RouteHeader::RT_TABLE_MAIN),
            destination: default_of(gateway),
            gateway: Some(gateway),
            index: Some(bridge),
            metric,
            protocol: PROTOCOL,
        });
    }
}

fn default_of(gateway: IpAddr) -> IpNet {
    match gateway {
        IpAddr::V4(_) => Ipv4Net::default().into(),
        IpAddr::V6(_) => Ipv6Net::default().into(),
    }
}

/// The tap of a NIC whose guest runs.
fn plug(observed: &mut Observed, tap: &IfName, port: &Port) {
    let bridge = observed.link(&port.bridge).map(|bridge| (bridge.index, bridge.mtu));
    let index = observed.add_link(Link {
        kind: Kind::Other("tun".to_owned()),
        mtu: bridge.map_or(MTU, |(_, mtu)| mtu),
        master: bridge.map(|(index, _)| index),
        port: Some(PortFlags::guest(true)),
        ipv6: Some(false),
        ..Link::foreign(tap.as_str())
    });
    observed.fdb.push(FdbEntry { index, mac: port.mac, sticky: true });
}
