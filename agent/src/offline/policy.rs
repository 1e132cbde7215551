//! Our tables of a host.

use std::collections::BTreeMap;
use std::mem;

use bulkhead_policy::model::Observed;

use super::Host;
use super::text::{Family, Table};

/// The tables that an apply left, and what became of them.
pub(crate) fn observed(host: &mut Host<'_>) -> Result<Observed, String> {
    let observed = Observed::applied(&host.base.policy, host.ownable);
    let mut observed = observed.map_err(|error| error.to_string())?;
    change(&mut observed, mem::take(&mut host.text.table))?;
    Ok(observed)
}

fn change(observed: &mut Observed, tables: BTreeMap<Family, Table>) -> Result<(), String> {
    for (family, Table { absent, flushed, added }) in tables {
        let family = match family {
            Family::Bridge => "bridge",
            Family::Inet => "inet",
            Family::Arp => "arp",
        };
        for chain in flushed {
            if !observed.flush_chain(family, &chain) {
                return Err(format!("table {family} bulkhead has no chain {chain} to be flushed"));
            }
        }
        for chain in added {
            if !observed.add_chain(family, &chain) {
                return Err(format!("chain {chain} cannot be added to table {family} bulkhead, or is there"));
            }
        }
        if absent && !observed.delete_table(family) {
            return Err(format!("table {family} bulkhead is not there anyway"));
        }
    }
    Ok(())
}
