//! What nf_tables does with a transaction, and what it refuses, as far as plans meet it.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::model::{LOCKDOWN_TABLE, Observed, ObservedChain, ObservedSet, ObservedTable};
use crate::rule::{Right, Rule, Statement, Verdict};
use crate::step::{Change, Step};
use crate::wire;

/// Commits all steps, or says why the kernel would refuse them.
pub(super) fn commit(observed: &mut Observed, steps: &[Step]) -> Result<(), String> {
    for step in steps {
        let family = step.family.as_str();
        let refused = |why: &str| format!("{step}: {why}");
        if step.table == LOCKDOWN_TABLE {
            observed.lockdown = false;
            continue;
        }
        match &step.change {
            Change::AddTable { owned } => {
                let there = observed.tables.contains_key(family);
                let found = observed.tables.entry(family).or_default();
                if *owned {
                    if there && !found.flags.contains("persist") {
                        return Err(refused("a plain table is never owned"));
                    }
                    found.flags = ["owner", "persist"].map(str::to_owned).into();
                }
            }
            Change::DeleteTable => drop(observed.tables.remove(family).ok_or_else(|| refused("no table"))?),
            _ => change(observed.tables.get_mut(family).ok_or_else(|| refused("no table"))?, step)
                .map_err(|why| refused(&why))?,
        }
    }
    // The kernel knows this of itself; the model is told by the rules that the steps brought.
    observed.owned = observed.tables.len() == crate::table::Family::ALL.len()
        && observed.tables.values().all(|found| found.flags.contains("owner"));
    Ok(())
}

fn change(found: &mut ObservedTable, step: &Step) -> Result<(), String> {
    let missing = |what: &str| Err(format!("no {what}"));
    match &step.change {
        Change::AddCounter { name } => drop(found.counters.insert(name.clone())),
        Change::DeleteCounter { name } => {
            if used(found, &format!("{{\"counter\":\"{name}\"}}")) || !found.counters.remove(name) {
                return Err("the counter is in use or not there".to_owned());
            }
        }
        Change::AddSet { name, key, verdicts } => {
            let key = key.iter().map(|part| (*part).to_owned()).collect();
            found.sets.insert(name.clone(), ObservedSet { key, verdicts: *verdicts, ..ObservedSet::default() });
        }
        Change::AddElements { name, elements } => {
            let chains: BTreeSet<String> = found.chains.keys().cloned().collect();
            let Some(set) = found.sets.get_mut(name) else { return missing("set") };
            for (key, verdict) in elements {
                if let Some(Verdict::Jump(to) | Verdict::Goto(to)) = verdict
                    && !chains.contains(to)
                {
                    return missing("chain to go to");
                }
                if set.elements.insert(key.clone(), verdict.as_ref().map(ToString::to_string)).is_some() {
                    return Err("the element is there already".to_owned());
                }
            }
        }
        Change::DeleteElements { name, elements } => {
            let Some(set) = found.sets.get_mut(name) else { return missing("set") };
            for key in elements {
                set.elements.remove(key).ok_or("no element")?;
            }
        }
        Change::AddChain { name, hook } => {
            let base = hook.as_ref().map(ToString::to_string);
            found.chains.insert(name.clone(), ObservedChain { base, rules: Vec::new() });
        }
        Change::FlushChain { name } => match found.chains.get_mut(name) {
            Some(chain) => chain.rules.clear(),
            None => return missing("chain"),
        },
        Change::DeleteChain { name } => {
            let wanted = [format!("jump {name}"), format!("goto {name}")];
            let mapped = found.sets.values().flat_map(|set| set.elements.values().flatten());
            if mapped.clone().any(|to| wanted.contains(to)) || used(found, &format!("{{\"target\":\"{name}\"}}")) {
                return Err("the chain is in use".to_owned());
            }
            found.chains.remove(name).ok_or("no chain")?;
        }
        Change::AddRule { chain, rule } => {
            refers(found, rule)?;
            let listed = wire::listed(rule).map_err(|error| error.to_string())?;
            let Some(chain) = found.chains.get_mut(chain) else { return missing("chain") };
            chain.rules.push(listed);
        }
        Change::DeleteObject { kind, name } if kind == "set" || kind == "map" => {
            if used(found, &format!("\"@{name}\"")) || found.sets.remove(name).is_none() {
                return Err("the set is in use or not there".to_owned());
            }
        }
        Change::DeleteObject { kind, name } => found.foreign.retain(|other| other != &(kind.clone(), name.clone())),
        Change::AddTable { .. } | Change::DeleteTable => {}
    }
    Ok(())
}

fn used(found: &ObservedTable, text: &str) -> bool {
    found.chains.values().flat_map(|chain| &chain.rules).any(|rule: &Json| rule.to_string().contains(text))
}

/// Everything that a rule names has to be there.
fn refers(found: &ObservedTable, rule: &Rule) -> Result<(), String> {
    let chain = |name: &str| found.chains.contains_key(name);
    let set = |name: &str| found.sets.contains_key(name);
    let good = rule.0.iter().all(|statement| match statement {
        Statement::Match(_, Right::In(name)) | Statement::Lookup(_, name) => set(name),
        Statement::Count(name) => found.counters.contains(name),
        Statement::Verdict(Verdict::Jump(name) | Verdict::Goto(name)) => chain(name),
        Statement::Choose(_, cases) => cases.iter().all(|(_, name)| chain(name)),
        Statement::Match(..) | Statement::Verdict(_) | Statement::Zone(_) | Statement::Ipv4Fragment => true,
    });
    if good { Ok(()) } else { Err("it names what is not there".to_owned()) }
}
