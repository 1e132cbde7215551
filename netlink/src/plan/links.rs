//! VLAN links and bridges.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_types::{Cause, IfName};

use super::{BuiltSegment, Phases, stale};
use crate::lookup::Lookup;
use crate::model::{Kind, LINK_GROUP, Link, PortFlags, Segment, trunk_alias};
use crate::step::{Change, SegmentBridge, Step};
use crate::trunks::Trunk;

/// Below this MTU, in bytes, the kernel has no IPv6 on a link, and no sysctl of it (`IPV6_MIN_MTU`).
pub(crate) const IPV6_MIN_MTU: u32 = 1280;
/// Chosen ifindexes leave this many free above the highest in use: whoever makes a link between our reading and our
/// writing is given the next free one.
const INDEX_GAP: u32 = 1000;

/// What there is of a segment.
struct Found<'a> {
    segment: &'a Segment,
    trunk: Option<&'a Link>,
    bridge: Occupant<'a>,
    vlan: Occupant<'a>,
}

/// What has the name of a link of ours.
#[derive(Clone, Copy)]
enum Occupant<'a> {
    Nothing,
    Ours(&'a Link),
    Foreign(&'a Link),
}

impl<'a> Occupant<'a> {
    fn ours(self) -> Option<&'a Link> {
        if let Self::Ours(link) = self { Some(link) } else { None }
    }
}

pub(super) fn plan<'a>(
    trunks: &BTreeMap<&IfName, Trunk<'a>>,
    lookup: &Lookup<'a>,
    phases: &mut Phases,
) -> Vec<BuiltSegment<'a>> {
    let trunk = |segment: &Segment| trunks.get(&segment.trunk).copied().unwrap_or(Trunk::Missing);
    let found: Vec<Found<'_>> = lookup.segments().map(|segment| find(segment, trunk(segment), lookup)).collect();
    let kept: BTreeSet<u32> =
        found.iter().flat_map(|f| [f.bridge, f.vlan]).filter_map(Occupant::ours).map(|link| link.index).collect();
    stale::delete(lookup, &kept, phases);
    let mut next = lookup.highest().map_or(1, |highest| highest.saturating_add(INDEX_GAP));
    let ipv6 = lookup.has_ipv6();
    found.iter().filter_map(|found| segment(found, ipv6, &mut next, phases)).collect()
}

fn find<'a>(segment: &'a Segment, trunk: Trunk<'a>, lookup: &Lookup<'a>) -> Found<'a> {
    let is_bridge = |link: &Link| matches!(link.kind, Kind::Bridge(_));
    let tagged = trunk.carrier().and_then(|carrier| lookup.vlan(carrier.index, segment.vlan.get()));
    let carries = |link: &Link| tagged.is_some_and(|tagged| tagged.index == link.index);
    let vlan = match occupant(lookup, &segment.vlan_link, carries) {
        // Whatever its name: no second link can have the tag.
        Occupant::Nothing => tagged.filter(|link| link.own().is_none()).map_or(Occupant::Nothing, Occupant::Foreign),
        occupant => occupant,
    };
    Found { segment, trunk: trunk.link(), bridge: occupant(lookup, &segment.bridge, is_bridge), vlan }
}

/// What has that name. A link of ours that is not as it has to be from the beginning is deleted first: then there is nothing.
fn occupant<'a>(lookup: &Lookup<'a>, name: &IfName, fits: impl Fn(&Link) -> bool) -> Occupant<'a> {
    match lookup.named(name) {
        None => Occupant::Nothing,
        Some(link) if link.own().is_none() => Occupant::Foreign(link),
        Some(link) if link.group == LINK_GROUP && fits(link) => Occupant::Ours(link),
        Some(_) => Occupant::Nothing,
    }
}

