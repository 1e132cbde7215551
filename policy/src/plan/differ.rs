//! One table: what has to be added, taken away or made anew.

use std::collections::BTreeMap;

use crate::model::{Observed, ObservedSet, ObservedTable, TABLE};
use crate::rule::Verdict;
use crate::step::{Change, Step};
use crate::table::{Chain, Hook, Set, Table};
use crate::wire;

/// Adds the steps that make the table so, in an order in which nothing is used before it is there or deleted while in use.
pub(super) fn table(wanted: &Table, found: Option<&ObservedTable>, observed: &Observed, steps: &mut Vec<Step>) {
    let mut changes = Changes { wanted, steps };
    // One transaction does both, and no rule of ours relies on a policy, so that no frame passes in between.
    let anew = found.is_some_and(|found| !mendable(wanted, found, observed));
    if anew {
        changes.push(Change::DeleteTable);
    }
    let empty = ObservedTable::default();
    let there = found.filter(|_| !anew);
    let found = there.unwrap_or(&empty);
    if there.is_none() || (observed.ownable && (!found.flags.contains("owner") || observed.owned_by_another())) {
        changes.push(Change::AddTable { owned: observed.ownable });
    }
    changes.add_names(found);
    changes.chains(found);
    changes.delete_names(found);
}

/// Whether the table can become what is wanted while it stands. Sets and base chains cannot change their kind, a table that
/// was made without `persist` is never to be owned, and `dormant` unhooks its chains.
fn mendable(wanted: &Table, found: &ObservedTable, observed: &Observed) -> bool {
    let sets = wanted.sets.iter().all(|(name, set)| found.sets.get(*name).is_none_or(|found| same_kind(set, found)));
    let chain = |(name, chain): (&String, &Chain)| {
        found.chains.get(name).is_none_or(|found| found.base == chain.hook.as_ref().map(Hook::to_string))
    };
    wire::has_our_flags(&found.flags, observed.ownable) && sets && wanted.chains.iter().all(chain)
}

fn same_kind(set: &Set, found: &ObservedSet) -> bool {
    !found.foreign_form && found.verdicts == set.verdicts && found.key == set.key
}

struct Changes<'a> {
    wanted: &'a Table,
    steps: &'a mut Vec<Step>,
}

impl Changes<'_> {
    fn push(&mut self, change: Change) {
        self.steps.push(Step { family: self.wanted.family, table: TABLE, change });
    }

    /// What rules and elements name.
    fn add_names(&mut self, found: &ObservedTable) {
        let wanted = self.wanted;
        for name in wanted.counters.difference(&found.counters) {
            self.push(Change::AddCounter { name: name.clone() });
        }
        for (name, set) in wanted.sets.iter().filter(|(name, _)| !found.sets.contains_key(**name)) {
            self.push(Change::AddSet { name: (*name).to_owned(), key: set.key, verdicts: set.verdicts });
        }
        // Base chains last: from then on, within this transaction, everything that they lead to is there.
        let missing = || wanted.chains.iter().filter(|(name, _)| !found.chains.contains_key(*name));
        for (name, chain) in
            missing().filter(|(_, c)| c.hook.is_none()).chain(missing().filter(|(_, c)| c.hook.is_some()))
        {
            self.push(Change::AddChain { name: name.clone(), hook: chain.hook });
        }
    }

    /// Rules and elements: what is stale goes before what is new comes, since a key has one verdict at a time.
    fn chains(&mut self, found: &ObservedTable) {
        let wanted = self.wanted;
        let mut written = Vec::new();
        for (name, chain) in &wanted.chains {
            let there = found.chains.get(name).map(|found| found.rules.as_slice()).unwrap_or_default();
            let same = there.len() == chain.rules.len()
                && chain
                    .rules
                    .iter()
                    .zip(there)
                    .all(|(rule, there)| wire::listed(rule).is_ok_and(|rule| rule == *there));
            if !same {
                if !there.is_empty() {
                    self.push(Change::FlushChain { name: name.clone() });
                }
                written.push((name, chain));
            }
        }
        for name in found.chains.keys().filter(|name| !wanted.chains.contains_key(*name)) {
            self.push(Change::FlushChain { name: name.clone() });
        }
        let nothing = BTreeMap::new();
        for (name, set) in &wanted.sets {
            let there = found.sets.get(*name).map_or(&nothing, |found| &found.elements);
            let stale = there.iter().filter(|(key, to)| set.elements.get(*key).map(word) != Some((*to).clone()));
            let stale: Vec<_> = stale.map(|(key, _)| key.clone()).collect();
            if !stale.is_empty() {
                self.push(Change::DeleteElements { name: (*name).to_owned(), elements: stale });
            }
        }
        for (name, set) in &wanted.sets {
            let there = found.sets.get(*name).map_or(&nothing, |found| &found.elements);
            let new = set.elements.iter().filter(|(key, to)| there.get(*key) != Some(&word(to)));
            let new: Vec<_> = new.map(|(key, to)| (key.clone(), to.clone())).collect();
            if !new.is_empty() {
                self.push(Change::AddElements { name: (*name).to_owned(), elements: new });
            }
        }
        for (name, chain) in written {
            for rule in &chain.rules {
                self.push(Change::AddRule { chain: name.clone(), rule: rule.clone() });
            }
        }
    }

    /// What nothing names any more.
    fn delete_names(&mut self, found: &ObservedTable) {
        let wanted = self.wanted;
        let stale = |name: &&String| !wanted.sets.contains_key(name.as_str());
        for name in found.chains.keys().filter(|name| !wanted.chains.contains_key(*name)) {
            self.push(Change::DeleteChain { name: name.clone() });
        }
        for (name, set) in found.sets.iter().filter(|(name, _)| stale(name)) {
            let kind = if set.verdicts { "map" } else { "set" };
            self.push(Change::DeleteObject { kind: kind.to_owned(), name: name.clone() });
        }
        for name in found.counters.difference(&wanted.counters) {
            self.push(Change::DeleteCounter { name: name.clone() });
        }
        for (kind, name) in &found.foreign {
            self.push(Change::DeleteObject { kind: kind.clone(), name: name.clone() });
        }
    }
}

/// A verdict as it is listed.
fn word(verdict: &Option<Verdict>) -> Option<String> {
    verdict.as_ref().map(ToString::to_string)
}
