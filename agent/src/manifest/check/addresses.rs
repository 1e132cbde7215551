//! The addresses and MACs of guests: each once, and where its segment can reach it.

use std::net::IpAddr;

use bulkhead_types::{GuestName, Mac, SegmentName};
use ipnet::IpNet;

use super::claims::Claims;
use super::{host, links};
use crate::manifest::identity;
use crate::manifest::location::Located;
use crate::manifest::problem::Problems;
use crate::manifest::tables::Tables;
use crate::manifest::value::{Entry, special};
use crate::manifest::wire::{Nic, Segment};

/// What is taken so far.
struct Taken<'a> {
    macs: Claims<Mac>,
    here: Claims<(&'a SegmentName, IpAddr)>,
    anywhere: Claims<IpAddr>,
}

pub(super) fn check(tables: &Tables, problems: &mut Problems) {
    let mut taken = Taken { macs: Claims::new(), here: Claims::new(), anywhere: Claims::new() };
    for guest in &tables.guests.0 {
        for nic in guest.table.nic.iter().flat_map(|nics| &nics.value.0) {
            mac(&guest.name, nic, &mut taken, problems);
            speaks(nic, problems);
            let Some(segment) = tables.segments.get(&nic.name) else {
                links::no_segment(&nic.location, &nic.name, tables, problems);
                continue;
            };
            for address in nic.table.address.iter().flat_map(|list| &list.value.0) {
                once(address, segment, nic, &mut taken, problems);
                belongs(address, nic, &segment.table, problems);
            }
        }
    }
}

fn mac(guest: &GuestName, nic: &Entry<SegmentName, Nic>, taken: &mut Taken<'_>, problems: &mut Problems) {
    let declared = nic.table.mac.as_ref();
    let mac = declared.map_or_else(|| identity::nic_mac(guest, &nic.name), |at| at.value);
    let location = declared.map_or(&nic.location, |at| &at.location);
    if let Some((first, earlier)) = taken.macs.claim(mac, location, &nic.location.key) {
        problems
            .error(location, format!("{earlier} and {} have the same MAC {mac}", nic.location.key))
            .label(if declared.is_some() { "again" } else { "derived for this one" })
            .also(&first, format!("first for {earlier}"))
            .help(if declared.is_some() {
                "leave it out: then it is derived"
            } else {
                "write mac = \"52:54:00:...\" at one of them"
            });
    }
}

/// Whether the NIC can say anything at all.
fn speaks(nic: &Entry<SegmentName, Nic>, problems: &mut Problems) {
    let addresses = nic.table.address.as_ref();
    if problems.within(nic.location.file, &nic.location.key) {
        return;
    }
    let v4 = addresses.is_some_and(|list| list.value.0.iter().any(|at| at.value.is_ipv4()));
    match nic.table.dhcp.as_ref().filter(|dhcp| dhcp.value) {
        Some(dhcp) if !v4 => {
            problems
                .error(&dhcp.location, format!("`{}` needs an IPv4 address beside it", dhcp.location.key))
                .label("dhcp needs an address until leases are learned")
                .help("write address = [\"...\"] with the address that the DHCP server gives this MAC");
        }
        None if addresses.is_none() => {
            problems
                .absent_warning(&nic.location, format!("`{}` has no address", nic.location.key))
                .label("it can send neither IPv4 nor IPv6")
                .help("write address = [\"...\"]");
        }
        _ => {}
    }
}

fn once<'a>(
    at: &Located<IpAddr>,
    segment: &'a Entry<SegmentName, Segment>,
    nic: &Entry<SegmentName, Nic>,
    taken: &mut Taken<'a>,
    problems: &mut Problems,
) {
    let holder = &nic.location.key;
    if let Some((first, earlier)) = taken.here.claim((&segment.name, at.value), &at.location, holder) {
        problems
            .error(&at.location, format!("{earlier} and {holder} have the same address {}", at.value))
            .label("again")
            .also(&first, format!("first for {earlier}"))
            .help("write another address at one of them");
    } else if let Some((first, earlier)) = taken.anywhere.claim(at.value, &at.location, holder) {
        problems
            .warning(&at.location, format!("{earlier} and {holder} have the same address {} on two segments", at.value))
            .label("again, on another segment")
            .also(&first, format!("first for {earlier}"))
            .help("right only where both segments use the same network on purpose");
    }
}

fn belongs(at: &Located<IpAddr>, nic: &Entry<SegmentName, Nic>, segment: &Segment, problems: &mut Problems) {
    let nets = host::addresses(segment);
    if let Some(own) = nets.iter().find(|own| own.value.addr() == at.value) {
        problems
            .error(&at.location, format!("`{}` is {}, the host's own address", at.location.key, at.value))
            .label("taken")
            .also(&own.location, "by the host")
            .help("write another address");
        return;
    }
    if let Some(gateway) = host::gateways(segment).iter().find(|gateway| gateway.value == at.value) {
        problems
            .warning(&at.location, format!("`{}` is {}, the gateway of the segment", at.location.key, at.value))
            .label("the guest takes the gateway's address")
            .also(&gateway.location, "the host's gateway")
            .help("right only if this guest is the router");
    }
    // A single address of the host's says nothing of the segment's network.
    let family = nets.iter().filter(|own| own.value.addr().is_ipv4() == at.value.is_ipv4());
    let family: Vec<&Located<IpNet>> = family.filter(|own| !host::is_single(&own.value)).collect();
    let inside = family.iter().find(|own| own.value.contains(&at.value));
    let link_local = matches!(at.value, IpAddr::V6(v6) if v6.is_unicast_link_local());
    match inside {
        Some(own) => {
            let what = IpNet::new(at.value, own.value.prefix_len()).ok().and_then(|net| special(&net));
            if let Some(what) = what {
                problems
                    .error(
                        &at.location,
                        format!("`{}` is {}, the {what} of {}", at.location.key, at.value, own.value.trunc()),
                    )
                    .also(&own.location, "the segment's network")
                    .help("write an address between the network's own and its broadcast address");
            }
        }
        None if !family.is_empty() && !link_local => {
            let networks: Vec<String> = family.iter().map(|own| own.value.trunc().to_string()).collect();
            let within = |at: &Located<IpAddr>| family.iter().any(|own| own.value.contains(&at.value));
            // Hosters route single addresses to a guest that has one of the network too; alone it is a slip.
            let extra = nic.table.address.iter().flat_map(|list| &list.value.0).any(within);
            let title = format!("`{}` is {}, outside its segment's network", at.location.key, at.value);
            let (problem, help) = if extra {
                (problems.warning(&at.location, title), "right only where somebody routes it to this guest")
            } else {
                let help =
                    "write an address within it; others may stand beside one that is, where they are routed to it";
                (problems.error(&at.location, title), help)
            };
            problem.label(format!("not in {}", networks.join(" or in "))).help(help);
            for own in family {
                problem.also(&own.location, "the segment's network, by the host's address");
            }
        }
        None => {}
    }
}
