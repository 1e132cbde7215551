//! Ports on our bridges: the VLAN link, the taps of declared NICs, and whatever else somebody put there.

use bulkhead_types::{Cause, IfName, Object};

use super::{Draft, Site};
use crate::model::{Desired, Link, Observed, Port, PortFlags};
use crate::step::{SegmentBridge, Step};

pub(super) fn plan(desired: &Desired, sites: &[Site<'_>], observed: &Observed, gone: &[u32], draft: &mut Draft) {
    for site in sites {
        if let Some(link) = site.vlan.and_then(|index| observed.links.get(index)) {
            uplink(site, link, draft);
        }
        let ports = observed.links.values().filter(|link| link.master == Some(site.bridge) && link.own().is_none());
        for link in ports {
            if !desired.ports.keys().any(|name| name.as_str() == link.name) {
                stranger(site, link, draft);
            }
        }
    }
    for (name, port) in &desired.ports {
        let Some(link) = observed.link(name).filter(|link| link.own().is_none()) else { continue };
        let site = sites.iter().find(|site| site.segment.bridge == port.bridge);
        match site.filter(|site| link.master == Some(site.bridge)) {
            Some(site) => guest(site, name, port, link, observed, draft),
            None => elsewhere(name, port, link, observed, gone, draft),
        }
    }
}

/// The VLAN link keeps the kernel's defaults, whatever somebody set.
fn uplink(site: &Site<'_>, link: &Link, draft: &mut Draft) {
    // A link that was no port of this bridge gets the defaults when it becomes one.
    let Some(flags) = link.port.filter(|_| link.master == Some(site.bridge)) else { return };
    let wanted = PortFlags::uplink(flags.locked.is_some());
    if flags != wanted {
        draft.ports.push(Step::ChangePort {
            bridge: site.segment.into(),
            port: site.segment.vlan_link.clone(),
            index: link.index,
            flags: wanted,
            mtu: None,
        });
    }
}

fn stranger(site: &Site<'_>, link: &Link, draft: &mut Draft) {
    let (bridge, name) = (&site.segment.bridge, &link.name);
    let text = format!(
        "{name} ({}, ifindex {}) is a port of {bridge} and no declared NIC's; nothing passes through it. Remove it with `ip link \
         set {name} nomaster`, or declare its NIC",
        link.kind.name(),
        link.index
    );
    draft.segment_notice(site.segment, Cause::Foreign, text);
}

fn guest(site: &Site<'_>, name: &IfName, port: &Port, link: &Link, observed: &Observed, draft: &mut Draft) {
    let (bridge, index) = (SegmentBridge::from(site.segment), link.index);
    let Some(flags) = link.port else {
        let text = format!("the port flags of {name} on {bridge} cannot be read, so they are not set");
        draft.segment_notice(site.segment, Cause::Unsupported, text);
        return;
    };
    if flags.locked.is_none() {
        let text =
            format!("{name} is not locked to its address: the kernel is older than 5.16; the policy alone pins it");
        draft.segment_notice(site.segment, Cause::Unsupported, text);
    }
    // The host's own end of the port would tell the guest the host's address, and ask it for routers. Last, since the addresses
    // that go with IPv6 may be ours, and were planned to go by themselves.
    if link.ipv6 == Some(true) {
        draft.ports.push(Step::SetIpv6 { bridge: bridge.clone(), link: name.clone(), on: false });
    }
    let wanted = PortFlags::guest(flags.locked.is_some());
    let mtu = (link.mtu != site.mtu).then_some(site.mtu);
    if flags != wanted || mtu.is_some() {
        let (bridge, port) = (bridge.clone(), name.clone());
        draft.ports.push(Step::ChangePort { bridge, port, index, flags: wanted, mtu });
    }
    let entries = || observed.fdb.iter().filter(|entry| entry.index == index);
    for entry in entries().filter(|entry| entry.mac != port.mac) {
        let (bridge, port, mac) = (bridge.clone(), name.clone(), entry.mac);
        draft.ports.push(Step::DeleteFdb { bridge, port, index, mac });
    }
    if !entries().any(|entry| entry.mac == port.mac) {
        draft.ports.push(Step::AddFdb { bridge, port: name.clone(), index, mac: port.mac });
    }
}

/// A declared port that stands somewhere else: it is not ours to move.
fn elsewhere(name: &IfName, port: &Port, link: &Link, observed: &Observed, gone: &[u32], draft: &mut Draft) {
    let master = link.master.filter(|index| !gone.contains(index)).and_then(|index| observed.links.get(index));
    let stands = master.map_or_else(|| "on no bridge".to_owned(), |master| format!("on {}", master.name));
    let bridge = &port.bridge;
    let text = format!(
        "{name} stands {stands} and belongs on {bridge}; nothing passes through it. Put it back with `ip link set {name} master \
         {bridge}`, or restart its guest"
    );
    draft.notice(Object::Segment(port.segment.clone()), Cause::Held, text);
}
