//! From steps to messages. What is created is created exclusively, and nothing is ever replaced (`NLM_F_REPLACE`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_types::Mac;
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use netlink_packet_route::link::{
    BridgeBooleanOptionFlags, BridgeBooleanOptions, BridgeStpState, InfoBridge, InfoKind, LinkMessage,
};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{
    AddressMessageBuilder, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVlan, RouteMessageBuilder,
};

use crate::model::{FORWARDED_GROUPS, LEAVING_GROUP, LINK_GROUP, PROTOCOL, PortFlags, Route};
use crate::socket::Message;
use crate::step::{Change, Step};

/// The message of one step; `None` for a step that is written otherwise.
pub(super) fn message(step: &Step) -> Option<Message> {
    Some(match step {
        Step::SetIpv6 { .. } => return None,
        Step::TrunkUp { index, .. } | Step::LinkUp { index, .. } | Step::PortUp { index, .. } => {
            change(LinkUnspec::new_with_index(*index).up().build())
        }
        Step::LinkDown { index, .. } => change(LinkUnspec::new_with_index(*index).down().build()),
        Step::DeleteLink { index, .. } => {
            plain(RouteNetlinkMessage::DelLink(LinkUnspec::new_with_index(*index).build()))
        }
        Step::CreateBridge { bridge, index, mac, mtu } => create_bridge(bridge.name.as_str(), *index, *mac, *mtu),
        Step::CreateVlan { link, index, parent, vlan, master, mtu, .. } => {
            let message = LinkVlan::new(link.as_str(), *parent, vlan.get());
            create(message.index(*index).link_group(LINK_GROUP).mtu(*mtu).controller(*master).build())
        }
        Step::ChangeLink { index, changes, .. } => change(change_link(*index, changes)),
        Step::ChangePort { index, flags, mtu, .. } => change(change_port(*index, *flags, *mtu)),
        Step::AddAddress { index, address, .. } => {
            let mut message = address_message(*index, *address);
            message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
            Message { payload: RouteNetlinkMessage::NewAddress(message), flags: NLM_F_CREATE | NLM_F_EXCL }
        }
        Step::DeleteAddress { index, address, .. } => {
            plain(RouteNetlinkMessage::DelAddress(address_message(*index, *address)))
        }
        Step::AddRoute { index, gateway, metric, on_link, .. } => {
            let mut message = default_route(*index, *gateway, *metric);
            if *on_link {
                message.header.flags |= RouteFlags::Onlink;
            }
            Message { payload: RouteNetlinkMessage::NewRoute(message), flags: NLM_F_CREATE | NLM_F_EXCL }
        }
        Step::DeleteRoute { route, .. } => plain(RouteNetlinkMessage::DelRoute(delete_route(route))),
        // Without NLM_F_EXCL: an entry of that address that was learned somewhere is moved to the port and made static.
        Step::AddFdb { index, mac, .. } => {
            Message { payload: RouteNetlinkMessage::NewNeighbour(fdb(*index, *mac)), flags: NLM_F_CREATE }
        }
        Step::DeleteFdb { index, mac, .. } => plain(RouteNetlinkMessage::DelNeighbour(fdb(*index, *mac))),
    })
}

/// Moves a link to the leaving group.
pub(super) fn leave(step: &Step) -> Option<Message> {
    let Step::DeleteLink { index, .. } = step else { return None };
    Some(change(LinkUnspec::new_with_index(*index).link_group(LEAVING_GROUP).build()))
}

/// Deletes every link of the leaving group.
pub(super) fn delete_leaving() -> Message {
    plain(RouteNetlinkMessage::DelLink(LinkMessageBuilder::<LinkUnspec>::new().link_group(LEAVING_GROUP).build()))
}

/// Sets every link of our group up.
pub(super) fn group_up() -> Message {
    change(LinkMessageBuilder::<LinkUnspec>::new().link_group(LINK_GROUP).up().build())
}

fn plain(payload: RouteNetlinkMessage) -> Message {
    Message { payload, flags: 0 }
}

/// `RTM_NEWLINK` without `NLM_F_CREATE`, as `ip link set` does it.
fn change(message: LinkMessage) -> Message {
    plain(RouteNetlinkMessage::NewLink(message))
}

fn create(message: LinkMessage) -> Message {
    Message { payload: RouteNetlinkMessage::NewLink(message), flags: NLM_F_CREATE | NLM_F_EXCL }
}

