//! Reading what the kernel has: the names of all tables, and the content of ours.

mod decode;

use std::collections::BTreeMap;

use crate::error::Error;
use crate::model::{Counter, LOCKDOWN_TABLE, Observed, ObservedTable, TABLE};
use crate::ruleset::Ruleset;
use crate::table::Family;
use crate::wire;

impl Ruleset {
    /// Reads our tables, and of all others only whether the lockdown is there. Changes nothing.
    ///
    /// # Errors
    /// [`Error`]: what was read would not be whole, so nothing is returned. Try again, on the next wake at the latest.
    pub async fn observe(&mut self) -> Result<Observed, Error> {
        let all = self.lister.tables()?;
        let there = |family: Family, name: &str| all.iter().find(|table| table.is(family, name));
        let mut tables = BTreeMap::new();
        let mut counters = Vec::new();
        for family in Family::ALL {
            let Some(table) = there(family, TABLE) else { continue };
            // One with other flags is made anew, whatever is in it, and must not be listed: see `nfnetlink`. One without any
            // may have to be made anew too, and tells the zones that running flows have.
            let listed = table.flags.is_empty() || wire::has_our_flags(&table.flags, self.ownable);
            let (found, counted) = if listed { self.list(family).await? } else { Default::default() };
            counters.extend(counted);
            tables.insert(family.as_str(), ObservedTable { flags: table.flags.clone(), ..found });
        }
        let owned = tables.len() == Family::ALL.len() && tables.values().all(|found| found.flags.contains("owner"));
        let lockdown = there(Family::Bridge, LOCKDOWN_TABLE).is_some();
        // Once claimed they are this context's until it ends or they are gone: nobody else can take them, nor let them go.
        self.claimed = owned && (self.claimed || self.is_ours().await?);
        Ok(Observed { counters, owned: self.claimed, ownable: self.ownable, lockdown, tables })
    }

    /// What is in our table of that family, and what its counters say.
    async fn list(&self, family: Family) -> Result<(ObservedTable, Vec<Counter>), Error> {
        let what = "list our table";
        let listed = self.run(what, wire::list_table(family, TABLE)).await?;
        decode::table(&listed.map_err(|text| Error::Refused { what, text: text.trim().to_owned() })?)
    }

    /// Whether the owner of all tables is this context: what is listed does not say who. The kernel refuses a claim on what
    /// somebody else owns; a claim on what is ours already changes nothing, and leaves the generation as it is. Asked once.
    async fn is_ours(&self) -> Result<bool, Error> {
        let claim = wire::claim(&Family::ALL, TABLE);
        Ok(self.run("claim our tables", claim).await?.is_ok())
    }
}
