//! The host's own addresses and gateways.

use std::net::IpAddr;

use bulkhead_netlink::model::DEFAULT_METRIC;
use bulkhead_types::SegmentName;
use ipnet::IpNet;

use super::claims::Claims;
use crate::manifest::location::Located;
use crate::manifest::problem::Problems;
use crate::manifest::tables::Tables;
use crate::manifest::value::{Entry, special};
use crate::manifest::wire::{Host, Segment};

pub(super) fn check(tables: &Tables, problems: &mut Problems) {
    let mut gateways = Claims::new();
    let mut earlier: Vec<(&SegmentName, &Located<IpNet>)> = Vec::new();
    for Entry { name, table, .. } in &tables.segments.0 {
        let Some(host) = &table.host else { continue };
        single(host, problems);
        overlaps(&earlier, name, &host.value, problems);
        earlier.extend(addresses(table).iter().map(|at| (name, at)));
        for gateway in host.value.gateway.iter().flat_map(|list| &list.value.0) {
            let metric = host.value.metric.as_ref().map_or(DEFAULT_METRIC, |metric| metric.value.0);
            one_of_a_family(gateway, metric, name, &mut gateways, problems);
            reachable(gateway, host, problems);
            link_local(gateway, host, problems);
        }
        for server in host.value.dns.iter().flat_map(|list| &list.value.0) {
            link_local(server, host, problems);
        }
        if let (Some(metric), None) = (&host.value.metric, &host.value.gateway) {
            problems
                .absent_warning(&metric.location, format!("`{}` is of no route", metric.location.key))
                .label("there is no gateway here")
                .help("leave it out, or write gateway = \"...\" beside it");
        }
    }
}

/// The host's addresses on a segment.
pub(super) fn addresses(segment: &Segment) -> &[Located<IpNet>] {
    segment.host.as_ref().and_then(|host| host.value.address.as_ref()).map_or(&[], |list| &list.value.0)
}

/// The host's gateways on a segment.
pub(super) fn gateways(segment: &Segment) -> &[Located<IpAddr>] {
    segment.host.as_ref().and_then(|host| host.value.gateway.as_ref()).map_or(&[], |list| &list.value.0)
}

fn overlaps(earlier: &[(&SegmentName, &Located<IpNet>)], name: &SegmentName, host: &Host, problems: &mut Problems) {
    for at in host.address.iter().flat_map(|list| &list.value.0) {
        let overlap = |other: &IpNet| other.contains(&at.value.network()) || at.value.contains(&other.network());
        let Some((other, first)) = earlier.iter().find(|(_, first)| overlap(&first.value)) else { continue };
        let title = if first.value.addr() == at.value.addr() {
            format!("the host has the address {} on segment.{} and on segment.{}", at.value.addr(), other, name)
        } else {
            format!(
                "the host is in {} on segment.{} and in {} on segment.{}",
                first.value.trunc(),
                other,
                at.value.trunc(),
                name
            )
        };
        problems
            .error(&at.location, title)
            .label("which segment a packet leaves by would be chance")
            .also(&first.location, "the other one")
            .help("write networks that do not overlap");
    }
}

fn one_of_a_family(
    gateway: &Located<IpAddr>,
    metric: u32,
    name: &SegmentName,
    claims: &mut Claims<(bool, u32)>,
    problems: &mut Problems,
) {
    let family = if gateway.value.is_ipv4() { "IPv4" } else { "IPv6" };
    let holder = format!("default gateway of segment.{}", name);
    if let Some((first, earlier)) = claims.claim((gateway.value.is_ipv4(), metric), &gateway.location, &holder) {
        problems
            .error(&gateway.location, format!("the host has two default gateways for {family} of one metric"))
            .label(holder)
            .also(&first, earlier)
            .help("keep the one that leads to the rest of the world, or write another metric at one: the lower wins");
    }
}

