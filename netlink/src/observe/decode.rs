//! From the kernel's messages to the model. Only the attributes that are needed are decoded, so that a strange one of a
//! foreign object, or of a newer kernel, breaks nothing.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_types::Mac;
use ipnet::IpNet;
use netlink_packet_core::{DecodeError, NlasIterator, Parseable, ParseableParametrized};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeader};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoPortData, InfoVlan,
    LinkAttribute, LinkFlags, LinkHeader, LinkInfo, VlanProtocol,
};
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourHeader, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage};

use crate::model::{
    Address, BridgeOptions, FdbEntry, Kind, LEAVING_GROUP, LINK_GROUP, Link, PROTOCOL, PortFlags, Route,
};

/// Bytes of `struct ifinfomsg`, `struct ifaddrmsg`.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
/// `IFLA_*` of `include/uapi/linux/if_link.h` that are looked at.
const ADDRESS: u16 = 1;
const NAME: u16 = 3;
const MTU: u16 = 4;
const PARENT: u16 = 5;
const MASTER: u16 = 10;
const LINK_INFO: u16 = 18;
const AF_SPEC: u16 = 26;
const GROUP: u16 = 27;
const PARENT_NETNS: u16 = 37;
/// `IFLA_INFO_KIND`, the first attribute within `IFLA_LINKINFO`.
const INFO_KIND: u16 = 1;

/// A message of a link dump.
///
/// # Errors
/// The message is torn, or it is a link of ours and what we need of it cannot be read.
pub(super) fn link(bytes: &[u8]) -> Result<Option<Link>, DecodeError> {
    let header = LinkHeader::parse(bytes)?;
    let mut link = Link {
        index: header.index,
        name: String::new(),
        kind: Kind::Other(String::new()),
        group: 0,
        up: header.flags.contains(LinkFlags::Up),
        mtu: 0,
        mac: None,
        master: None,
        port: None,
        ipv6: None,
    };
    let (mut parent, mut parent_elsewhere, mut unread) = (None, false, None);
    for nla in NlasIterator::new(&bytes[LINK_HEADER..]) {
        let nla = nla?;
        let wanted = [ADDRESS, NAME, MTU, PARENT, MASTER, LINK_INFO, AF_SPEC, GROUP, PARENT_NETNS];
        if !wanted.contains(&nla.kind()) {
            continue;
        }
        match LinkAttribute::parse_with_param(&nla, header.interface_family) {
            Ok(LinkAttribute::IfName(name)) => link.name = name,
            Ok(LinkAttribute::Address(mac)) => link.mac = station(&mac),
            Ok(LinkAttribute::Mtu(mtu)) => link.mtu = mtu,
            Ok(LinkAttribute::Link(index)) => parent = Some(index),
            Ok(LinkAttribute::LinkNetNsId(_)) => parent_elsewhere = true,
            Ok(LinkAttribute::Controller(index)) => link.master = Some(index).filter(|index| *index != 0),
            Ok(LinkAttribute::Group(group)) => link.group = group,
            Ok(LinkAttribute::AfSpecUnspec(families)) => link.ipv6 = ipv6(&families),
            Ok(LinkAttribute::LinkInfo(infos)) => (link.kind, link.port) = info(&infos),
            Ok(_) => {}
            // Known by the name of its kind alone, unless it turns out to be ours.
            Err(error) if nla.kind() == LINK_INFO => (link.kind, unread) = (raw_kind(nla.value()), Some(error)),
            Err(error) => return Err(error),
        }
    }
    if let Kind::Vlan { parent: slot, .. } = &mut link.kind {
        *slot = parent.filter(|_| !parent_elsewhere);
    }
    match unread {
        Some(error) if matches!(link.group, LINK_GROUP | LEAVING_GROUP) => Err(error),
        _ => Ok(Some(link)),
    }
}

fn station(bytes: &[u8]) -> Option<Mac> {
    <[u8; 6]>::try_from(bytes).ok().and_then(|octets| Mac::try_from(octets).ok())
}

fn raw_kind(infos: &[u8]) -> Kind {
    let mut infos = NlasIterator::new(infos).map_while(Result::ok);
    let kind = infos.find(|info| info.kind() == INFO_KIND).map(|info| info.value().to_vec()).unwrap_or_default();
    Kind::Other(String::from_utf8_lossy(&kind).trim_end_matches('\0').to_owned())
}

fn info(infos: &[LinkInfo]) -> (Kind, Option<PortFlags>) {
    let (mut kind, mut port) = (Kind::Other(String::new()), None);
    for info in infos {
        match info {
            LinkInfo::Kind(name) => kind = Kind::Other(name.to_string()),
            LinkInfo::Data(InfoData::Bridge(options)) => kind = Kind::Bridge(bridge(options)),
            LinkInfo::Data(InfoData::Vlan(options)) => kind = vlan(options),
            LinkInfo::PortData(InfoPortData::BridgePort(flags)) => port = Some(port_flags(flags)),
            _ => {}
        }
    }
    (kind, port)
}

fn bridge(attributes: &[InfoBridge]) -> BridgeOptions {
    let mut options = BridgeOptions::default();
    for attribute in attributes {
        match attribute {
            InfoBridge::StpState(state) => options.stp = *state != BridgeStpState::Disabled,
            InfoBridge::MulticastSnooping(on) => options.mcast_snooping = *on,
            InfoBridge::VlanFiltering(on) => options.vlan_filtering = *on,
            InfoBridge::GroupFwdMask(mask) => options.group_fwd_mask = *mask,
            _ => {}
        }
    }
    options
}

