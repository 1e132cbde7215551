//! Trunks: set up where they are down, and named where they are missing or have another name.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_types::{Cause, IfName, Object};

use super::Phases;
use crate::lookup::Lookup;
use crate::model::Link;
use crate::step::Step;
use crate::trunks::Trunk;

/// Ports named in the notice of a missing trunk, at most.
const CANDIDATES: usize = 8;

pub(super) fn plan(trunks: &BTreeMap<&IfName, Trunk<'_>>, lookup: &Lookup<'_>, phases: &mut Phases) {
    for (name, trunk) in trunks {
        let mut notice = |cause, text| phases.notice(Object::Trunk((*name).clone()), cause, text);
        match trunk {
            Trunk::Named(_) => {}
            Trunk::Renamed(link) => notice(Cause::Held, renamed(name, link)),
            Trunk::Unread(link) => notice(Cause::Pending, unread(name, link)),
            Trunk::Missing => notice(Cause::Pending, missing(name, &candidates(trunks, lookup))),
        }
        if let Some(link) = trunk.link().filter(|link| !link.up) {
            let (trunk, link, index) = ((*name).clone(), link.name.clone(), link.index);
            phases.trunks_up.push(Step::TrunkUp { trunk, link, index });
        }
    }
}

/// Ports without a segment, any of which a missing trunk may be under another name.
fn candidates<'a>(trunks: &BTreeMap<&IfName, Trunk<'_>>, lookup: &Lookup<'a>) -> Vec<&'a Link> {
    let taken: BTreeSet<u32> = trunks.values().filter_map(|trunk| trunk.link()).map(|link| link.index).collect();
    let fits = |link: &&Link| {
        let port = matches!(link.kind.name(), "physical port" | "bond" | "team") || is_free_veth(link);
        port && link.mac.is_some() && !taken.contains(&link.index) && lookup.declared_port(link).is_none()
    };
    lookup.links().filter(fits).collect()
}

/// One that is somebody's port leads into a container.
fn is_free_veth(link: &Link) -> bool {
    link.kind.name() == "veth" && link.master.is_none()
}

fn renamed(name: &IfName, link: &Link) -> String {
    let now = &link.name;
    format!(
        "trunk {name} is now called {now}: its segments go on. Write {now} for {name} in the manifest, or give it the name back \
         beside the new one (`ip link property add dev {now} altname {name}`); after a restart of the host nobody knows that \
         they are the same"
    )
}

fn unread(name: &IfName, link: &Link) -> String {
    let why = link.unread.as_deref().unwrap_or_default();
    format!(
        "what the kernel says of trunk {name} (ifindex {}) cannot be decoded ({why}), so nothing is made on it; its segments are \
         made when it can be read",
        link.index
    )
}

fn missing(name: &IfName, candidates: &[&Link]) -> String {
    let mut text = format!("trunk {name} does not exist; its segments are made when it comes.");
    if candidates.is_empty() {
        return text + " No port without a segment is there that could be it (`ip link`)";
    }
    let port = |link: &&Link| match link.altnames.as_slice() {
        [] => link.name.clone(),
        names => format!("{} (also {})", link.name, names.join(", ")),
    };
    let ports: Vec<String> = candidates.iter().take(CANDIDATES).map(port).collect();
    text.push_str(&format!(" Ports without a segment that it could be under another name: {}", ports.join(", ")));
    if let Some(more @ 1..) = candidates.len().checked_sub(CANDIDATES) {
        text.push_str(&format!(" and {more} more"));
    }
    text + ". If it is one of them, write that name in the manifest"
}
