//! The host's own addresses.

use std::collections::BTreeSet;

use bulkhead_types::{Cause, IfName};
use ipnet::IpNet;

use super::links::IPV6_MIN_MTU;
use super::{Built, BuiltSegment, Phases};
use crate::lookup::Lookup;
use crate::model::{Address, LINK_GROUP, PROTOCOL};
use crate::step::{SegmentBridge, Step};

pub(super) fn plan(built: &Built<'_>, lookup: &Lookup<'_>, gone: &BTreeSet<u32>, phases: &mut Phases) {
    for segment in &built.segments {
        bridge(segment, lookup, phases);
        if let Some(vlan) = segment.vlan {
            port(segment, vlan, lookup, phases);
        }
    }
    on_other_links(built, lookup, gone, phases);
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

fn judge(built: &BuiltSegment<'_>, address: &Address) -> Unwanted {
    if address.address.addr().is_ipv6() && !built.ipv6 {
        Unwanted::Vanishes
    } else if address.protocol == PROTOCOL || built.segment.host.is_none() {
        Unwanted::Delete
    } else {
        Unwanted::Leave
    }
}

fn bridge(built: &BuiltSegment<'_>, lookup: &Lookup<'_>, phases: &mut Phases) {
    let (segment, name) = (built.segment, &built.segment.bridge);
    let declared: &[IpNet] = segment.host.as_ref().map_or(&[], |host| &host.addresses);
    let mut goes = Vec::new();
    for address in lookup.addresses_on(built.bridge) {
        if declared.contains(&address.address) {
            if address.duplicate {
                phases.segment_notice(segment, Cause::Held, duplicate(name, address));
            }
            continue;
        }
        match judge(built, address) {
            Unwanted::Vanishes => {}
            Unwanted::Delete => {
                if address.protocol != PROTOCOL {
                    phases.segment_notice(segment, Cause::Foreign, removed(name, address));
                }
                goes.push(address);
            }
            // Every link with IPv6 has a link-local address; neighbour discovery needs it.
            Unwanted::Leave if link_local(&address.address) => {}
            Unwanted::Leave => phases.segment_notice(segment, Cause::Foreign, left(name, address)),
        }
    }
    let lost = delete(&segment.into(), name.as_str(), &goes, lookup, phases);
    let there: BTreeSet<IpNet> = lookup.addresses_on(built.bridge).map(|address| address.address).collect();
    for address in declared.iter().filter(|address| lost.contains(*address) || !there.contains(*address)) {
        if address.addr().is_ipv6() && !built.ipv6 {
            phases.segment_notice(segment, Cause::Held, no_ipv6(name, *address, built.mtu));
        } else {
            phases.add_addresses.push(Step::AddAddress {
                bridge: segment.into(),
                index: built.bridge,
                address: *address,
            });
        }
    }
}

/// The VLAN link is only a port: whatever address it has, somebody else gave it.
fn port(built: &BuiltSegment<'_>, vlan: u32, lookup: &Lookup<'_>, phases: &mut Phases) {
    let (segment, link) = (built.segment, &built.segment.vlan_link);
    let mut goes = Vec::new();
    for address in lookup.addresses_on(vlan).filter(|address| address.address.addr().is_ipv4()) {
        match judge(built, address) {
            Unwanted::Leave => phases.segment_notice(segment, Cause::Foreign, left(link, address)),
            Unwanted::Vanishes => {}
            Unwanted::Delete => {
                if address.protocol != PROTOCOL {
                    phases.segment_notice(segment, Cause::Foreign, removed(link, address));
                }
                goes.push(address);
            }
        }
    }
    delete(&segment.into(), link.as_str(), &goes, lookup, phases);
}

/// Deletes addresses with our protocol number from links that are no segment's, but for those that are declared on a bridge that
/// is no longer in our group: without them the host may be out of reach.
fn on_other_links(built: &Built<'_>, lookup: &Lookup<'_>, gone: &BTreeSet<u32>, phases: &mut Phases) {
    let segments = built.segments.iter();
    let planned: BTreeSet<u32> = segments.flat_map(|built| [Some(built.bridge), built.vlan]).flatten().collect();
    for link in lookup.links().filter(|link| !planned.contains(&link.index) && !gone.contains(&link.index)) {
        let declared: &[IpNet] = lookup.declared_on_foreign(link).map_or(&[], |host| &host.addresses);
        let (stay, mut goes): (Vec<&Address>, Vec<&Address>) = lookup
            .addresses_on(link.index)
            .filter(|address| address.protocol == PROTOCOL)
            .partition(|address| declared.contains(&address.address));
        let Ok(name) = link.name.parse::<IfName>() else { continue };
        let bridge = SegmentBridge::left(name.clone());
        // With a primary address the kernel deletes its secondary ones, and on a foreign link none is added again.
        goes.retain(|address| {
            let shares = |other: &&&Address| other.secondary && other.address.trunc() == address.address.trunc();
            let declared = stay.iter().find(shares).filter(|_| !address.secondary);
            if let Some(declared) = declared {
                phases.notice(bridge.object(), Cause::Held, kept_for_declared(&name, address, declared));
            }
            declared.is_none()
        });
        delete(&bridge, &link.name, &goes, lookup, phases);
    }
}

/// Deletes addresses of one link, secondary ones first. Returns what has to be added again: with a primary address the
/// kernel deletes its secondary ones, unless `promote_secondaries` is set, so those that stay go and come back. Where that
/// would take a foreign address along, the primary one is held.
fn delete(
    bridge: &SegmentBridge,
    link: &str,
    goes: &[&Address],
    lookup: &Lookup<'_>,
    phases: &mut Phases,
) -> BTreeSet<IpNet> {
    let Ok(link) = link.parse::<IfName>() else { return BTreeSet::new() };
    let (mut secondary, mut primary, mut back) = (Vec::new(), Vec::new(), BTreeSet::new());
    for address in goes {
        if address.secondary {
            secondary.push(address.address);
            continue;
        }
        let is_secondary = |other: &&Address| {
            let leaves = goes.iter().any(|a| a.address == other.address);
            other.secondary && !leaves && other.address.trunc() == address.address.trunc()
        };
        let secondaries: Vec<&Address> = lookup.addresses_on(address.index).filter(is_secondary).collect();
        if let Some(foreign) = secondaries.iter().find(|other| other.protocol != PROTOCOL) {
            phases.notice(bridge.object(), Cause::Held, held(&link, address, foreign));
            continue;
        }
        back.extend(secondaries.iter().map(|other| other.address));
        primary.push(address.address);
    }
    let index = goes.first().map_or(0, |address| address.index);
    secondary.extend(&back);
    for address in secondary.into_iter().chain(primary) {
        phases.delete_addresses.push(Step::DeleteAddress {
            bridge: bridge.clone(),
            link: link.clone(),
            index,
            address,
        });
    }
    back
}

fn link_local(address: &IpNet) -> bool {
    matches!(address, IpNet::V6(net) if net.addr().is_unicast_link_local())
}

fn no_ipv6(name: &IfName, address: IpNet, mtu: u32) -> String {
    let why = if mtu < IPV6_MIN_MTU {
        format!("a link whose MTU is below {IPV6_MIN_MTU} has no IPv6, and its MTU is {mtu}")
    } else {
        "this kernel has no IPv6 (was it started with `ipv6.disable=1`?)".to_owned()
    };
    format!("{address} on {name} cannot be added: {why}")
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

fn kept_for_declared(name: &IfName, address: &Address, declared: &Address) -> String {
    format!(
        "{} stays on {name} although it left the manifest: with it the kernel would delete {}, which is declared, and nothing is \
         added to {name} while it is not in our group; `ip link set {name} group {LINK_GROUP}` gives it back",
        address.address, declared.address
    )
}

fn held(name: &IfName, address: &Address, foreign: &Address) -> String {
    format!(
        "{} stays on {name} although it left the manifest: with it the kernel would delete {}, which is not ours; delete that \
         first, or `sysctl net.ipv4.conf.{name}.promote_secondaries=1`",
        address.address, foreign.address
    )
}
