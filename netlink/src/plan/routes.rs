//! Default routes through segments where the host speaks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_types::{Cause, IfName};
use netlink_packet_route::route::RouteHeader;

use super::{Built, BuiltSegment, Phases};
use crate::lookup::Lookup;
use crate::model::{PROTOCOL, Route};
use crate::step::{SegmentBridge, Step};

/// What the kernel makes of metric 0 in IPv6 (`IP6_RT_PRIO_USER`).
const IPV6_METRIC: u32 = 1024;

/// A default route: the kernel has one for each family (whether it is IPv6) and metric.
type Key = (bool, u32);
/// The default routes that there are to be.
type Wanted<'a, 'b> = BTreeMap<Key, (&'b BuiltSegment<'a>, IpAddr)>;

pub(super) fn plan(built: &Built<'_>, lookup: &Lookup<'_>, gone: &BTreeSet<u32>, phases: &mut Phases) {
    let wanted = wanted(built, phases);
    let silenced = silenced(lookup, phases);
    // The kernel deletes the routes of a link with it, and those of IPv6 with that.
    let stays = |route: &&Route| {
        let v6 = route.destination.addr().is_ipv6();
        route.index.is_none_or(|index| !(gone.contains(&index) || v6 && silenced.contains(&index)))
    };
    let mut rivals: BTreeMap<Key, Vec<&Route>> = BTreeMap::new();
    for route in lookup.routes().filter(stays) {
        if is_default(route) {
            rivals.entry(key(route)).or_default().push(route);
        }
        let serves = wanted.get(&key(route)).is_some_and(|(segment, gateway)| is(route, segment, *gateway));
        if let Some(link) = own(route, lookup).filter(|_| !serves && !stays_on_foreign(route, &wanted, lookup)) {
            let bridge = built.by_bridge(&link).map_or_else(|| SegmentBridge::left(link), |built| built.segment.into());
            phases.delete_routes.push(Step::DeleteRoute { bridge, route: route.clone() });
        }
    }
    let flushed = flushed(built, lookup, phases);
    for ((v6, metric), (built, gateway)) in wanted {
        let same = || rivals.get(&(v6, metric)).into_iter().flatten();
        if same().any(|route| is(route, built, gateway)) && (v6 || !flushed.contains(&built.bridge)) {
            continue;
        }
        let foreign = same().find(|route| own(route, lookup).is_none() && !is(route, built, gateway));
        if let Some(foreign) = foreign {
            // No clash of the segment: guests need no route of the host's.
            phases.segment_notice(built.segment, Cause::Held, clash(&built.segment.bridge, gateway, foreign, lookup));
            continue;
        }
        let (bridge, index) = (built.segment.into(), built.bridge);
        let on_link = built.segment.host.as_ref().is_some_and(|host| host.is_on_link(gateway));
        phases.add_routes.push(Step::AddRoute { bridge, index, gateway, metric, on_link });
    }
}

/// The default routes of the manifest; names those that the kernel can never have.
fn wanted<'a, 'b>(built: &'b Built<'a>, phases: &mut Phases) -> Wanted<'a, 'b> {
    let mut wanted: Wanted<'_, '_> = BTreeMap::new();
    for built in &built.segments {
        let Some(host) = &built.segment.host else { continue };
        for gateway in &host.gateways {
            if gateway.is_ipv6() && !built.ipv6 {
                phases.segment_notice(built.segment, Cause::Held, no_ipv6(built, *gateway));
                continue;
            }
            let key = (gateway.is_ipv6(), metric(*gateway, host.metric));
            if let Some((first, other)) = wanted.get(&key) {
                let text = twice(&built.segment.bridge, *gateway, &first.segment.bridge, *other, key.1);
                phases.segment_notice(built.segment, Cause::Held, text);
            } else {
                wanted.insert(key, (built, *gateway));
            }
        }
    }
    wanted
}