/// IPv6 is off on a bridge where the host has no address of it, and with it the link-local addresses.
fn link_local(at: &Located<IpAddr>, host: &Located<Host>, problems: &mut Problems) {
    let IpAddr::V6(v6) = at.value else { return };
    let addresses: &[Located<IpNet>] = host.value.address.as_ref().map_or(&[], |list| &list.value.0);
    let key = format!("{}.address", host.location.key);
    let unknown = addresses.is_empty() || problems.within(host.location.file, &key);
    if !v6.is_unicast_link_local() || unknown || addresses.iter().any(|own| own.value.addr().is_ipv6()) {
        return;
    }
    let problem =
        problems.error(&at.location, format!("`{}` is {v6}, and the host has no IPv6 address here", at.location.key));
    problem.label("IPv6 is off on this segment");
    for own in addresses {
        problem.also(&own.location, "the host has IPv4 alone");
    }
    problem.help("write an IPv6 address of the host beside it, such as \"fd00:20::30/64\", or leave this one out");
}

/// Whether a network is of its one address, as hosters give them: it has no neighbour, and all goes by the gateway.
pub(super) fn is_single(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

/// A single address needs its gateway, which is then on the link.
fn single(host: &Located<Host>, problems: &mut Problems) {
    let gateways: &[Located<IpAddr>] = host.value.gateway.as_ref().map_or(&[], |list| &list.value.0);
    let key = format!("{}.gateway", host.location.key);
    if problems.within(host.location.file, &key) {
        return;
    }
    for own in host.value.address.iter().flat_map(|list| &list.value.0).filter(|own| is_single(&own.value)) {
        let v4 = own.value.addr().is_ipv4();
        if gateways.iter().any(|gateway| gateway.value.is_ipv4() == v4) {
            continue;
        }
        let (prefix, example) = if v4 { ("/24", "10.13.37.1") } else { ("/64", "fe80::1") };
        problems
            .error(
                &own.location,
                format!(
                    "`{}` is {}, a network of this one address, where the host has no neighbour",
                    own.location.key, own.value
                ),
            )
            .label(format!("and no {} gateway to reach others by", if v4 { "IPv4" } else { "IPv6" }))
            .help(format!(
                "write the segment's prefix length, such as {prefix}, or the gateway beside it: gateway = {}",
                with(gateways, example)
            ));
    }
}

/// These gateways and one more, as TOML.
fn with(gateways: &[Located<IpAddr>], more: &str) -> String {
    let all: Vec<String> = gateways.iter().map(|at| at.value.to_string()).chain([more.to_owned()]).collect();
    match all.as_slice() {
        [one] => format!("{one:?}"),
        all => format!("{all:?}"),
    }
}

fn reachable(gateway: &Located<IpAddr>, host: &Located<Host>, problems: &mut Problems) {
    let addresses: &[Located<IpNet>] = host.value.address.as_ref().map_or(&[], |list| &list.value.0);
    let key = format!("{}.address", host.location.key);
    if addresses.is_empty() || problems.within(host.location.file, &key) {
        return;
    }
    if let Some(own) = addresses.iter().find(|own| own.value.addr() == gateway.value) {
        problems
            .error(&gateway.location, format!("`{}` is the host's own address", gateway.location.key))
            .label("the host would send to itself")
            .also(&own.location, "its own address")
            .help("write the router's address");
        return;
    }
    // A link-local gateway is on every segment: the route names the bridge.
    let link_local = matches!(gateway.value, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let Some(net) = addresses.iter().find(|own| own.value.contains(&gateway.value)) else {
        let v4 = gateway.value.is_ipv4();
        let family = || addresses.iter().filter(|own| own.value.addr().is_ipv4() == v4);
        if !link_local && !family().any(|own| is_single(&own.value)) {
            let nets: Vec<String> = family().map(|own| own.value.trunc().to_string()).collect();
            let problem = problems.error(
                &gateway.location,
                format!("`{}` is {}, outside every address of the host here", gateway.location.key, gateway.value),
            );
            problem.label(match nets.as_slice() {
                [] => format!("the host has no {} address here", if v4 { "IPv4" } else { "IPv6" }),
                nets => format!("not in {}", nets.join(" or in ")),
            });
            for own in family() {
                problem.also(&own.location, "the host is here");
            }
            problem.help("write a gateway within the host's own network, or add an address in the gateway's network");
        }
        return;
    };
    let within = IpNet::new(gateway.value, net.value.prefix_len()).ok();
    if let Some(what) = within.and_then(|net| special(&net)) {
        problems
            .error(&gateway.location, format!("`{}` is the {what} of {}", gateway.location.key, net.value.trunc()))
            .also(&net.location, "the host is here")
            .help("write the router's own address");
    }
}
