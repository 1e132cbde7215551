//! Default routes through segments where the host speaks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bulkhead_types::{Cause, IfName};
use ipnet::IpNet;
use netlink_packet_route::route::RouteHeader;

use super::{Draft, Site};
use crate::model::{Observed, PROTOCOL, Route};
use crate::step::{SegmentBridge, Step};

/// What the kernel makes of metric 0 in IPv6 (`IP6_RT_PRIO_USER`).
const IPV6_METRIC: u32 = 1024;

pub(super) fn plan(sites: &[Site<'_>], observed: &Observed, gone: &[u32], draft: &mut Draft) {
    let mut wanted: BTreeMap<(bool, u32), (&Site<'_>, IpAddr)> = BTreeMap::new();
    for site in sites {
        let Some(host) = &site.segment.host else { continue };
        for gateway in &host.gateways {
            let key = (gateway.is_ipv6(), metric(*gateway, host.metric));
            if let Some((first, other)) = wanted.get(&key) {
                let text = twice(&site.segment.bridge, *gateway, &first.segment.bridge, *other, key.1);
                draft.segment_notice(site.segment, Cause::Clash, text);
            } else {
                wanted.insert(key, (site, *gateway));
            }
        }
    }
    let hushed = hushed(observed, draft);
    // The kernel deletes the routes of a link with it, and those of IPv6 with that.
    let stays = |route: &&Route| {
        let v6 = route.destination.addr().is_ipv6();
        route.index.is_none_or(|index| !(gone.contains(&index) || v6 && hushed.contains(&index)))
    };
    for route in observed.routes.iter().filter(stays) {
        let serves = wanted.get(&key(route)).is_some_and(|(site, gateway)| is(route, site, *gateway));
        if let Some(link) = own(route, observed).filter(|_| !serves) {
            let site = sites.iter().find(|site| site.segment.bridge == link);
            let bridge = site.map_or_else(|| SegmentBridge::left(link), |site| site.segment.into());
            draft.unroutes.push(Step::DeleteRoute { bridge, route: route.clone() });
        }
    }
    for ((_, metric), (site, gateway)) in &wanted {
        let rivals = || observed.routes.iter().filter(|route| is_default(route) && stays(route));
        let mut same = rivals().filter(|route| key(route) == (gateway.is_ipv6(), *metric));
        let bridge = &site.segment.bridge;
        if same.clone().any(|route| is(route, site, *gateway)) && !flushed(site, *gateway, observed, draft) {
            continue;
        }
        let foreign = same.find(|route| own(route, observed).is_none() && !is(route, site, *gateway));
        if let Some(foreign) = foreign {
            draft.segment_notice(site.segment, Cause::Clash, clash(bridge, *gateway, foreign, observed));
            continue;
        }
        let (bridge, gateway, metric) = (site.segment.into(), *gateway, *metric);
        draft.routes.push(Step::AddRoute { bridge, index: site.bridge, gateway, metric });
    }
}

/// The links on which IPv6 is about to be silenced.
fn hushed(observed: &Observed, draft: &Draft) -> Vec<u32> {
    let index =
        |step: &Step| if let Step::SetIpv6 { link, .. } = step { observed.link(link).map(|l| l.index) } else { None };
    draft.hushes.iter().filter_map(index).collect()
}

/// Whether the kernel drops the routes of the bridge before they are looked for: it does so with the last IPv4 address.
fn flushed(site: &Site<'_>, gateway: IpAddr, observed: &Observed, draft: &Draft) -> bool {
    let goes = |wanted: IpNet| {
        let deletes = |step: &Step| matches!(step, Step::DeleteAddress { index, address, .. } if *index == site.bridge && *address == wanted);
        draft.unassigns.iter().any(deletes)
    };
    let on = || observed.addresses.iter().filter(|a| a.index == site.bridge && a.address.addr().is_ipv4());
    gateway.is_ipv4() && on().next().is_some() && on().all(|a| goes(a.address))
}

fn metric(gateway: IpAddr, wanted: u32) -> u32 {
    if gateway.is_ipv6() && wanted == 0 { IPV6_METRIC } else { wanted }
}

fn key(route: &Route) -> (bool, u32) {
    (route.destination.addr().is_ipv6(), route.metric)
}

fn is_default(route: &Route) -> bool {
    route.destination.prefix_len() == 0 && route.table == u32::from(RouteHeader::RT_TABLE_MAIN)
}

fn is(route: &Route, site: &Site<'_>, gateway: IpAddr) -> bool {
    is_default(route) && route.gateway == Some(gateway) && route.index == Some(site.bridge)
}

/// The ownership predicate: the link of the route if Bulkhead made it, by its protocol and by leading through one link.
fn own(route: &Route, observed: &Observed) -> Option<IfName> {
    let link = route.index.filter(|_| route.protocol == PROTOCOL).and_then(|index| observed.links.get(index));
    link.and_then(|link| link.name.parse().ok())
}

fn twice(bridge: &IfName, gateway: IpAddr, first: &IfName, other: IpAddr, metric: u32) -> String {
    format!(
        "the default route via {gateway} ({bridge}) has the metric {metric} of the one via {other} ({first}), and the kernel takes \
         one; give them different metrics"
    )
}

fn clash(bridge: &IfName, gateway: IpAddr, foreign: &Route, observed: &Observed) -> String {
    let via = foreign.gateway.map(|ip| format!(" via {ip}")).unwrap_or_default();
    let dev = foreign.index.and_then(|index| observed.links.get(index)).map(|link| format!(" dev {}", link.name));
    let (dev, metric, protocol) = (dev.unwrap_or_default(), foreign.metric, foreign.protocol);
    format!(
        "the default route via {gateway} ({bridge}) cannot be added: a foreign one{via}{dev} (protocol {protocol}) has the same \
         metric {metric}. It is left alone. Give the segment another `metric`, or `ip route delete default{via}{dev} metric \
         {metric}`"
    )
}