/// Makes or repairs one segment. `None` if there is no bridge and there cannot be one now.
fn segment<'a>(found: &Found<'a>, ipv6: bool, next: &mut u32, phases: &mut Phases) -> Option<BuiltSegment<'a>> {
    let segment = found.segment;
    let clash = clashes(found, phases);
    let make = found.trunk.filter(|_| !clash);
    if found.trunk.is_none() && !matches!((found.bridge, found.vlan), (Occupant::Ours(_), Occupant::Ours(_))) {
        let text = format!("segment of bridge {} waits for trunk {}", segment.bridge, segment.trunk);
        phases.segment_notice(segment, Cause::Pending, text);
    }
    let speaks = segment.host.as_ref().is_some_and(|host| host.addresses.iter().any(|a| a.addr().is_ipv6()));
    let wanted = mtu(found, phases);
    let mut choose = || {
        let index = *next;
        *next = next.saturating_add(1);
        index
    };
    let bridge = match (found.bridge, make) {
        (Occupant::Ours(link), _) => {
            repair(segment, link, LinkRole::Bridge { speaks }, wanted.unwrap_or(link.mtu), ipv6, phases);
            link.index
        }
        (Occupant::Nothing, Some(_)) => {
            let (bridge, mac, index, mtu) = (segment.into(), segment.mac, choose(), wanted?);
            phases.create_links.push(Step::CreateBridge { bridge, index, mac, mtu });
            bring_up(segment, &segment.bridge, index, ipv6 && mtu >= IPV6_MIN_MTU, speaks, phases);
            index
        }
        _ => return None,
    };
    let vlan = match (found.vlan, make) {
        (Occupant::Ours(link), _) => {
            repair(segment, link, LinkRole::Vlan { master: bridge }, wanted.unwrap_or(link.mtu), ipv6, phases);
            Some(link.index)
        }
        (Occupant::Nothing, Some(trunk)) => {
            let (index, mtu) = (choose(), wanted?);
            create_vlan(segment, index, trunk, bridge, mtu, phases);
            bring_up(segment, &segment.vlan_link, index, ipv6 && mtu >= IPV6_MIN_MTU, false, phases);
            Some(index)
        }
        _ => None,
    };
    let mtu = wanted.or_else(|| found.bridge.ours().map(|link| link.mtu))?;
    Some(BuiltSegment { segment, bridge, vlan, mtu, ipv6: speaks && ipv6 && mtu >= IPV6_MIN_MTU })
}

/// The kernel takes neither alias nor port flags in the message that creates a link. Both come before it is up.
fn create_vlan(segment: &Segment, index: u32, trunk: &Link, master: u32, mtu: u32, phases: &mut Phases) {
    let (bridge, link) = (SegmentBridge::from(segment), segment.vlan_link.clone());
    phases.create_links.push(Step::CreateVlan {
        bridge: bridge.clone(),
        link: link.clone(),
        index,
        trunk: trunk.name.clone(),
        parent: trunk.index,
        vlan: segment.vlan,
        master,
        mtu,
    });
    let changes = vec![Change::Alias(trunk_alias(&segment.trunk)), Change::Port(PortFlags::uplink(false))];
    phases.change_links.push(Step::ChangeLink { bridge, link, index, changes });
}

