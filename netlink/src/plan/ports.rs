//! Ports on our bridges: the VLAN link, the taps of declared NICs, and whatever else somebody put there.

use std::collections::BTreeSet;

use bulkhead_types::{Cause, IfName, Object};

use super::{Built, BuiltSegment, Phases};
use crate::lookup::Lookup;
use crate::model::{Kind, Link, Port, PortFlags};
use crate::step::{SegmentBridge, Step};

pub(super) fn plan(built: &Built<'_>, lookup: &Lookup<'_>, gone: &BTreeSet<u32>, phases: &mut Phases) {
    for segment in &built.segments {
        if let Some(link) = segment.vlan.and_then(|index| lookup.link(index)) {
            uplink(segment, link, phases);
        }
        for link in lookup.ports_of(segment.bridge).filter(|link| link.own().is_none()) {
            if lookup.declared_port(link).is_none() {
                undeclared(segment, link, phases);
            }
        }
    }
    for (name, port) in lookup.declared_ports() {
        let Some(link) = lookup.named(name).filter(|link| link.own().is_none()) else { continue };
        match built.by_bridge(&port.bridge).filter(|segment| link.master == Some(segment.bridge)) {
            Some(segment) => guest(segment, name, port, link, lookup, phases),
            None => misplaced(name, port, link, lookup, gone, phases),
        }
    }
}

/// The VLAN link's flags, whatever somebody set. One that was no port of this bridge gets the kernel's when it becomes one.
fn uplink(built: &BuiltSegment<'_>, link: &Link, phases: &mut Phases) {
    let stays = link.master == Some(built.bridge);
    let wanted = PortFlags::uplink(link.port.is_some_and(|flags| flags.locked.is_some()));
    if !stays || link.port != Some(wanted) {
        phases.ports.push(Step::ChangePort {
            bridge: built.segment.into(),
            port: built.segment.vlan_link.clone(),
            index: link.index,
            flags: wanted,
            mtu: None,
        });
    }
}

fn undeclared(built: &BuiltSegment<'_>, link: &Link, phases: &mut Phases) {
    let (bridge, name) = (&built.segment.bridge, &link.name);
    let text = format!(
        "{name} ({}, ifindex {}) is a port of {bridge} and no declared NIC's; nothing passes through it. Remove it with `ip link \
         set {name} nomaster`, or declare its NIC",
        link.kind.name(),
        link.index
    );
    phases.segment_notice(built.segment, Cause::Foreign, text);
}

fn guest(built: &BuiltSegment<'_>, name: &IfName, port: &Port, link: &Link, lookup: &Lookup<'_>, phases: &mut Phases) {
    let (bridge, index) = (SegmentBridge::from(built.segment), link.index);
    let Some(flags) = link.port.filter(|_| link.unread.is_none()) else {
        let why = link.unread.as_deref().unwrap_or("it names none");
        let text = format!(
            "what the kernel says of {name} on {bridge} cannot be decoded ({why}), so its port flags are not set"
        );
        phases.segment_notice(built.segment, Cause::Unknown, text);
        return;
    };
    if flags.locked.is_none() {
        let text =
            format!("{name} is not locked to its address: the kernel is older than 5.16; the policy alone pins it");
        phases.segment_notice(built.segment, Cause::Unsupported, text);
    }
    // The host's own end of the port would tell the guest the host's address, and ask it for routers. Last, since the addresses
    // that go with IPv6 may be ours, and were planned to go by themselves.
    if link.ipv6 == Some(true) {
        phases.ports.push(Step::SetIpv6 { bridge: bridge.clone(), link: name.clone(), on: false });
    }
    let wanted = PortFlags::guest(flags.locked.is_some());
    let mtu = (link.mtu != built.mtu).then_some(built.mtu);
    if flags != wanted || mtu.is_some() {
        let (bridge, port) = (bridge.clone(), name.clone());
        phases.ports.push(Step::ChangePort { bridge, port, index, flags: wanted, mtu });
    }
    for (mac, _) in lookup.fdb_of(index).filter(|(mac, _)| *mac != port.mac) {
        phases.ports.push(Step::DeleteFdb { bridge: bridge.clone(), port: name.clone(), index, mac });
    }
    if !lookup.fdb_of(index).any(|entry| entry == (port.mac, true)) {
        phases.ports.push(Step::AddFdb { bridge: bridge.clone(), port: name.clone(), index, mac: port.mac });
    }
    // Where somebody made it a VLAN link, it comes up with the link that carries it, and not before.
    let carrier =
        if let Kind::Vlan { parent, .. } = link.kind { parent.and_then(|index| lookup.link(index)) } else { None };
    if !link.up && carrier.is_none_or(|carrier| carrier.up) {
        phases.ports.push(Step::PortUp { bridge, port: name.clone(), index });
    }
}

/// A declared port that stands somewhere else: it is not ours to move, and where another bridge has it, the policy drops by its name what passes it.
fn misplaced(name: &IfName, port: &Port, link: &Link, lookup: &Lookup<'_>, gone: &BTreeSet<u32>, phases: &mut Phases) {
    let master = link.master.filter(|index| !gone.contains(index)).and_then(|index| lookup.link(index));
    let bridge = &port.bridge;
    if master.is_some_and(|master| master.own().is_none() && master.name == bridge.as_str()) {
        let text = format!(
            "{name} stands on {bridge}, which is not in our group: its flags, its MTU and its MAC entry there are not set. The \
             policy goes by the bridge's name and holds. Its segment says what to do with {bridge}"
        );
        return phases.notice(Object::Segment(port.segment.clone()), Cause::Held, text);
    }
    let (cause, stands, passes) = match master {
        None => (Cause::Held, "on no bridge".to_owned(), "nothing passes through it"),
        Some(master) if matches!(master.kind, Kind::Bridge(_)) => {
            (Cause::Held, format!("on {}", master.name), "nothing passes through it")
        }
        // The rules of bridges do not see what another kind of link switches.
        Some(master) => {
            let stands = format!("on {}, which is no bridge ({})", master.name, master.kind.name());
            (Cause::Violation, stands, "what passes through it there is not filtered")
        }
    };
    let text = format!(
        "{name} stands {stands} and belongs on {bridge}; {passes}. Put it back with `ip link set {name} master {bridge}`, or \
         restart its guest"
    );
    phases.notice(Object::Segment(port.segment.clone()), cause, text);
}