/// The parent is an attribute of the link itself, and is filled in by the caller.
fn vlan(attributes: &[InfoVlan]) -> Kind {
    let (mut tag, mut protocol) = (0, VlanProtocol::Ieee8021Q);
    for attribute in attributes {
        match attribute {
            InfoVlan::Id(id) => tag = *id,
            InfoVlan::Protocol(found) => protocol = *found,
            _ => {}
        }
    }
    Kind::Vlan { id: tag, parent: None, dot1q: protocol == VlanProtocol::Ieee8021Q }
}

fn port_flags(attributes: &[InfoBridgePort]) -> PortFlags {
    let mut flags = PortFlags::uplink(false);
    for attribute in attributes {
        match attribute {
            InfoBridgePort::Learning(on) => flags.learning = *on,
            InfoBridgePort::UnicastFlood(on) => flags.flood = *on,
            InfoBridgePort::MulticastFlood(on) => flags.mcast_flood = *on,
            InfoBridgePort::BroadcastFlood(on) => flags.bcast_flood = *on,
            InfoBridgePort::Locked(on) => flags.locked = Some(*on),
            InfoBridgePort::Isolated(on) => flags.isolated = *on,
            InfoBridgePort::HairpinMode(on) => flags.hairpin = *on,
            _ => {}
        }
    }
    flags
}

fn ipv6(families: &[AfSpecUnspec]) -> Option<bool> {
    let attributes = families.iter().filter_map(|family| match family {
        AfSpecUnspec::Inet6(attributes) => Some(attributes),
        _ => None,
    });
    attributes.flatten().find_map(|attribute| match attribute {
        AfSpecInet6::DevConf(conf) => Some(conf.disable_ipv6 == 0),
        _ => None,
    })
}

/// A message of an address dump; passes over other families than IPv4 and IPv6.
pub(super) fn address(bytes: &[u8]) -> Result<Option<Address>, DecodeError> {
    let header = AddressHeader::parse(bytes)?;
    if !matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6) {
        return Ok(None);
    }
    let (mut local, mut peer, mut protocol) = (None, None, 0);
    let mut flags = AddressFlags::from_bits_retain(u32::from(header.flags.bits()));
    for nla in NlasIterator::new(&bytes[ADDRESS_HEADER..]) {
        match AddressAttribute::parse(&nla?)? {
            AddressAttribute::Local(ip) => local = Some(ip),
            AddressAttribute::Address(ip) => peer = Some(ip),
            AddressAttribute::Protocol(number) => protocol = u8::from(number),
            AddressAttribute::Flags(wide) => flags = wide,
            _ => {}
        }
    }
    let Some(ip) = local.or(peer) else { return Err("an address message without an address".into()) };
    let address = IpNet::new(ip, header.prefix_len).map_err(|e| DecodeError::from(e.to_string()))?;
    Ok(Some(Address {
        index: header.index,
        address,
        protocol,
        secondary: ip.is_ipv4() && flags.contains(AddressFlags::Secondary),
        duplicate: flags.contains(AddressFlags::Dadfailed),
    }))
}

/// A message of a route dump; passes over what is neither ours nor a default route of the main table.
pub(super) fn route(bytes: &[u8]) -> Result<Option<Route>, DecodeError> {
    let header = RouteHeader::parse(bytes)?;
    let ours = u8::from(header.protocol) == PROTOCOL;
    let default = header.destination_prefix_length == 0 && header.table == RouteHeader::RT_TABLE_MAIN;
    if !(ours || default) {
        return Ok(None);
    }
    let message = RouteMessage::parse(bytes)?;
    let any: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return Ok(None),
    };
    let (mut destination, mut gateway, mut index) = (any, None, None);
    let (mut metric, mut table) = (0, u32::from(header.table));
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(ip) => destination = numeric(&ip).unwrap_or(any),
            RouteAttribute::Gateway(ip) => gateway = numeric(&ip),
            RouteAttribute::Oif(found) => index = Some(found),
            RouteAttribute::Priority(found) => metric = found,
            RouteAttribute::Table(found) => table = found,
            _ => {}
        }
    }
    let destination = IpNet::new(destination, header.destination_prefix_length);
    let destination = destination.map_err(|e| DecodeError::from(e.to_string()))?;
    Ok(Some(Route { table, destination, gateway, index, metric, protocol: u8::from(header.protocol) }))
}

fn numeric(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

/// A message of an FDB dump; passes over what is not a static entry of these ports, the ports' own addresses too
/// (`NUD_PERMANENT`), and the copies for the VLAN 1 that every port has.
pub(super) fn fdb(bytes: &[u8], ports: &BTreeSet<u32>) -> Result<Option<FdbEntry>, DecodeError> {
    let header = NeighbourHeader::parse(bytes)?;
    // The same address may stand in the device's own filter as well (`self`): that is not the bridge's table.
    let of_bridge = !header.flags.contains(NeighbourFlags::Own);
    if header.state != NeighbourState::Noarp || !of_bridge || !ports.contains(&header.ifindex) {
        return Ok(None);
    }
    let (mut mac, mut vlan) = (None, false);
    for attribute in NeighbourMessage::parse(bytes)?.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = station(&bytes),
            NeighbourAttribute::Vlan(_) => vlan = true,
            _ => {}
        }
    }
    Ok(mac.filter(|_| !vlan).map(|mac| FdbEntry { index: header.ifindex, mac }))
}
