//! What is missing between desired and observed, as a value. Pure: no I/O, no clock.

mod addresses;
mod links;
mod ports;
mod routes;
mod stale;
#[cfg(test)]
mod tests;
mod unread;

use bulkhead_types::{Cause, Notice, Object};

use crate::model::{Desired, Observed, Segment};
use crate::step::Step;

/// What is missing between links as desired and as observed.
pub type Plan = bulkhead_types::Plan<Step>;

/// Says which writes make the links so. Teardown is the plan towards [`Desired::default`].
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    let mut draft = Draft::default();
    let sites = links::plan(desired, observed, &mut draft);
    let gone: Vec<u32> = draft.deletes.iter().filter_map(deleted_index).collect();
    addresses::plan(&sites, observed, &gone, &mut draft);
    routes::plan(&sites, observed, &gone, &mut draft);
    ports::plan(desired, &sites, observed, &gone, &mut draft);
    unread::plan(&sites, observed, &mut draft);
    stale::group_up(observed, &gone, &mut draft);
    draft.finish()
}

fn deleted_index(step: &Step) -> Option<u32> {
    if let Step::DeleteLink { index, .. } = step { Some(*index) } else { None }
}

/// A segment whose bridge exists or is about to be made.
struct Site<'a> {
    segment: &'a Segment,
    /// The bridge's ifindex, found or chosen.
    bridge: u32,
    /// The VLAN link's ifindex, if it exists or is about to be made.
    vlan: Option<u32>,
    /// MTU of all of it, in bytes.
    mtu: u32,
    /// Whether IPv6 speaks on the bridge.
    ipv6: bool,
}

/// The steps by phase. Each phase needs only the phases before it, so that all steps of one go out together.
#[derive(Default)]
struct Draft {
    /// Before anything else: a trunk that comes up takes its VLAN links along.
    hushes: Vec<Step>,
    /// A VLAN cannot be up on a trunk that is down.
    trunks: Vec<Step>,
    /// Before making, since a name, a tag or an address may be free only then.
    deletes: Vec<Step>,
    /// Before the addresses, whose last takes the routes along.
    unroutes: Vec<Step>,
    unassigns: Vec<Step>,
    creates: Vec<Step>,
    downs: Vec<Step>,
    changes: Vec<Step>,
    /// While the links are down: a link that is up with IPv6 speaks at once.
    ipv6: Vec<Step>,
    ups: Vec<Step>,
    /// On a link that is up, or IPv6 drops them and no route finds its gateway.
    addresses: Vec<Step>,
    routes: Vec<Step>,
    ports: Vec<Step>,
    notices: Vec<Notice>,
}

impl Draft {
    fn notice(&mut self, object: Object, cause: Cause, text: String) {
        self.notices.push(Notice { object, cause, text });
    }

    fn segment_notice(&mut self, segment: &Segment, cause: Cause, text: String) {
        self.notice(Object::Segment(segment.name.clone()), cause, text);
    }

    fn finish(self) -> Plan {
        let phases = [
            self.hushes,
            self.trunks,
            self.deletes,
            self.unroutes,
            self.unassigns,
            self.creates,
            self.downs,
            self.changes,
            self.ipv6,
            self.ups,
            self.addresses,
            self.routes,
            self.ports,
        ];
        Plan { steps: phases.into_iter().flatten().collect(), notices: self.notices }
    }
}
