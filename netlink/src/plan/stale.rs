//! Links of ours that nobody wants any more, and what may be done to the whole group at once.

use std::collections::BTreeSet;

use bulkhead_types::IfName;

use super::Draft;
use crate::model::{Desired, Kind, LEAVING_GROUP, LINK_GROUP, Link, Observed};
use crate::step::{SegmentBridge, Step};

/// Deletes every link of ours that is not kept: VLAN links first, so that nothing comes from outside any more while the
/// bridges, which take longer, go.
pub(super) fn delete(desired: &Desired, observed: &Observed, kept: &BTreeSet<u32>, draft: &mut Draft) {
    // One message deletes all of a group, so nothing else may be in it.
    let alone = observed.links.values().all(|link| link.group != LEAVING_GROUP || link.own().is_some());
    let stale = || observed.links.values().filter(|link| !kept.contains(&link.index));
    for bridges in [false, true] {
        for link in stale().filter(|link| matches!(link.kind, Kind::Bridge(_)) == bridges) {
            let Some(name) = link.own() else { continue };
            let bridge = bridge_of(desired, observed, link).unwrap_or_else(|| SegmentBridge::left(name.clone()));
            let index = link.index;
            draft.deletes.push(Step::DeleteLink { bridge, link: name, index, is_bridge: bridges, by_group: alone });
        }
    }
}

/// The segment that a stale link belonged to: the one that wants its name, or the bridge of ours that it is a port of.
fn bridge_of(desired: &Desired, observed: &Observed, link: &Link) -> Option<SegmentBridge> {
    let wants = |name: &IfName| name.as_str() == link.name;
    let segment = desired.segments.iter().find(|s| wants(&s.vlan_link) || wants(&s.bridge));
    let master = || link.master.and_then(|index| observed.links.get(index)).and_then(Link::own);
    segment.map(SegmentBridge::from).or_else(|| master().map(SegmentBridge::left))
}

/// Marks the links that come up for one message to the group: where at least two come up, they are all of the group that
/// is down, and at least half of it, since the message touches every link of the group.
pub(super) fn group_up(observed: &Observed, gone: &[u32], draft: &mut Draft) {
    let rising: BTreeSet<u32> = draft
        .ups
        .iter()
        .filter_map(|up| if let Step::LinkUp { index, .. } = up { Some(*index) } else { None })
        .collect();
    let members = || observed.links.values().filter(|link| link.group == LINK_GROUP && !gone.contains(&link.index));
    let resting = members().filter(|link| !rising.contains(&link.index));
    let (mut all_up, mut others) = (true, 0);
    for link in resting {
        all_up &= link.up;
        others += 1;
    }
    if rising.len() < 2 || !all_up || others > rising.len() {
        return;
    }
    for up in &mut draft.ups {
        if let Step::LinkUp { by_group, .. } = up {
            *by_group = true;
        }
    }
}
