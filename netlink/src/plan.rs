//! What is missing between desired and observed, as a value. Pure: no I/O, no clock.

mod addresses;
mod links;
mod ports;
mod routes;
mod stale;
#[cfg(test)]
mod tests;
mod trunks;
mod unread;

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_types::{Cause, IfName, Notice, Object};

use crate::lookup::Lookup;
use crate::model::{Desired, Observed, Segment};
use crate::step::Step;
use crate::trunks as trunk;

pub(crate) use links::IPV6_MIN_MTU;

/// What is missing between links as desired and as observed.
pub type Plan = bulkhead_types::Plan<Step>;

/// Says which writes make the links so. Teardown is the plan towards [`Desired::default`].
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    steps(&Lookup::new(desired, observed))
}

fn steps(lookup: &Lookup<'_>) -> Plan {
    let mut phases = Phases::default();
    let trunks = trunk::find(lookup);
    trunks::plan(&trunks, lookup, &mut phases);
    let built = Built::new(links::plan(&trunks, lookup, &mut phases));
    let gone: BTreeSet<u32> = phases.delete_links.iter().filter_map(deleted_index).collect();
    addresses::plan(&built, lookup, &gone, &mut phases);
    routes::plan(&built, lookup, &gone, &mut phases);
    ports::plan(&built, lookup, &gone, &mut phases);
    unread::plan(&built, lookup, &mut phases);
    stale::group_up(lookup, &gone, &mut phases);
    phases.finish()
}

fn deleted_index(step: &Step) -> Option<u32> {
    if let Step::DeleteLink { index, .. } = step { Some(*index) } else { None }
}

/// A segment whose bridge exists or is about to be made.
struct BuiltSegment<'a> {
    segment: &'a Segment,
    /// The bridge's ifindex, found or chosen.
    bridge: u32,
    /// The VLAN link's ifindex, if it exists or is about to be made.
    vlan: Option<u32>,
    /// MTU of all of it, in bytes.
    mtu: u32,
    /// Whether IPv6 speaks on the bridge: the host has an address of it here, and the kernel can have one.
    ipv6: bool,
}

/// All of them, in the manifest's order.
struct Built<'a> {
    segments: Vec<BuiltSegment<'a>>,
    /// Where each is among them, by its bridge.
    by_bridge: BTreeMap<&'a IfName, usize>,
}

impl<'a> Built<'a> {
    fn new(segments: Vec<BuiltSegment<'a>>) -> Self {
        let by_bridge = segments.iter().enumerate().map(|(at, built)| (&built.segment.bridge, at)).collect();
        Self { segments, by_bridge }
    }

    fn by_bridge(&self, name: &IfName) -> Option<&BuiltSegment<'a>> {
        self.by_bridge.get(name).and_then(|at| self.segments.get(*at))
    }
}

/// The steps by phase. Each phase needs only the phases before it, so that all steps of one go out together.
#[derive(Default)]
struct Phases {
    /// `disable_ipv6` of links that are up: before anything else, since a trunk that comes up takes its VLAN links along.
    silence: Vec<Step>,
    /// A VLAN cannot be up on a trunk that is down.
    trunks_up: Vec<Step>,
    /// Before making, since a name, a tag or an address may be free only then.
    delete_links: Vec<Step>,
    /// Before the addresses, whose last takes the routes along.
    delete_routes: Vec<Step>,
    delete_addresses: Vec<Step>,
    create_links: Vec<Step>,
    links_down: Vec<Step>,
    change_links: Vec<Step>,
    /// While the links are down: a link that is up with IPv6 speaks at once.
    set_ipv6: Vec<Step>,
    links_up: Vec<Step>,
    /// On a link that is up, or IPv6 drops them and no route finds its gateway.
    add_addresses: Vec<Step>,
    add_routes: Vec<Step>,
    ports: Vec<Step>,
    notices: Vec<Notice>,
}

impl Phases {
    fn notice(&mut self, object: Object, cause: Cause, text: String) {
        self.notices.push(Notice { object, cause, text });
    }

    fn segment_notice(&mut self, segment: &Segment, cause: Cause, text: String) {
        self.notice(Object::Segment(segment.name.clone()), cause, text);
    }

    fn finish(self) -> Plan {
        let phases = [
            self.silence,
            self.trunks_up,
            self.delete_links,
            self.delete_routes,
            self.delete_addresses,
            self.create_links,
            self.links_down,
            self.change_links,
            self.set_ipv6,
            self.links_up,
            self.add_addresses,
            self.add_routes,
            self.ports,
        ];
        Plan { steps: phases.into_iter().flatten().collect(), notices: self.notices }
    }
}
