//! The links of a host.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bulkhead_netlink::model::{
    Address, BridgeOptions, FdbEntry, Kind, LINK_GROUP, Link, Observed, PROTOCOL, Port, PortFlags, Route, Segment,
    trunk_alias,
};
use bulkhead_types::{IfName, Mac};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::text;
use crate::manifest::Desired;

/// The MTU of a link of which nothing else is said.
const MTU: u32 = 1500;
/// Below it a link has no IPv6 (RFC 8200, 5).
const IPV6_MIN_MTU: u32 = 1280;
/// The table that the kernel looks up last (`RT_TABLE_MAIN`).
const MAIN: u32 = 254;

/// Every link that is made of a manifest, the trunks of two, and the taps of guests that run.
pub(super) fn applied(base: &Desired, planned: &Desired) -> Observed {
    let mut observed = Observed::default();
    for trunk in planned.trunks.iter().chain(&base.trunks) {
        if observed.link(trunk).is_none() {
            let carried = base.netlink.segments.iter().filter(|segment| segment.trunk == *trunk);
            let mtu = carried.filter_map(|segment| segment.mtu).fold(MTU, u32::max);
            add(&mut observed, Link { mtu, ..foreign(trunk.as_str()) });
        }
    }
    for segment in &base.netlink.segments {
        stand(&mut observed, segment);
    }
    let running = base.guest.guests.iter().filter(|guest| guest.start).flat_map(|guest| &guest.nics);
    for (tap, port) in running.filter_map(|nic| base.netlink.ports.get_key_value(&nic.tap)) {
        plug(&mut observed, tap, port);
    }
    observed
}

/// A link that somebody else made. It gets its MAC address where it is added.
fn foreign(name: &str) -> Link {
    Link { name: name.to_owned(), up: true, mtu: MTU, ipv6: Some(true), ..Link::default() }
}

fn add(observed: &mut Observed, link: Link) -> u32 {
    let index = observed.links.highest().unwrap_or(0).saturating_add(1);
    let [.., high, low] = index.to_be_bytes();
    let mac = link.mac.or_else(|| Mac::try_from([0x02, 0, 0, 0, high, low]).ok());
    observed.links.insert(Link { index, mac, ..link });
    index
}

fn stand(observed: &mut Observed, segment: &Segment) {
    let trunk = observed.link(&segment.trunk).map(|trunk| (trunk.index, trunk.mtu));
    let mtu = segment.mtu.or(trunk.map(|(_, mtu)| mtu)).unwrap_or(MTU);
    let addresses = segment.host.iter().flat_map(|host| &host.addresses);
    let ipv6 = |speaks| (mtu >= IPV6_MIN_MTU).then_some(speaks);
    let made = |name: &IfName| Link { group: LINK_GROUP, mtu, ..foreign(name.as_str()) };
    let bridge = add(
        observed,
        Link {
            kind: Kind::Bridge(BridgeOptions::default()),
            mac: Some(segment.mac),
            ipv6: ipv6(addresses.clone().any(|address| address.addr().is_ipv6())),
            ..made(&segment.bridge)
        },
    );
    add(
        observed,
        Link {
            kind: Kind::Vlan { id: segment.vlan.get(), parent: trunk.map(|(index, _)| index), dot1q: true },
            alias: Some(trunk_alias(&segment.trunk)),
            master: Some(bridge),
            port: Some(PortFlags::uplink(true)),
            ipv6: ipv6(false),
            ..made(&segment.vlan_link)
        },
    );
    for address in addresses {
        let mut earlier = observed.addresses.iter().filter(|other| other.index == bridge);
        let secondary = address.addr().is_ipv4() && earlier.any(|other| other.address.trunc() == address.trunc());
        let (address, protocol) = (*address, PROTOCOL);
        observed.addresses.push(Address { index: bridge, address, protocol, secondary, duplicate: false });
    }
    for (gateway, metric) in segment.host.iter().flat_map(|host| host.gateways.iter().map(|ip| (*ip, host.metric))) {
        observed.routes.push(Route {
            table: MAIN,
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
    let index = add(
        observed,
        Link {
            kind: Kind::Other("tun".to_owned()),
            mtu: bridge.map_or(MTU, |(_, mtu)| mtu),
            master: bridge.map(|(index, _)| index),
            port: Some(PortFlags::guest(true)),
            ipv6: Some(false),
            ..foreign(tap.as_str())
        },
    );
    observed.fdb.push(FdbEntry { index, mac: port.mac });
}

/// Changes links, and adds foreign ones. Names are those from before any change.
pub(super) fn change(observed: &mut Observed, links: BTreeMap<String, text::Link>) -> Result<(), String> {
    let mut indices: BTreeMap<String, u32> =
        observed.links.values().map(|link| (link.name.clone(), link.index)).collect();
    for (name, link) in links.iter().filter(|(_, link)| !link.absent) {
        if !indices.contains_key(name) {
            let kind = Kind::Other(link.kind.clone().unwrap_or_default());
            indices.insert(name.clone(), add(observed, Link { kind, ..foreign(name) }));
        }
    }
    let index = |name: &String| indices.get(name).copied().ok_or_else(|| format!("there is no link {name}"));
    for (name, link) in links {
        change_one(observed, index(&name)?, link, index)?;
    }
    Ok(())
}

fn change_one(
    observed: &mut Observed,
    index: u32,
    text: text::Link,
    named: impl Fn(&String) -> Result<u32, String>,
) -> Result<(), String> {
    let text::Link { absent, name, altnames, kind, vlan, parent, master, up, mtu, mac, group, addresses } = text;
    if absent {
        remove(observed, index);
        return Ok(());
    }
    let Some(mut link) = observed.links.remove(index) else {
        return Err("a link is changed that went with the one it was on".to_owned());
    };
    link.name = name.unwrap_or(link.name);
    link.altnames = altnames.unwrap_or(link.altnames);
    link.kind = match (kind.as_deref(), vlan) {
        (_, Some(id)) => Kind::Vlan { id, parent: parent.as_ref().map(&named).transpose()?, dot1q: true },
        (Some("bridge"), None) => Kind::Bridge(BridgeOptions::default()),
        (Some(kind), None) => Kind::Other(kind.to_owned()),
        (None, None) => link.kind,
    };
    if let Some(master) = &master {
        (link.master, link.port) = (Some(named(master)?), Some(PortFlags::uplink(true)));
        observed.fdb.retain(|entry| entry.index != index);
    }
    link.up = up.unwrap_or(link.up);
    link.mtu = mtu.unwrap_or(link.mtu);
    link.mac = mac.or(link.mac);
    link.group = group.unwrap_or(link.group);
    observed.links.insert(link);
    let add = |address| Address { index, address, protocol: 0, secondary: false, duplicate: false };
    observed.addresses.extend(addresses.into_iter().map(add));
    Ok(())
}

/// As the kernel deletes a link: its addresses and routes go, and the VLAN links on it; what was its port is no port any more.
fn remove(observed: &mut Observed, index: u32) {
    observed.links.remove(index);
    observed.addresses.retain(|address| address.index != index);
    observed.routes.retain(|route| route.index != Some(index));
    observed.fdb.retain(|entry| entry.index != index);
    let links: Vec<Link> = observed.links.values().cloned().collect();
    for link in links {
        if matches!(link.kind, Kind::Vlan { parent, .. } if parent == Some(index)) {
            remove(observed, link.index);
        } else if link.master == Some(index) {
            observed.fdb.retain(|entry| entry.index != link.index);
            observed.links.insert(Link { master: None, port: None, ..link });
        }
    }
}
