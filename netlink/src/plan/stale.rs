//! Links of ours that nobody wants any more, and what may be done to the whole group at once.

use std::collections::BTreeSet;

use super::Phases;
use crate::lookup::Lookup;
use crate::model::{Kind, LEAVING_GROUP, LINK_GROUP, Link};
use crate::step::{SegmentBridge, Step};

/// Deletes every link of ours that is not kept: VLAN links first, so that nothing comes from outside any more while the
/// bridges, which take longer, go.
pub(super) fn delete(lookup: &Lookup<'_>, kept: &BTreeSet<u32>, phases: &mut Phases) {
    // One message deletes all of a group, so nothing else may be in it.
    let by_group = lookup.links().all(|link| link.group != LEAVING_GROUP || link.own().is_some());
    let stale = || lookup.links().filter(|link| !kept.contains(&link.index));
    for is_bridge in [false, true] {
        for link in stale().filter(|link| matches!(link.kind, Kind::Bridge(_)) == is_bridge) {
            let Some(name) = link.own() else { continue };
            let bridge = bridge_of(lookup, link).unwrap_or_else(|| SegmentBridge::left(name.clone()));
            phases.delete_links.push(Step::DeleteLink { bridge, link: name, index: link.index, is_bridge, by_group });
        }
    }
}

/// The segment that a stale link belonged to: the one that wants its name, or the bridge of ours that it is a port of.
fn bridge_of(lookup: &Lookup<'_>, link: &Link) -> Option<SegmentBridge> {
    let master = || link.master.and_then(|index| lookup.link(index)).and_then(Link::own);
    lookup.segment_of(&link.name).map(SegmentBridge::from).or_else(|| master().map(SegmentBridge::left))
}

/// Marks the links that come up for one message to the group: where at least two come up, they are all of the group that
/// is down, and at least half of it, since the message touches every link of the group.
pub(super) fn group_up(lookup: &Lookup<'_>, gone: &BTreeSet<u32>, phases: &mut Phases) {
    let coming_up: BTreeSet<u32> = phases
        .links_up
        .iter()
        .filter_map(|up| if let Step::LinkUp { index, .. } = up { Some(*index) } else { None })
        .collect();
    let members = lookup.links().filter(|link| link.group == LINK_GROUP && !gone.contains(&link.index));
    let (mut all_up, mut others) = (true, 0);
    for link in members.filter(|link| !coming_up.contains(&link.index)) {
        all_up &= link.up;
        others += 1;
    }
    if coming_up.len() < 2 || !all_up || others > coming_up.len() {
        return;
    }
    for up in &mut phases.links_up {
        if let Step::LinkUp { by_group, .. } = up {
            *by_group = true;
        }
    }
}
