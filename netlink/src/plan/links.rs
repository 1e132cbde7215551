//! Trunks, VLAN links and bridges.

use std::collections::BTreeSet;

use bulkhead_types::{Cause, IfName, Object};

use super::{Draft, Site, stale};
use crate::model::{BridgeOptions, Desired, Kind, LINK_GROUP, Link, Observed, Segment};
use crate::step::{Change, SegmentBridge, Step};

/// Below this MTU, in bytes, the kernel has no IPv6 on a link, and no sysctl of it (`IPV6_MIN_MTU`).
const IPV6_MIN_MTU: u32 = 1280;
/// Chosen ifindexes leave this many free above the highest in use: whoever makes a link between our reading and our
/// writing is given the next free one.
const INDEX_GAP: u32 = 1000;

/// Where a segment's links stand.
struct Found<'a> {
    segment: &'a Segment,
    trunk: Option<&'a Link>,
    bridge: Place<'a>,
    vlan: Place<'a>,
}

/// What stands where a link of ours should be.
#[derive(Clone, Copy)]
enum Place<'a> {
    Free,
    Ours(&'a Link),
    Foreign(&'a Link),
}

impl<'a> Place<'a> {
    fn ours(self) -> Option<&'a Link> {
        if let Self::Ours(link) = self { Some(link) } else { None }
    }
}

pub(super) fn plan<'a>(desired: &'a Desired, observed: &'a Observed, draft: &mut Draft) -> Vec<Site<'a>> {
    let found: Vec<Found<'_>> = desired.segments.iter().map(|segment| find(segment, observed)).collect();
    let kept: BTreeSet<u32> =
        found.iter().flat_map(|f| [f.bridge, f.vlan]).filter_map(Place::ours).map(|link| link.index).collect();
    stale::delete(desired, observed, &kept, draft);
    trunks(&found, observed, draft);
    let mut next = observed.links.highest().map_or(1, |highest| highest.saturating_add(INDEX_GAP));
    let ipv6 = observed.has_ipv6();
    found.iter().filter_map(|found| segment(found, ipv6, &mut next, draft)).collect()
}

fn find<'a>(segment: &'a Segment, observed: &'a Observed) -> Found<'a> {
    // A link of ours is no trunk: it may be gone before it is used. Nor is one whose MTU, say, could not be read.
    let trunk = observed.link(&segment.trunk).filter(|link| link.own().is_none() && link.unread.is_none());
    let is_bridge = |link: &Link| matches!(link.kind, Kind::Bridge(_));
    let parent = trunk.map(|trunk| trunk.index);
    let vlan = segment.vlan.get();
    let carries = |link: &Link| matches!(link.kind, Kind::Vlan { id, parent: p, dot1q: true } if id == vlan && p == parent && p.is_some());
    // The kernel has at most one link for a tag of a trunk, whatever its name.
    let rival = observed.links.values().find(|link| link.own().is_none() && carries(link));
    let place = match place(observed, &segment.vlan_link, carries) {
        Place::Free => rival.map_or(Place::Free, Place::Foreign),
        place => place,
    };
    Found { segment, trunk, bridge: self::place(observed, &segment.bridge, is_bridge), vlan: place }
}

/// What has that name. A link of ours that is not as it has to be from the beginning is deleted first: then it is free.
fn place<'a>(observed: &'a Observed, name: &IfName, fits: impl Fn(&Link) -> bool) -> Place<'a> {
    match observed.link(name) {
        None => Place::Free,
        Some(link) if link.own().is_none() => Place::Foreign(link),
        Some(link) if link.group == LINK_GROUP && fits(link) => Place::Ours(link),
        Some(_) => Place::Free,
    }
}

