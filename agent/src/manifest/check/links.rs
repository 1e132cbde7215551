//! Trunks and segments: every tag once on its trunk, every interface name once in the kernel.

use std::collections::BTreeSet;

use bulkhead_types::{IfName, SegmentName};

use super::claims::Claims;
use crate::manifest::identity;
use crate::manifest::location::{Located, Location};
use crate::manifest::problem::Problems;
use crate::manifest::spell::nearest;
use crate::manifest::tables::Tables;
use crate::manifest::value::Entry;
use crate::manifest::wire::{Segment, Trunk};

pub(super) fn check(tables: &Tables, problems: &mut Problems) {
    trunks(tables, problems);
    let doubled = tags(tables, problems);
    names(tables, &doubled, problems);
    default_vlan(tables, problems);
    let mut networks = Claims::new();
    for segment in &tables.segments.0 {
        let Some(network) = &segment.table.libvirt_network else { continue };
        let holder = format!("network of segment.{}", segment.name);
        if let Some((first, earlier)) = networks.claim(network.value.0.clone(), &network.location, &holder) {
            problems
                .error(&network.location, format!("two segments are the libvirt network {:?}", network.value.0))
                .label(holder)
                .also(&first, earlier)
                .help("write another name at one of them");
        }
    }
}

fn trunks(tables: &Tables, problems: &mut Problems) {
    let used: BTreeSet<&IfName> =
        tables.segments.0.iter().filter_map(|s| s.table.trunk.as_ref()).map(|t| &t.value).collect();
    // A segment whose trunk is not understood may have meant any of them.
    let sure =
        tables.segments.0.iter().all(|s| s.table.trunk.as_ref().is_some_and(|t| tables.trunks.get(&t.value).is_some()));
    for trunk in &tables.trunks.0 {
        if sure && !used.contains(&trunk.name) {
            problems
                .absent_warning(&trunk.location, format!("`{}` carries no segment", trunk.location.key))
                .label("nothing is done with it")
                .help(format!("write trunk = \"{}\" in a [segment.NAME], or leave it out", trunk.name));
        }
    }
    for segment in &tables.segments.0 {
        let Some(trunk) = &segment.table.trunk else { continue };
        // A trunk whose table is wrong may be this one.
        let doubtful = |trunk: &Entry<IfName, Trunk>| problems.within(trunk.location.file, &trunk.location.key);
        if tables.trunks.get(&trunk.value).is_none() && !tables.trunks.0.iter().any(doubtful) {
            let names: Vec<&str> = tables.trunks.0.iter().map(|trunk| trunk.name.as_str()).collect();
            let help = match nearest(trunk.value.as_str(), names.iter().copied()) {
                Some(name) => format!("write trunk = {name:?}, or declare it: [trunk.{}]", quoted(&trunk.value)),
                None => format!("declare it: [trunk.{}]", quoted(&trunk.value)),
            };
            problems
                .absent(
                    &trunk.location,
                    format!("`{}` names the trunk {}, which is not declared", trunk.location.key, trunk.value),
                )
                .label("no such trunk")
                .help(help);
        }
    }
}

/// An interface's name as a TOML key: one with a dot needs quotes.
fn quoted(name: &IfName) -> String {
    if name.as_str().contains('.') { format!("{:?}", name.as_str()) } else { name.to_string() }
}

/// Switches call the untagged network of a port VLAN 1.
fn default_vlan(tables: &Tables, problems: &mut Problems) {
    for vlan in tables.segments.0.iter().filter_map(|segment| segment.table.vlan.as_ref()) {
        if vlan.value.get() == 1 {
            problems
                .warning(&vlan.location, format!("`{}` is 1, which a switch usually sends without a tag", vlan.location.key))
                .label("frames without a tag are of no segment")
                .help("right only where the switch tags VLAN 1 on this port; otherwise give the network a VLAN of its own there");
        }
    }
}

