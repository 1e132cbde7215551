//! From what the manifest wants to tables, chains, sets and rules.
//!
//! A frame on one of our bridges passes `zone` and `arriving` (is it what its port may send?), then either `crossing` (may
//! these two ports speak?) or `to_host`. What the host sends passes `from_host`. Every chain that a frame can end in ends in
//! a rule that drops and counts, or accepts on purpose. A frame of another bridge is let go after two or three lookups: one of its
//! ports may be a declared one, and then it passes nowhere.
//!
//! Cost: 3 lookups for its source, then at most 4 that lead to the chains of the allows between its two ports; those are
//! walked one by one, so that a frame pays for the allows of its own pair and segment only. All sets are hashes of whole
//! values.

mod allows;
mod arriving;
mod crossing;
mod flow;
mod host;
mod pairs;
mod past;
mod routed;
mod sets;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Bridge, Desired, Nic};
use crate::table::{Family, Table};
use crate::zones::Zones;
use bulkhead_types::IfName;

/// The tables; none where there is no bridge. Of the bridges that are only `closed` nothing is known but the names: none of their
/// ports is declared, so that each frame on them is dropped.
pub(crate) fn tables(desired: &Desired, closed: &BTreeSet<IfName>, zones: &Zones) -> Vec<Table> {
    if desired.bridges.is_empty() && closed.is_empty() {
        return Vec::new();
    }
    let topology = Topology::of(desired, closed, zones);
    vec![bridge(&topology), routed::table(&topology), past::table(&topology)]
}

fn bridge(topology: &Topology<'_>) -> Table {
    let mut table = Table::new(Family::Bridge);
    table.counters.extend(crate::counters::BRIDGE_DROPS.map(str::to_owned));
    sets::add(topology, &mut table);
    arriving::add(topology, &mut table);
    crossing::add(topology, &mut table);
    host::add(topology, &mut table);
    allows::allows(topology).into_table(&mut table);
    table
}

/// The manifest's part of this room, in the order of names, so that the manifest's own order changes nothing.
struct Topology<'a> {
    bridges: BTreeMap<&'a IfName, &'a Bridge>,
    /// Their names, and those of bridges that are only closed.
    names: BTreeSet<&'a IfName>,
    /// NICs on our bridges, by their port.
    nics: BTreeMap<&'a IfName, &'a Nic>,
    /// Conntrack zones; a bridge without one has no port, so that nothing passes it.
    zones: &'a Zones,
    desired: &'a Desired,
}

impl<'a> Topology<'a> {
    fn of(desired: &'a Desired, closed: &'a BTreeSet<IfName>, zones: &'a Zones) -> Self {
        let bridges: BTreeMap<_, _> = desired.bridges.iter().map(|bridge| (&bridge.name, bridge)).collect();
        let names = bridges.keys().copied().chain(closed).collect();
        let known =
            desired.nics.iter().filter(|nic| bridges.contains_key(&nic.bridge) && zones.contains_key(&nic.bridge));
        let nics = known.map(|nic| (&nic.tap, nic)).collect();
        Self { bridges, names, nics, zones, desired }
    }

    fn bridges(&self) -> impl Iterator<Item = &'a Bridge> {
        self.bridges.values().copied()
    }

    fn nics(&self) -> impl Iterator<Item = &'a Nic> {
        self.nics.values().copied()
    }

    /// The NICs that have an IPv6 address, and therefore speak it.
    fn nics6(&self) -> impl Iterator<Item = &'a Nic> {
        self.nics().filter(|nic| !nic.ipv6.is_empty())
    }
}

/// Names of links.
type Ports = BTreeSet<IfName>;
