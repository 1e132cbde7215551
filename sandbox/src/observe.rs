//! What systemd and the kernel have of ours. Reads only.

use bulkhead_types::{Known, chain};

use crate::cgroup::Tree;
use crate::error::Error;
use crate::model::Observed;
use crate::systemd::{Listed, Properties, Systemd};
use crate::unit::{guest_of_keeper, guest_of_slice};

/// The names of all slices and keepers that could be ours; which really are, `unit` decides.
const PATTERNS: [&str; 2] = ["machine-bulkhead-*.slice", "bulkhead-slice@*.service"];

impl Systemd {
    /// Reads every slice and keeper of ours, each slice's limits from systemd and from its cgroup. A slice that cannot be read
    /// is unknown, and the others are read.
    ///
    /// # Errors
    /// When systemd cannot be asked, or the controllers are not on cgroup v2.
    pub async fn observe(&mut self) -> Result<Observed, Error> {
        let mut tree = Tree::open()?;
        let mut observed = Observed { missing: tree.missing()?, ..Observed::default() };
        for unit in self.list(&PATTERNS).await? {
            if let Some(guest) = guest_of_keeper(&unit.name) {
                observed.slices.entry(guest).or_default().kept = unit.active;
            } else if let Some(guest) = guest_of_slice(&unit.name) {
                let Some(properties) = self.properties(&unit).await? else { continue };
                let slice = observed.slices.entry(guest).or_default();
                slice.cgroup = match properties.group {
                    Known::Known(Some(group)) => tree.slice(&group).into(),
                    Known::Known(None) => Known::Known(None),
                    Known::Unknown(why) => Known::Unknown(why),
                };
                slice.properties = properties.limits;
            }
        }
        Ok(observed)
    }

    /// What systemd says of a slice. What it refuses to say of this one is unknown; an error is about them all.
    async fn properties(&mut self, slice: &Listed) -> Result<Option<Properties>, Error> {
        match self.slice(slice).await {
            Err(error) if !error.is_of_the_bus() => {
                let why = chain(&error);
                Ok(Some(Properties { limits: Known::Unknown(why.clone()), group: Known::Unknown(why) }))
            }
            answer => answer,
        }
    }
}