/// The links on which IPv6 is about to be silenced.
fn silenced(lookup: &Lookup<'_>, phases: &Phases) -> BTreeSet<u32> {
    let index =
        |step: &Step| if let Step::SetIpv6 { link, .. } = step { lookup.named(link).map(|l| l.index) } else { None };
    phases.silence.iter().filter_map(index).collect()
}

/// The bridges whose last IPv4 address is about to go: the kernel drops their IPv4 routes with it.
fn flushed(built: &Built<'_>, lookup: &Lookup<'_>, phases: &Phases) -> BTreeSet<u32> {
    let deleted = |step: &Step| match step {
        Step::DeleteAddress { index, address, .. } => Some((*index, *address)),
        _ => None,
    };
    let goes: BTreeSet<_> = phases.delete_addresses.iter().filter_map(deleted).collect();
    let flushed = |index: &u32| {
        let mut on = lookup.addresses_on(*index).filter(|address| address.address.addr().is_ipv4()).peekable();
        on.peek().is_some() && on.all(|address| goes.contains(&(*index, address.address)))
    };
    built.segments.iter().map(|built| built.bridge).filter(flushed).collect()
}

fn metric(gateway: IpAddr, wanted: u32) -> u32 {
    if gateway.is_ipv6() && wanted == 0 { IPV6_METRIC } else { wanted }
}

fn key(route: &Route) -> Key {
    (route.destination.addr().is_ipv6(), route.metric)
}

fn is_default(route: &Route) -> bool {
    route.destination.prefix_len() == 0 && route.table == u32::from(RouteHeader::RT_TABLE_MAIN)
}

fn is(route: &Route, built: &BuiltSegment<'_>, gateway: IpAddr) -> bool {
    is_default(route) && route.gateway == Some(gateway) && route.index == Some(built.bridge)
}

/// Whether a route is declared on a bridge that is no longer in our group, and no other that can be made needs its place.
fn stays_on_foreign(route: &Route, wanted: &Wanted<'_, '_>, lookup: &Lookup<'_>) -> bool {
    let link = route.index.and_then(|index| lookup.link(index));
    let host = link.and_then(|link| lookup.declared_on_foreign(link));
    let declared = host.zip(route.gateway).is_some_and(|(host, gateway)| {
        host.gateways.contains(&gateway) && metric(gateway, host.metric) == route.metric
    });
    declared && is_default(route) && !wanted.contains_key(&key(route))
}

/// The ownership predicate: the link of the route if Bulkhead made it, by its protocol and by leading through one link.
fn own(route: &Route, lookup: &Lookup<'_>) -> Option<IfName> {
    let link = route.index.filter(|_| route.protocol == PROTOCOL).and_then(|index| lookup.link(index));
    link.and_then(|link| link.name.parse().ok())
}

fn no_ipv6(built: &BuiltSegment<'_>, gateway: IpAddr) -> String {
    let bridge = &built.segment.bridge;
    format!(
        "the default route via {gateway} ({bridge}) cannot be added: the host has no IPv6 on this segment; give it an IPv6 \
         address in `host`, or take the gateway out"
    )
}

fn twice(bridge: &IfName, gateway: IpAddr, first: &IfName, other: IpAddr, metric: u32) -> String {
    format!(
        "the default route via {gateway} ({bridge}) has the metric {metric} of the one via {other} ({first}), and the kernel takes \
         one; give them different metrics"
    )
}

fn clash(bridge: &IfName, gateway: IpAddr, foreign: &Route, lookup: &Lookup<'_>) -> String {
    let via = foreign.gateway.map(|ip| format!(" via {ip}")).unwrap_or_default();
    let dev = foreign.index.and_then(|index| lookup.link(index)).map(|link| format!(" dev {}", link.name));
    let (dev, metric, protocol) = (dev.unwrap_or_default(), foreign.metric, foreign.protocol);
    format!(
        "the default route via {gateway} ({bridge}) cannot be added: a foreign one{via}{dev} (protocol {protocol}) has the same \
         metric {metric}. It is left alone. Give the segment another `metric`, or `ip route delete default{via}{dev} metric \
         {metric}`"
    )
}