/// Names what stands in the way, and whether anything does.
fn clashes(found: &Found<'_>, phases: &mut Phases) -> bool {
    let segment = found.segment;
    let mut clash = false;
    for (name, occupant) in [(&segment.bridge, found.bridge), (&segment.vlan_link, found.vlan)] {
        let Occupant::Foreign(link) = occupant else { continue };
        clash = true;
        let (other, kind) = (&link.name, link.kind.name());
        if let Some(why) = &link.unread {
            let text = format!(
                "what the kernel says of {other} (ifindex {}, link group {}) cannot be decoded ({why}), so nobody knows whether \
                 it is {name}. It is left alone. If it is, `ip link delete {other}`, and it is made anew",
                link.index, link.group
            );
            phases.segment_notice(segment, Cause::Clash, text);
            continue;
        }
        if was_ours(segment, link) {
            let text = format!(
                "{name} is no longer in our group (it is in link group {}; ours are in {LINK_GROUP}). It is left alone, with what \
                 the manifest gives the host on it. `ip link set {name} group {LINK_GROUP}` gives it back",
                link.group
            );
            phases.segment_notice(segment, Cause::Clash, text);
            continue;
        }
        let what = if other == name.as_str() {
            format!("{name} cannot be made: a foreign link has that name")
        } else {
            format!("{name} cannot be made: a foreign link already carries VLAN {} of {}", segment.vlan, segment.trunk)
        };
        phases.segment_notice(segment,
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

/// Whether a foreign link is as we make one, and only its group is not: a bridge has the MAC that we gave it, a VLAN link the
/// alias.
fn was_ours(segment: &Segment, link: &Link) -> bool {
    match link.kind {
        Kind::Bridge(_) => link.name == segment.bridge.as_str() && link.mac == Some(segment.mac),
        Kind::Vlan { .. } => link.name == segment.vlan_link.as_str() && link.alias == Some(trunk_alias(&segment.trunk)),
        Kind::Other(_) => false,
    }
}

/// The MTU of VLAN link, bridge and ports; `None` if that of the trunk is not known.
fn mtu(found: &Found<'_>, phases: &mut Phases) -> Option<u32> {
    let (segment, port, most) = (found.segment, &found.trunk?.name, found.trunk?.mtu);
    let wanted = segment.mtu.unwrap_or(most);
    if wanted > most {
        let (bridge, trunk) = (&segment.bridge, &segment.trunk);
        phases.segment_notice(segment,
            Cause::Held,
            format!(
                "MTU {wanted} of {bridge} is more than the {most} of trunk {trunk}, so {most} is used; raise the trunk's \
                 (`ip link set {port} mtu {wanted}`) or lower the segment's"
            ),
        );
    }
    Some(wanted.min(most))
}

/// A new link is made down; then IPv6 is set, and only then may it speak.
fn bring_up(segment: &Segment, link: &IfName, index: u32, ipv6: bool, speaks: bool, phases: &mut Phases) {
    let (bridge, link) = (SegmentBridge::from(segment), link.clone());
    if ipv6 {
        phases.set_ipv6.push(Step::SetIpv6 { bridge: bridge.clone(), link: link.clone(), on: speaks });
    }
    phases.links_up.push(Step::LinkUp { bridge, link, index, by_group: false });
}

#[derive(Clone, Copy)]
enum LinkRole {
    Bridge { speaks: bool },
    Vlan { master: u32 },
}

/// Sets a link of ours back to what it was made as.
fn repair(segment: &Segment, link: &Link, role: LinkRole, mtu: u32, ipv6: bool, phases: &mut Phases) {
    let name = if let LinkRole::Bridge { .. } = role { &segment.bridge } else { &segment.vlan_link };
    let (bridge, index) = (SegmentBridge::from(segment), link.index);
    let mut changes = Vec::new();
    if link.mtu != mtu {
        changes.push(Change::Mtu(mtu));
    }
    let (master, speaks) = match role {
        LinkRole::Bridge { speaks } => (None, speaks),
        LinkRole::Vlan { master } => (Some(master), false),
    };
    if link.master != master {
        changes.push(Change::Master(master));
    }
    let alias = trunk_alias(&segment.trunk);
    if let LinkRole::Vlan { .. } = role
        && link.alias.as_ref() != Some(&alias)
    {
        changes.push(Change::Alias(alias));
    }
    if let (LinkRole::Bridge { .. }, Kind::Bridge(options)) = (role, &link.kind) {
        if link.mac != Some(segment.mac) {
            changes.push(Change::Mac(segment.mac));
        }
        if !options.are_ours() {
            changes.push(Change::BridgeOptions { vlan_filtering: options.vlan_filtering });
        }
    }
    // Across this border the kernel gives the link a new IPv6, which speaks at once where the link is up; a VLAN link may have come
    // up with its trunk, a phase earlier.
    let ipv6_returns = ipv6 && link.ipv6.is_none() && link.mtu < IPV6_MIN_MTU && mtu >= IPV6_MIN_MTU;
    if ipv6_returns && (link.up || matches!(role, LinkRole::Vlan { .. })) {
        phases.links_down.push(Step::LinkDown { bridge: bridge.clone(), link: name.clone(), index });
    }
    if !changes.is_empty() {
        phases.change_links.push(Step::ChangeLink { bridge: bridge.clone(), link: name.clone(), index, changes });
    }
    let set = || Step::SetIpv6 { bridge: bridge.clone(), link: name.clone(), on: speaks };
    match link.ipv6 {
        None if ipv6_returns => phases.set_ipv6.push(set()),
        Some(true) if !speaks => phases.silence.push(set()),
        Some(false) if speaks && mtu >= IPV6_MIN_MTU => phases.set_ipv6.push(set()),
        _ => {}
    }
    if ipv6_returns || !link.up {
        phases.links_up.push(Step::LinkUp { bridge, link: name.clone(), index, by_group: false });
    }
}
