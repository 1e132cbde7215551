//! The conntrack zone of each bridge. The kernel keeps the number with every flow, so that a bridge keeps its number for as
//! long as it and our rules stand, whatever else is declared, and whichever release gave it. Where somebody flushes the rules, the
//! numbers go with them, and bridges get those of their names.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_types::IfName;

use crate::hash::fnv;
use crate::model::{Bridge, Observed};
use crate::table::Family;
use crate::wire;

/// The chain that gives packets their zone.
pub(crate) const CHAIN: &str = "zone";

/// Zones by bridge.
pub(crate) type Zones = BTreeMap<IfName, u16>;

/// The zone of each of these bridges: the one that the kernel's present rules give it, and for the others a free one, found
/// by the hash of the bridge's name and counting up from there. None is 0, which is the host's own, and no two are the same.
/// A bridge for which no number is left, with 65535 others, is not in the result.
pub(crate) fn allot(bridges: &[Bridge], observed: &Observed) -> Zones {
    let present = present(observed);
    let names: BTreeSet<&IfName> = bridges.iter().map(|bridge| &bridge.name).collect();
    let mut zones = Zones::new();
    let mut used = BTreeSet::from([0]);
    for name in &names {
        if let Some(zone) = present.get(name.as_str()).filter(|zone| used.insert(**zone)) {
            zones.insert((*name).clone(), *zone);
        }
    }
    for name in names {
        if !zones.contains_key(name)
            && let Some(zone) = free(name, &used)
        {
            used.insert(zone);
            zones.insert(name.clone(), zone);
        }
    }
    zones
}

fn free(name: &IfName, used: &BTreeSet<u16>) -> Option<u16> {
    let first = u16::try_from(fnv(name.as_str().as_bytes()) % (1 << 16)).unwrap_or(0);
    (0..=u16::MAX).map(|step| first.wrapping_add(step)).find(|zone| !used.contains(zone))
}

/// The zones that the rules of the kernel give, by the bridge's name. Of two numbers for one bridge the first counts.
fn present(observed: &Observed) -> BTreeMap<String, u16> {
    let chain = observed.tables.get(Family::Bridge.as_str()).and_then(|table| table.chains.get(CHAIN));
    let mut zones = BTreeMap::new();
    for (bridge, zone) in chain.iter().flat_map(|chain| &chain.rules).flat_map(wire::zones) {
        zones.entry(bridge).or_insert(zone);
    }
    zones
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ObservedChain, ObservedTable};
    use crate::rule::Rule;

    fn bridge(name: &str) -> Bridge {
        let (name, outside, mac) =
            (name.parse().unwrap(), "eth1".parse().unwrap(), "52:54:00:00:00:20".parse().unwrap());
        Bridge { segment: None, name, outside, mac, host: false, addresses: Vec::new() }
    }

    /// A kernel whose rules give these zones.
    fn kernel(rules: &[&[(&str, u16)]]) -> Observed {
        let rule = |zones: &&[(&str, u16)]| {
            let zones = zones.iter().map(|(bridge, zone)| ((*bridge).to_owned(), *zone)).collect();
            wire::listed(&Rule::new().zone(zones)).unwrap()
        };
        let chain = ObservedChain { base: None, rules: rules.iter().map(rule).collect() };
        let table = ObservedTable { chains: [(CHAIN.to_owned(), chain)].into(), ..ObservedTable::default() };
        Observed { tables: [(Family::Bridge.as_str(), table)].into(), ..Observed::default() }
    }

    fn allotted(names: &[&str], observed: &Observed) -> Vec<(String, u16)> {
        let bridges: Vec<Bridge> = names.iter().map(|name| bridge(name)).collect();
        allot(&bridges, observed).into_iter().map(|(name, zone)| (name.to_string(), zone)).collect()
    }

    #[test]
    fn a_bridge_keeps_the_zone_that_an_earlier_release_gave_it() {
        // The tag, and 4096 times the trunk's place: what `br20` on a second trunk had.
        let observed = kernel(&[&[("br20", 4116), ("br30", 30)]]);
        let zones = allotted(&["br10", "br20", "br30"], &observed);
        assert_eq!(zones[1..], [("br20".to_owned(), 4116), ("br30".to_owned(), 30)]);
    }

    #[test]
    fn a_zone_that_is_used_is_passed_by() {
        let alone = allotted(&["br20"], &Observed::default())[0].1;
        let observed = kernel(&[&[("br30", alone), ("br40", alone.wrapping_add(1))]]);
        let zones = allotted(&["br20", "br30", "br40"], &observed);
        assert_eq!(zones[0].1, alone + 2);
        let gone = allotted(&["br20", "br40"], &observed);
        assert_eq!(gone[0].1, alone, "and is free once its bridge has gone");
    }

    #[test]
    fn what_somebody_wrote_into_the_chain_gives_no_two_bridges_one_zone_and_none_the_hosts() {
        let observed = kernel(&[&[("br20", 0), ("br30", 7), ("br40", 7)], &[("br30", 9)]]);
        let zones = allotted(&["br20", "br30", "br40"], &observed);
        assert_eq!(zones[1].1, 7);
        let numbers: BTreeSet<u16> = zones.iter().map(|(_, zone)| *zone).collect();
        assert!(numbers.len() == 3 && !numbers.contains(&0), "{zones:?}");
    }

    #[test]
    fn the_last_number_is_found_and_a_bridge_too_many_has_none() {
        let present: Vec<(String, u16)> = (2..=u16::MAX).map(|zone| (format!("b{zone}"), zone)).collect();
        let present: Vec<(&str, u16)> = present.iter().map(|(name, zone)| (name.as_str(), *zone)).collect();
        let mut names: Vec<&str> = present.iter().map(|(name, _)| *name).collect();
        names.push("x1");
        let zones = allotted(&names, &kernel(&[&present]));
        assert_eq!(zones.last().unwrap(), &("x1".to_owned(), 1));
        names.push("x2");
        assert_eq!(allotted(&names, &kernel(&[&present])), zones);
    }
}
