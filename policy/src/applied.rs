//! What the kernel has once a manifest was applied, and what may have become of it: for plans of hosts that are not this one.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Desired, Observed, ObservedChain, ObservedSet, ObservedTable};
use crate::rules;
use crate::table::{Hook, Set, Table};
use crate::{wire, zones};

impl Observed {
    /// What a kernel has once this was applied there by the process that asks; `ownable` is whether it can own tables, so that
    /// nobody else changes them.
    ///
    /// # Errors
    /// A rule of ours that nft has no form for: a bug.
    pub fn applied(desired: &Desired, ownable: bool) -> Result<Self, serde_json::Error> {
        let zones = zones::allot(&desired.bridges, &Self::default());
        let mut tables = BTreeMap::new();
        for table in rules::tables(desired, &BTreeSet::new(), &zones) {
            tables.insert(table.family.as_str(), listed(&table, ownable)?);
        }
        let owned = ownable && !tables.is_empty();
        Ok(Self { counters: Vec::new(), owned, ownable, lockdown: false, tables })
    }

    /// Takes our table of that family away, `bridge` or `inet`, as `nft delete table` does. False where it is not there.
    pub fn delete_table(&mut self, family: &str) -> bool {
        self.tables.remove(family).is_some()
    }

    /// Takes every rule out of a chain of ours, as `nft flush chain` does. False where there is no such chain.
    pub fn flush_chain(&mut self, family: &str, chain: &str) -> bool {
        let found = self.tables.get_mut(family).and_then(|table| table.chains.get_mut(chain));
        found.map(|chain| chain.rules.clear()).is_some()
    }

    /// Adds a chain without rules to our table, as `nft add chain` does. False where that table is not there, or has one of that
    /// name.
    pub fn add_chain(&mut self, family: &str, chain: &str) -> bool {
        let Some(table) = self.tables.get_mut(family) else { return false };
        table.chains.insert(chain.to_owned(), ObservedChain::default()).is_none()
    }
}

/// A table of ours as it is listed once it was committed.
fn listed(table: &Table, ownable: bool) -> Result<ObservedTable, serde_json::Error> {
    let Table { family: _, counters, sets, chains } = table;
    let mut found = ObservedTable {
        flags: wire::our_flags(ownable),
        counters: counters.clone(),
        sets: sets.iter().map(|(name, set)| ((*name).to_owned(), listed_set(set))).collect(),
        ..ObservedTable::default()
    };
    for (name, chain) in chains {
        let rules = chain.rules.iter().map(wire::listed).collect::<Result<_, _>>()?;
        let base = chain.hook.as_ref().map(Hook::to_string);
        found.chains.insert(name.clone(), ObservedChain { base, rules });
    }
    Ok(found)
}

fn listed_set(set: &Set) -> ObservedSet {
    ObservedSet {
        key: set.key.iter().map(|part| (*part).to_owned()).collect(),
        verdicts: set.verdicts,
        foreign_form: false,
        elements: set.elements.iter().map(|(key, to)| (key.clone(), to.as_ref().map(ToString::to_string))).collect(),
    }
}
