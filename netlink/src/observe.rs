//! Reading what the kernel has: four dumps, and a fifth if a declared port stands on a bridge of ours.

mod decode;

use std::collections::BTreeSet;

use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::error::Error;
use crate::model::{Desired, Observed};
use crate::socket::Kernel;

impl Kernel {
    /// Reads links, addresses, routes and the FDB of declared ports. Changes nothing.
    ///
    /// # Errors
    /// [`Error`]: what was read would not be whole, so nothing is returned. Try again, on the next wake at the latest.
    pub async fn observe(&mut self, desired: &Desired) -> Result<Observed, Error> {
        let mut message = LinkMessage::default();
        // Statistics are three quarters of each message, and are not looked at.
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let links = self.dump("links", RouteNetlinkMessage::GetLink(message), decode::link).await?;

        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Unspec;
        let addresses = self.dump("addresses", RouteNetlinkMessage::GetAddress(message), decode::address).await?;

        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            routes.extend(self.dump("routes", RouteNetlinkMessage::GetRoute(message), decode::route).await?);
        }

        let links = links.into_iter().map(|link| (link.index, link)).collect();
        let mut observed = Observed { links, addresses, routes, fdb: Vec::new() };
        let ports = declared_ports(desired, &observed);
        if !ports.is_empty() {
            let mut message = NeighbourMessage::default();
            message.header.family = AddressFamily::Bridge;
            let request = RouteNetlinkMessage::GetNeighbour(message);
            observed.fdb = self.dump("FDB entries", request, |bytes| decode::fdb(bytes, &ports)).await?;
        }
        Ok(observed)
    }
}

/// The declared ports that stand on a bridge of ours, by ifindex.
fn declared_ports(desired: &Desired, observed: &Observed) -> BTreeSet<u32> {
    let ours = |index: u32| observed.links.get(&index).is_some_and(|bridge| bridge.own().is_some());
    let links = desired.ports.keys().filter_map(|name| observed.link(name));
    links.filter(|link| link.master.is_some_and(ours)).map(|link| link.index).collect()
}