fn trunks(found: &[Found<'_>], observed: &Observed, draft: &mut Draft) {
    let mut seen = BTreeSet::new();
    for Found { segment, trunk, .. } in found {
        let name = &segment.trunk;
        if !seen.insert(name) {
            continue;
        }
        match trunk {
            None => {
                let unread = observed.link(name).and_then(|link| link.unread.as_ref());
                let text = match unread {
                    Some(why) => format!(
                        "what the kernel says of trunk {name} cannot be decoded ({why}), so nothing is made on it; its \
                         segments are made when it can be read"
                    ),
                    None => format!(
                        "trunk {name} does not exist; its segments are made when it comes (`ip link` lists what is there)"
                    ),
                };
                draft.notice(Object::Trunk(name.clone()), Cause::Pending, text);
            }
            Some(link) if !link.up => {
                draft.trunks.push(Step::TrunkUp { trunk: name.clone(), index: link.index });
            }
            Some(_) => {}
        }
    }
}

/// Makes or mends one segment. `None` if there is no bridge and there cannot be one now.
fn segment<'a>(found: &Found<'a>, ipv6: bool, next: &mut u32, draft: &mut Draft) -> Option<Site<'a>> {
    let segment = found.segment;
    let clash = clashes(found, draft);
    let make = found.trunk.filter(|_| !clash);
    if found.trunk.is_none() && !matches!((found.bridge, found.vlan), (Place::Ours(_), Place::Ours(_))) {
        let text = format!("segment of bridge {} waits for trunk {}", segment.bridge, segment.trunk);
        draft.segment_notice(segment, Cause::Pending, text);
    }
    let speaks = segment.host.as_ref().is_some_and(|host| host.addresses.iter().any(|a| a.addr().is_ipv6()));
    let wanted = mtu(found, draft);
    let mut choose = || {
        let index = *next;
        *next = next.saturating_add(1);
        index
    };
    let bridge = match (found.bridge, make) {
        (Place::Ours(link), _) => {
            mend(segment, link, Role::Bridge { speaks }, wanted.unwrap_or(link.mtu), ipv6, draft);
            link.index
        }
        (Place::Free, Some(_)) => {
            let (bridge, mac, index, mtu) = (segment.into(), segment.mac, choose(), wanted?);
            draft.creates.push(Step::CreateBridge { bridge, index, mac, mtu });
            wake(segment, &segment.bridge, index, ipv6 && mtu >= IPV6_MIN_MTU, speaks, draft);
            index
        }
        _ => return None,
    };
    let vlan = match (found.vlan, make) {
        (Place::Ours(link), _) => {
            mend(segment, link, Role::Vlan { master: bridge }, wanted.unwrap_or(link.mtu), ipv6, draft);
            Some(link.index)
        }
        (Place::Free, Some(trunk)) => {
            let (index, mtu) = (choose(), wanted?);
            draft.creates.push(Step::CreateVlan {
                bridge: segment.into(),
                link: segment.vlan_link.clone(),
                index,
                trunk: segment.trunk.clone(),
                parent: trunk.index,
                vlan: segment.vlan,
                master: bridge,
                mtu,
            });
            wake(segment, &segment.vlan_link, index, ipv6 && mtu >= IPV6_MIN_MTU, false, draft);
            Some(index)
        }
        _ => None,
    };
    let mtu = wanted.or_else(|| found.bridge.ours().map(|link| link.mtu))?;
    Some(Site { segment, bridge, vlan, mtu, ipv6: speaks })
}

/// Names what stands in the way, and whether anything does.
fn clashes(found: &Found<'_>, draft: &mut Draft) -> bool {
    let segment = found.segment;
    let mut clash = false;
    for (name, place) in [(&segment.bridge, found.bridge), (&segment.vlan_link, found.vlan)] {
        let Place::Foreign(link) = place else { continue };
        clash = true;
        let (other, kind) = (&link.name, link.kind.name());
        if let Some(why) = &link.unread {
            let text = format!(
                "what the kernel says of {other} (ifindex {}, link group {}) cannot be decoded ({why}), so nobody knows whether \
                 it is {name}. It is left alone. If it is, `ip link delete {other}`, and it is made anew",
                link.index, link.group
            );
            draft.segment_notice(segment, Cause::Clash, text);
            continue;
        }
        let what = if other == name.as_str() {
            format!("{name} cannot be made: a foreign link has that name")
        } else {
            format!("{name} cannot be made: a foreign link already carries VLAN {} of {}", segment.vlan, segment.trunk)
        };
        draft.segment_notice(segment,
            Cause::Clash,
            format!(
                "{what} ({other}, {kind}, ifindex {}, link group {}; ours are in group {LINK_GROUP}). It is left alone. Remove it \
                 (`ip link delete {other}`), hand it over (`ip link set {other} group {LINK_GROUP}`), or choose another name or \
                 VLAN in the manifest",
                link.index, link.group
            ),
        );
    }
    clash
}

