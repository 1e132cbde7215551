//! Objects on links of ours that are there and could not be decoded.

use std::collections::BTreeMap;

use bulkhead_types::{Cause, IfName};

use super::{Draft, Site};
use crate::model::{Observed, Segment};

/// Names each by its link: what is not known is neither shown as none nor changed.
pub(super) fn plan(sites: &[Site<'_>], observed: &Observed, draft: &mut Draft) {
    let mut links: BTreeMap<u32, (&Segment, &IfName)> = BTreeMap::new();
    for site in sites {
        links.insert(site.bridge, (site.segment, &site.segment.bridge));
        links.extend(site.vlan.map(|vlan| (vlan, (site.segment, &site.segment.vlan_link))));
    }
    for unread in &observed.unread {
        let Some((segment, link)) = unread.index.and_then(|index| links.get(&index)) else { continue };
        let (what, why) = (unread.what, &unread.why);
        let text = format!(
            "what the kernel says of the {what} on {link} cannot be decoded ({why}), so it is neither shown nor changed; \
             `ip address show dev {link}` and `ip route show dev {link}` show more"
        );
        draft.segment_notice(segment, Cause::Unsupported, text);
    }
}
