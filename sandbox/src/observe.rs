//! What systemd and the kernel have of ours. Reads only.

use crate::cgroup;
use crate::error::Error;
use crate::model::{Observed, Slice};
use crate::systemd::Systemd;
use crate::unit::{guest_of_keeper, guest_of_slice};

/// The names of all slices and keepers that could be ours; which really are, `unit` decides.
const PATTERNS: [&str; 2] = ["machine-bulkhead-*.slice", "bulkhead-slice@*.service"];

impl Systemd {
    /// Reads every slice and keeper of ours, each slice's limits from systemd and from its cgroup.
    ///
    /// # Errors
    /// When systemd cannot be asked, or the controllers are not on cgroup v2.
    pub async fn observe(&mut self) -> Result<Observed, Error> {
        let mut observed = Observed { missing: cgroup::missing()?, ..Observed::default() };
        for unit in self.list(&PATTERNS).await? {
            if let Some(guest) = guest_of_keeper(&unit.name) {
                observed.slices.entry(guest).or_default().kept = unit.active;
            } else if let Some(guest) = guest_of_slice(&unit.name) {
                let Some(properties) = self.slice(&unit).await? else { continue };
                let cgroup = match properties.group {
                    Some(group) => cgroup::read(&group)?,
                    None => None,
                };
                let slice: &mut Slice = observed.slices.entry(guest).or_default();
                slice.properties = properties.limits;
                slice.cgroup = cgroup;
            }
        }
        Ok(observed)
    }
}