/// The MTU of VLAN link, bridge and ports; `None` if that of the trunk is not known.
fn mtu(found: &Found<'_>, draft: &mut Draft) -> Option<u32> {
    let (segment, most) = (found.segment, found.trunk?.mtu);
    let wanted = segment.mtu.unwrap_or(most);
    if wanted > most {
        let (bridge, trunk) = (&segment.bridge, &segment.trunk);
        draft.segment_notice(segment,
            Cause::Held,
            format!(
                "MTU {wanted} of {bridge} is more than the {most} of trunk {trunk}, so {most} is used; raise the trunk's \
                 (`ip link set {trunk} mtu {wanted}`) or lower the segment's"
            ),
        );
    }
    Some(wanted.min(most))
}

/// A new link is made down; then IPv6 is set, and only then may it speak.
fn wake(segment: &Segment, link: &IfName, index: u32, ipv6: bool, speaks: bool, draft: &mut Draft) {
    let (bridge, link) = (SegmentBridge::from(segment), link.clone());
    if ipv6 {
        draft.ipv6.push(Step::SetIpv6 { bridge: bridge.clone(), link: link.clone(), on: speaks });
    }
    draft.ups.push(Step::LinkUp { bridge, link, index, by_group: false });
}

#[derive(Clone, Copy)]
enum Role {
    Bridge { speaks: bool },
    Vlan { master: u32 },
}

/// Sets a link of ours back to what it was made as.
fn mend(segment: &Segment, link: &Link, role: Role, mtu: u32, ipv6: bool, draft: &mut Draft) {
    let name = if let Role::Bridge { .. } = role { &segment.bridge } else { &segment.vlan_link };
    let (bridge, index) = (SegmentBridge::from(segment), link.index);
    let mut changes = Vec::new();
    if link.mtu != mtu {
        changes.push(Change::Mtu(mtu));
    }
    let (master, speaks) = match role {
        Role::Bridge { speaks } => (None, speaks),
        Role::Vlan { master } => (Some(master), false),
    };
    if link.master != master {
        changes.push(Change::Master(master));
    }
    if let (Role::Bridge { .. }, Kind::Bridge(options)) = (role, &link.kind) {
        if link.mac != Some(segment.mac) {
            changes.push(Change::Mac(segment.mac));
        }
        if *options != BridgeOptions::default() {
            changes.push(Change::BridgeOptions { vlan_filtering: options.vlan_filtering });
        }
    }
    // Across this border the kernel gives the link a new IPv6, which speaks at once where the link is up.
    let reborn = ipv6 && link.ipv6.is_none() && link.mtu < IPV6_MIN_MTU && mtu >= IPV6_MIN_MTU;
    if reborn && link.up {
        draft.downs.push(Step::LinkDown { bridge: bridge.clone(), link: name.clone(), index });
    }
    if !changes.is_empty() {
        draft.changes.push(Step::ChangeLink { bridge: bridge.clone(), link: name.clone(), index, changes });
    }
    let set = || Step::SetIpv6 { bridge: bridge.clone(), link: name.clone(), on: speaks };
    match link.ipv6 {
        None if reborn => draft.ipv6.push(set()),
        Some(true) if !speaks => draft.hushes.push(set()),
        Some(false) if speaks && mtu >= IPV6_MIN_MTU => draft.ipv6.push(set()),
        _ => {}
    }
    if reborn || !link.up {
        draft.ups.push(Step::LinkUp { bridge, link: name.clone(), index, by_group: false });
    }
}