/// The segments whose tag another one has already; their derived names clash too, and that needs no second word.
fn tags(tables: &Tables, problems: &mut Problems) -> BTreeSet<SegmentName> {
    let mut claims = Claims::new();
    let mut doubled = BTreeSet::new();
    for Entry { name, table, .. } in &tables.segments.0 {
        let (Some(trunk), Some(vlan)) = (&table.trunk, &table.vlan) else { continue };
        let holder = format!("segment.{}", name);
        if let Some((first, earlier)) = claims.claim((&trunk.value, vlan.value), &vlan.location, &holder) {
            doubled.insert(name.clone());
            problems
                .error(
                    &vlan.location,
                    format!("{earlier} and {holder} are both VLAN {} of {}", vlan.value, trunk.value),
                )
                .label(format!("again for {holder}"))
                .also(&first, format!("first for {earlier}"))
                .help("write another VLAN at one of them, or make them one segment");
        }
    }
    doubled
}

/// A name that an interface has or gets.
struct Interface {
    at: Located<IfName>,
    holder: String,
    /// The key that would give it another name, where it is derived.
    derived: Option<&'static str>,
}

fn names(tables: &Tables, doubled: &BTreeSet<SegmentName>, problems: &mut Problems) {
    let mut claims = Claims::new();
    for Interface { at, holder, derived } in all_names(tables, doubled) {
        let Some((first, earlier)) = claims.claim(at.value.clone(), &at.location, &holder) else { continue };
        let help = match derived {
            None => "write another name at one of them".to_owned(),
            Some(key) => format!("give one of them a name of its own, such as {key} = \"{:.14}b\"", at.value.as_str()),
        };
        problems
            .error(&at.location, format!("two interfaces would be called {}: {earlier} and {holder}", at.value))
            .label(holder)
            .also(&first, earlier)
            .help(help);
    }
}

fn all_names(tables: &Tables, doubled: &BTreeSet<SegmentName>) -> Vec<Interface> {
    let mut names = Vec::new();
    for trunk in &tables.trunks.0 {
        let at = Located { value: trunk.name.clone(), location: trunk.location.clone() };
        names.push(Interface { at, holder: format!("the trunk {}", trunk.name), derived: None });
    }
    for Entry { name, table, .. } in &tables.segments.0 {
        let mut add = |at: Option<Located<IfName>>, declared: bool, key: &'static str, what: &str| {
            if let Some(at) = at.filter(|_| declared || !doubled.contains(name)) {
                let derived = if declared { None } else { Some(key) };
                names.push(Interface { at, holder: format!("the {what} of segment.{}", name), derived });
            }
        };
        add(table.vlan_link_name(), table.vlan_link.is_some(), "vlan-link", "VLAN link");
        add(table.bridge_name(), table.bridge.is_some(), "bridge", "bridge");
    }
    for guest in &tables.guests.0 {
        for nic in guest.table.nic.iter().flat_map(|nics| &nics.value.0) {
            let tap = identity::tap(&guest.name, &nic.name);
            let at = tap.map(|value| Located { value, location: nic.location.clone() });
            let holder = format!("the tap of {}", nic.location.key);
            names.extend(at.map(|at| Interface { at, holder, derived: None }));
        }
    }
    names
}

/// A word about a segment that is not declared.
pub(super) fn no_segment<'a>(location: &Location, name: &SegmentName, tables: &'a Tables, problems: &'a mut Problems) {
    let nearest = nearest(
        name.as_str(),
        tables.segments.0.iter().map(|segment: &Entry<SegmentName, Segment>| segment.name.as_str()),
    );
    let problem =
        problems.absent(location, format!("`{}` names the segment {}, which is not declared", location.key, name));
    problem.label("no such segment");
    match nearest {
        Some(near) => problem.help(format!("write {near}, or declare it: [segment.{}]", name)),
        None => problem.help(format!("declare it: [segment.{}] with trunk and vlan", name)),
    };
}
