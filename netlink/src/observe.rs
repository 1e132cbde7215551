//! Reading what the kernel has: four dumps, and the FDB of the bridges of ours that declared ports stand on.
//!
//! What is strange about one object, foreign or ours, is said of that object; the others are read all the same.

mod address;
mod attributes;
mod fdb;
mod link;
mod route;

use std::collections::{BTreeMap, BTreeSet};

use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::error::Error;
use crate::model::{Desired, Observed, Unread};
use crate::socket::Kernel;

/// Lists of single bridges at once, at most. For each the kernel goes through all links, which for 3000 of them takes as long
/// as 200 entries of a list of all bridges.
const FDB_LISTS: usize = 64;

impl Kernel {
    /// Reads links, addresses, routes and the FDB of declared ports. Changes nothing.
    ///
    /// # Errors
    /// [`Error`]: what was read would not be whole, so nothing is returned. Try again, on the next wake at the latest.
    pub async fn observe(&mut self, desired: &Desired) -> Result<Observed, Error> {
        let mut message = LinkMessage::default();
        // Statistics are three quarters of each message, and are not looked at.
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let mut observed = Observed::default();
        let links = RouteNetlinkMessage::GetLink(message);
        for link in self.dump("links", links, |bytes| Some(link::link(bytes))).await? {
            match link {
                Ok(link) => observed.links.insert(link),
                Err(unread) => observed.unread.push(unread),
            }
        }

        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Unspec;
        let addresses = RouteNetlinkMessage::GetAddress(message);
        let addresses = self.dump("addresses", addresses, |bytes| address::address(bytes).transpose()).await?;
        observed.addresses = readable(addresses, &mut observed.unread);

        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let routes = RouteNetlinkMessage::GetRoute(message);
            let routes = self.dump("routes", routes, |bytes| route::route(bytes).transpose()).await?;
            observed.routes.extend(readable(routes, &mut observed.unread));
        }

        for (bridge, ports) in fdb_lists(declared_ports(desired, &observed)) {
            let mut message = NeighbourMessage::default();
            message.header.family = AddressFamily::Bridge;
            message.attributes.extend(bridge.map(NeighbourAttribute::Controller));
            let request = RouteNetlinkMessage::GetNeighbour(message);
            let entries = self.dump("FDB entries", request, |bytes| fdb::entry(bytes, &ports).transpose()).await?;
            observed.fdb.extend(readable(entries, &mut observed.unread));
        }
        Ok(observed)
    }
}

/// What of a list could be read.
fn readable<T>(list: Vec<Result<T, Unread>>, unread: &mut Vec<Unread>) -> Vec<T> {
    list.into_iter().filter_map(|object| object.map_err(|why| unread.push(why)).ok()).collect()
}

/// The declared ports that stand on a bridge of ours, by the ifindex of that.
fn declared_ports(desired: &Desired, observed: &Observed) -> BTreeMap<u32, BTreeSet<u32>> {
    let mut bridges: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for link in desired.ports.keys().filter_map(|name| observed.link(name)) {
        let master = link.master.and_then(|index| observed.links.get(index)).filter(|bridge| bridge.own().is_some());
        if let Some(bridge) = master {
            bridges.entry(bridge.index).or_default().insert(link.index);
        }
    }
    bridges
}

/// Which lists of FDB entries are asked for, each with the ports whose entries are wanted of it: that of each bridge, so that
/// what is learned on other people's is not read. Where there are many, one of all bridges (`None`).
fn fdb_lists(bridges: BTreeMap<u32, BTreeSet<u32>>) -> Vec<(Option<u32>, BTreeSet<u32>)> {
    if bridges.len() <= FDB_LISTS {
        bridges.into_iter().map(|(bridge, ports)| (Some(bridge), ports)).collect()
    } else {
        vec![(None, bridges.into_values().flatten().collect())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fdb_of_each_bridge_is_listed_by_itself_unless_there_are_many() {
        let bridges =
            |count: usize| (1..).map(|index: u32| (index, BTreeSet::from([1000 + index]))).take(count).collect();
        assert_eq!(fdb_lists(bridges(0)), []);
        assert_eq!(fdb_lists(bridges(2)), [(Some(1), BTreeSet::from([1001])), (Some(2), BTreeSet::from([1002]))]);
        let many = fdb_lists(bridges(FDB_LISTS + 1));
        assert!(many.len() == 1 && many[0].0.is_none() && many[0].1.len() == FDB_LISTS + 1);
    }
}
