//! Objects on links of ours that are there and could not be decoded.

use std::collections::BTreeMap;

use bulkhead_types::{Cause, IfName};

use super::{Built, Phases};
use crate::lookup::Lookup;
use crate::model::Segment;

/// Names each by its link: what is not known is neither shown as none nor changed.
pub(super) fn plan(built: &Built<'_>, lookup: &Lookup<'_>, phases: &mut Phases) {
    let mut links: BTreeMap<u32, (&Segment, &IfName)> = BTreeMap::new();
    for built in &built.segments {
        links.insert(built.bridge, (built.segment, &built.segment.bridge));
        links.extend(built.vlan.map(|vlan| (vlan, (built.segment, &built.segment.vlan_link))));
    }
    for unread in lookup.unread() {
        let Some((segment, link)) = unread.index.and_then(|index| links.get(&index)) else { continue };
        let (what, why) = (unread.what, &unread.why);
        let text = format!(
            "what the kernel says of the {what} on {link} cannot be decoded ({why}), so it is neither shown nor changed; \
             `ip address show dev {link}` and `ip route show dev {link}` show more"
        );
        phases.segment_notice(segment, Cause::Unknown, text);
    }
}
