//! The chains of the allows: one for each pair of sides, found by a map.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_types::IfName;

use super::flow::flow;
use super::pairs::{Side, pairs};
use super::{Ports, Topology};
use crate::counters::counter;
use crate::model::Allow;
use crate::rule::{Rule, Verdict};
use crate::table::{Key, Set, Table};

const NAME: Key = &["ifname"];
const NAMES: Key = &["ifname", "ifname"];
/// Every map that leads to chains of allows; those that nothing uses are there too, empty, since rules look them up.
const MAPS: [(&str, Key); 8] = [
    ("pair", NAMES),
    ("from_port", NAME),
    ("to_port", NAME),
    ("among", NAME),
    ("host_from", NAME),
    ("host_from_segment", NAME),
    ("host_to", NAME),
    ("host_to_segment", NAME),
];

/// The chains by the map and the key that lead to them.
#[derive(Debug, Default)]
pub(super) struct Allows {
    chains: BTreeMap<(&'static str, Vec<String>), Vec<Rule>>,
    counters: Vec<String>,
    acquaintances: Acquaintances,
}

/// Who has an allow with whom, in either direction: ARP, neighbour discovery and fragments pass for nobody else.
#[derive(Debug, Default)]
struct Acquaintances {
    /// NICs with an allow of any kind.
    talks: Ports,
    /// NICs with the host.
    speaks_host: Ports,
    /// NICs with one another.
    meets: BTreeSet<[IfName; 2]>,
    /// NICs with every other of their bridge.
    mixes: Ports,
    /// Bridges whose NICs meet all.
    mixed: Ports,
}

pub(super) fn allows(topology: &Topology<'_>) -> Allows {
    let mut allows = Allows::default();
    // In the order of their counters' names, each once: the order of the manifest changes nothing.
    let wanted: BTreeMap<String, &Allow> =
        topology.desired.allows.iter().map(|allow| (counter(allow), allow)).collect();
    for (counter, allow) in wanted {
        let flow = flow(allow, &counter);
        for (from, to) in pairs(allow, topology) {
            allows.acquaintances.add(&from, &to, topology);
            for (key, rules) in [(key(&from, &to), &flow.there), (key(&to, &from), &flow.back)] {
                if let Some(key) = key.filter(|_| !rules.is_empty()) {
                    allows.chains.entry(key).or_default().extend(rules.iter().cloned());
                }
            }
        }
        allows.counters.push(counter);
    }
    allows
}

impl Acquaintances {
    fn add(&mut self, from: &Side, to: &Side, topology: &Topology<'_>) {
        let nics = |side: &Side| match side {
            Side::Nic(tap) => vec![tap.clone()],
            Side::Segment(bridge) => {
                topology.nics().filter(|nic| nic.bridge == *bridge).map(|nic| nic.tap.clone()).collect()
            }
            Side::Outside(_) | Side::Host => Vec::new(),
        };
        self.talks.extend([from, to].into_iter().flat_map(nics));
        match (from, to) {
            (Side::Host, other) | (other, Side::Host) => self.speaks_host.extend(nics(other)),
            (Side::Nic(a), Side::Nic(b)) => self.meets.extend([[a.clone(), b.clone()], [b.clone(), a.clone()]]),
            (Side::Nic(tap), Side::Segment(_)) | (Side::Segment(_), Side::Nic(tap)) => {
                self.mixes.insert(tap.clone());
            }
            (Side::Segment(bridge), Side::Segment(_)) => {
                self.mixed.insert(bridge.clone());
            }
            (Side::Outside(_), _) | (_, Side::Outside(_)) => {}
        }
    }

    fn into_table(self, table: &mut Table) {
        let Self { talks, speaks_host, meets, mixes, mixed } = self;
        for (name, ports) in [("talks", talks), ("speaks_host", speaks_host), ("mixes", mixes), ("mixed", mixed)] {
            table.sets.insert(name, Set::new(NAME, ports.into_iter().map(|port| vec![port.to_string()])));
        }
        let meets = meets.into_iter().map(|pair| pair.iter().map(ToString::to_string).collect());
        table.sets.insert("meets", Set::new(NAMES, meets));
    }
}

impl Allows {
    pub(super) fn into_table(self, table: &mut Table) {
        self.acquaintances.into_table(table);
        table.counters.extend(self.counters);
        let mut rows: BTreeMap<&str, Vec<(Vec<String>, Verdict)>> = BTreeMap::new();
        for ((map, key), rules) in self.chains {
            // No name of an interface has a `/`.
            let chain = format!("{map}/{}", key.join("/"));
            rows.entry(map).or_default().push((key, Verdict::Jump(chain.clone())));
            table.chain(&chain, rules);
        }
        for (map, key) in MAPS {
            table.sets.insert(map, Set::map(key, rows.remove(map).unwrap_or_default()));
        }
    }
}

/// The map and the key in it that a packet from here to there is looked up by.
fn key(from: &Side, to: &Side) -> Option<(&'static str, Vec<String>)> {
    use Side::{Host, Nic, Outside, Segment};
    Some(match (from, to) {
        (Nic(a) | Outside(a), Nic(b) | Outside(b)) => ("pair", vec![a.to_string(), b.to_string()]),
        (Nic(a) | Outside(a), Segment(_)) => ("from_port", vec![a.to_string()]),
        (Segment(_), Nic(b) | Outside(b)) => ("to_port", vec![b.to_string()]),
        (Segment(a), Segment(_)) => ("among", vec![a.to_string()]),
        (Nic(a) | Outside(a), Host) => ("host_from", vec![a.to_string()]),
        (Segment(a), Host) => ("host_from_segment", vec![a.to_string()]),
        (Host, Nic(b) | Outside(b)) => ("host_to", vec![b.to_string()]),
        (Host, Segment(b)) => ("host_to_segment", vec![b.to_string()]),
        (Host, Host) => return None,
    })
}
