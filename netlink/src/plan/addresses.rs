//! The host's own addresses.

use std::collections::BTreeSet;

use bulkhead_types::{Cause, IfName};
use ipnet::IpNet;

use super::{Draft, Site};
use crate::model::{Address, Observed, PROTOCOL};
use crate::step::{SegmentBridge, Step};

pub(super) fn plan(sites: &[Site<'_>], observed: &Observed, gone: &[u32], draft: &mut Draft) {
    for site in sites {
        bridge(site, observed, draft);
        if let Some(vlan) = site.vlan {
            port(site, vlan, observed, draft);
        }
    }
    elsewhere(sites, observed, gone, draft);
}

/// An address that the segment's bridge has and should not have.
enum Unwanted {
    /// It goes.
    Delete,
    /// It goes with `disable_ipv6`.
    Vanishes,
    /// It is somebody else's, and hurts no promise.
    Leave,
}

fn judge(site: &Site<'_>, address: &Address) -> Unwanted {
    if address.address.addr().is_ipv6() && !site.ipv6 {
        Unwanted::Vanishes
    } else if address.protocol == PROTOCOL || site.segment.host.is_none() {
        Unwanted::Delete
    } else {
        Unwanted::Leave
    }
}

fn bridge(site: &Site<'_>, observed: &Observed, draft: &mut Draft) {
    let wanted: &[IpNet] = site.segment.host.as_ref().map_or(&[], |host| &host.addresses);
    let name = &site.segment.bridge;
    let mut goes = Vec::new();
    for address in on(observed, site.bridge) {
        if wanted.contains(&address.address) {
            if address.duplicate {
                draft.segment_notice(site.segment, Cause::Held, duplicate(name, address));
            }
            continue;
        }
        match judge(site, address) {
            Unwanted::Vanishes => {}
            Unwanted::Delete => {
                if address.protocol != PROTOCOL {
                    draft.segment_notice(site.segment, Cause::Foreign, removed(name, address));
                }
                goes.push(address);
            }
            // Every link with IPv6 has a link-local address; neighbour discovery needs it.
            Unwanted::Leave if link_local(&address.address) => {}
            Unwanted::Leave => draft.segment_notice(site.segment, Cause::Foreign, left(name, address)),
        }
    }
    let lost = delete(&site.segment.into(), name.as_str(), &goes, observed, draft);
    let has = |address: &IpNet| !lost.contains(address) && on(observed, site.bridge).any(|a| a.address == *address);
    for address in wanted.iter().filter(|address| !has(address)) {
        draft.addresses.push(Step::AddAddress { bridge: site.segment.into(), index: site.bridge, address: *address });
    }
}

/// The VLAN link is only a port: whatever address it has came from elsewhere.
fn port(site: &Site<'_>, vlan: u32, observed: &Observed, draft: &mut Draft) {
    let link = &site.segment.vlan_link;
    let mut goes = Vec::new();
    for address in on(observed, vlan).filter(|address| address.address.addr().is_ipv4()) {
        match judge(site, address) {
            Unwanted::Leave => draft.segment_notice(site.segment, Cause::Foreign, left(link, address)),
            Unwanted::Vanishes => {}
            Unwanted::Delete => {
                if address.protocol != PROTOCOL {
                    draft.segment_notice(site.segment, Cause::Foreign, removed(link, address));
                }
                goes.push(address);
            }
        }
    }
    delete(&site.segment.into(), link.as_str(), &goes, observed, draft);
}

/// Addresses with our protocol number on links that are no segment's.
fn elsewhere(sites: &[Site<'_>], observed: &Observed, gone: &[u32], draft: &mut Draft) {
    let planned = |index: u32| sites.iter().any(|site| site.bridge == index || site.vlan == Some(index));
    let links = observed.links.values().filter(|link| !planned(link.index) && !gone.contains(&link.index));
    for link in links {
        let ours: Vec<&Address> = on(observed, link.index).filter(|address| address.protocol == PROTOCOL).collect();
        if let Ok(name) = link.name.parse::<IfName>() {
            delete(&SegmentBridge::left(name), &link.name, &ours, observed, draft);
        }
    }
}

/// Deletes addresses of one link, secondary ones first. Returns what has to be added again: with a primary address the
/// kernel deletes its secondary ones, unless `promote_secondaries` is set, so those that stay go and come back. Where that
/// would take a foreign address along, the primary one is held.
fn delete(
    bridge: &SegmentBridge,
    link: &str,
    goes: &[&Address],
    observed: &Observed,
    draft: &mut Draft,
) -> BTreeSet<IpNet> {
    let Ok(link) = link.parse::<IfName>() else { return BTreeSet::new() };
    let (mut secondary, mut primary, mut back) = (Vec::new(), Vec::new(), BTreeSet::new());
    for address in goes {
        if address.secondary {
            secondary.push(address.address);
            continue;
        }
        let follows = |other: &&Address| {
            let leaves = goes.iter().any(|a| a.address == other.address);
            other.secondary && !leaves && other.address.trunc() == address.address.trunc()
        };
        let followers: Vec<&Address> = on(observed, address.index).filter(follows).collect();
        if let Some(foreign) = followers.iter().find(|other| other.protocol != PROTOCOL) {
            draft.notice(bridge.object(), Cause::Held, held(&link, address, foreign));
            continue;
        }
        back.extend(followers.iter().map(|other| other.address));
        primary.push(address.address);
    }
    let index = goes.first().map_or(0, |address| address.index);
    secondary.extend(&back);
    for address in secondary.into_iter().chain(primary) {
        draft.unassigns.push(Step::DeleteAddress { bridge: bridge.clone(), link: link.clone(), index, address });
    }
    back
}

fn on(observed: &Observed, index: u32) -> impl Iterator<Item = &Address> {
    observed.addresses.iter().filter(move |address| address.index == index)
}

fn link_local(address: &IpNet) -> bool {
    matches!(address, IpNet::V6(net) if net.addr().is_unicast_link_local())
}

fn duplicate(name: &IfName, address: &Address) -> String {
    format!(
        "{} on {name} does not work: another station on the segment has it (duplicate address detection); give one of the two \
         another address",
        address.address
    )
}

fn removed(name: &IfName, address: &Address) -> String {
    format!(
        "{} on {name} is removed: the host has no part in this segment; to give it one, write `host = {{ address = [...] }}`",
        address.address
    )
}

fn left(name: &IfName, address: &Address) -> String {
    let address = address.address;
    format!(
        "{address} on {name} is not in the manifest and is left alone; declare it in `host`, or `ip address delete {address} \
         dev {name}`"
    )
}

fn held(name: &IfName, address: &Address, foreign: &Address) -> String {
    format!(
        "{} stays on {name} although it left the manifest: with it the kernel would delete {}, which is not ours; delete that \
         first, or `sysctl net.ipv4.conf.{name}.promote_secondaries=1`",
        address.address, foreign.address
    )
}