/// With an address of its own, so that no port changes it. VLAN filtering is off by default, and a kernel built without it
/// refuses to be told so.
fn create_bridge(name: &str, index: u32, mac: Mac, mtu: u32) -> Message {
    let message = LinkMessageBuilder::<LinkBridge>::new(name).index(index).link_group(LINK_GROUP);
    create(options(message.address(mac.octets().to_vec()).mtu(mtu)).build())
}

/// What every bridge of ours has.
fn options(message: LinkMessageBuilder<LinkBridge>) -> LinkMessageBuilder<LinkBridge> {
    let on = BridgeBooleanOptionFlags::NoLinkLocalLearn;
    let message = message.append_info_data(InfoBridge::MultiBoolOpt(BridgeBooleanOptions { value: on, mask: on }));
    message.mcast_snooping(false).stp_state(BridgeStpState::Disabled).group_fwd_mask(FORWARDED_GROUPS)
}

fn change_link(index: u32, changes: &[Change]) -> LinkMessage {
    let mut message = LinkUnspec::new_with_index(index);
    for change in changes {
        message = match change {
            Change::Mtu(mtu) => message.mtu(*mtu),
            Change::Mac(mac) => message.address(mac.octets().to_vec()),
            Change::Master(index) => message.controller(index.unwrap_or(0)),
            Change::Alias(alias) => message.alias(alias.as_str()),
            Change::BridgeOptions { .. } | Change::Port(_) => message,
        };
    }
    let mut message = message.build();
    for change in changes {
        match change {
            Change::BridgeOptions { vlan_filtering } => {
                let mut bridge = options(LinkMessageBuilder::<LinkBridge>::new_with_info_kind(InfoKind::Bridge));
                if *vlan_filtering {
                    bridge = bridge.vlan_filtering(false);
                }
                message.attributes.extend(bridge.build().attributes);
            }
            Change::Port(flags) => message.attributes.extend(change_port(index, *flags, None).attributes),
            _ => {}
        }
    }
    message
}

fn change_port(index: u32, flags: PortFlags, mtu: Option<u32>) -> LinkMessage {
    let mut message = LinkBridgePort::new(index);
    if let Some(mtu) = mtu {
        message = message.mtu(mtu);
    }
    message = message.learning(flags.learning).flood(flags.flood).mcast_flood(flags.mcast_flood);
    message = message.bcast_flood(flags.bcast_flood).isolated(flags.isolated).hairpin(flags.hairpin);
    if let Some(locked) = flags.locked {
        message = message.locked(locked);
    }
    if !flags.learning {
        // What was learned before would pass the lock until it ages.
        message = message.fdb_flush();
    }
    message.build()
}

fn address_message(index: u32, address: IpNet) -> AddressMessage {
    match address {
        IpNet::V4(net) => {
            AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(net.addr(), net.prefix_len()).build()
        }
        IpNet::V6(net) => {
            AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(net.addr(), net.prefix_len()).build()
        }
    }
}

fn default_route(index: u32, gateway: IpAddr, metric: u32) -> RouteMessage {
    let protocol = RouteProtocol::Other(PROTOCOL);
    match gateway {
        IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new()
            .output_interface(index)
            .gateway(gateway)
            .priority(metric)
            .protocol(protocol)
            .build(),
        IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new()
            .output_interface(index)
            .gateway(gateway)
            .priority(metric)
            .protocol(protocol)
            .build(),
    }
}

/// Named so fully that no other route can be meant: table, destination, metric, protocol, gateway and link.
fn delete_route(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family =
        if route.destination.addr().is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message.header.destination_prefix_length = route.destination.prefix_len();
    message.header.protocol = RouteProtocol::Other(PROTOCOL);
    message.header.scope = netlink_packet_route::route::RouteScope::NoWhere;
    message.attributes = vec![RouteAttribute::Table(route.table), RouteAttribute::Priority(route.metric)];
    if route.destination.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(route.destination.addr())));
    }
    message.attributes.extend(route.gateway.map(|ip| RouteAttribute::Gateway(RouteAddress::from(ip))));
    message.attributes.extend(route.index.map(RouteAttribute::Oif));
    message
}

/// A static entry in the bridge's table, not in the device's own filter, which no frame moves to another port.
fn fdb(index: u32, mac: Mac) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Noarp;
    message.header.flags = NeighbourFlags::Controller | NeighbourFlags::Sticky;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
    message
}
