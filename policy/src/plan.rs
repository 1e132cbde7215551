//! What is missing between desired and observed, as a value. Pure: no I/O, no clock.

mod differ;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use bulkhead_types::{Cause, Object};

use crate::model::{Desired, LOCKDOWN_TABLE, Observed, TABLE};
use crate::rules;
use crate::step::{Change, Step};
use crate::table::Family;
use crate::zones;

/// What is missing between the ruleset as desired and as observed: one transaction.
pub type Plan = bulkhead_types::Plan<Step>;

/// Says which commands make the ruleset so. Teardown is the plan towards [`Desired::default`], which has no
/// tables.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let closed = if desired.keep_closed { observed.bridges() } else { BTreeSet::new() };
    let wanted = rules::tables(desired, &closed, &zones::allot(&desired.bridges, observed));
    for family in Family::ALL {
        let found = observed.tables.get(family.as_str());
        match (wanted.iter().find(|table| table.family == family), found) {
            (Some(table), found) => differ::table(table, found, observed, &mut plan.steps),
            (None, Some(_)) => plan.steps.push(Step { family, table: TABLE, change: Change::DeleteTable }),
            (None, None) => {}
        }
    }
    // After what replaces it, in the same transaction: a drop in any table is final.
    if observed.lockdown {
        plan.steps.push(Step { family: Family::Bridge, table: LOCKDOWN_TABLE, change: Change::DeleteTable });
    }
    notices(!wanted.is_empty(), observed, &mut plan);
    plan
}

fn notices(wanted: bool, observed: &Observed, plan: &mut Plan) {
    if wanted && !observed.ownable {
        plan.notice(
            Object::Policy,
            Cause::Unsupported,
            "this kernel or nft cannot hold a table against other processes (kernel 6.9 and nft 1.1 can): \
             `nft flush ruleset` opens the bridges until the change is repaired, by its event",
        );
    } else if observed.owned_by_another() {
        plan.notice(
            Object::Policy,
            Cause::Clash,
            format!("another process owns the tables `{TABLE}`, so that they cannot be changed: end it"),
        );
    }
}
