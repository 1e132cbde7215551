//! What to call of libvirt so that it equals the manifest. Pure: no I/O, no clock.

mod disks;
mod domains;
mod leave;
mod networks;
mod pools;
#[cfg(test)]
mod tests;
mod writers;

use std::collections::BTreeMap;

use bulkhead_types::{Cause, GuestName, Object};

pub(super) use networks::DEFAULT;

use super::hold::Hold;
use super::model::{Desired, Observed};
use super::step::Step;

/// The calls of libvirt that are missing.
pub type Plan = bulkhead_types::Plan<Step>;

/// Which guests may start, and whether one may be destroyed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admission {
    /// Guests that lack something of an earlier room: they are prepared, and not started.
    pub holds: BTreeMap<GuestName, Hold>,
    /// Whether a guest that left the manifest and does not shut down in [`super::model::Timing::shutdown_timeout`] is destroyed.
    pub force: bool,
}

/// Plans the way from what was observed to what the manifest says.
///
/// The order, and why: pools hold volumes, volumes and networks are what a domain names, a domain is started only when
/// everything it names is there. What leaves the manifest goes last, so that it never delays what comes.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, admission: &Admission) -> Plan {
    let mut plan = Plan::default();
    if let Some(why) = &observed.down {
        let text = format!("waits for libvirt: {why}");
        for object in objects(desired) {
            plan.notice(object, Cause::Pending, text.clone());
        }
        return plan;
    }
    let pools = pools::plan(desired, observed, &mut plan);
    let conflicts = writers::conflicts(desired, observed);
    domains::volumes(desired, observed, &conflicts, &pools, &mut plan);
    networks::plan(desired, observed, &mut plan);
    domains::plan(desired, observed, admission, &conflicts, &pools, &mut plan);
    networks::leave(desired, observed, &mut plan);
    leave::plan(desired, observed, admission, &mut plan);
    plan
}

fn objects(desired: &Desired) -> impl Iterator<Item = Object> {
    let pools = desired.pools.iter().map(|pool| Object::Pool(pool.name.clone()));
    let networks = desired.networks.iter().map(|network| Object::Network(network.name.clone()));
    let guests = desired.guests.iter().map(|guest| Object::Guest(guest.name.clone()));
    pools.chain(networks).chain(guests)
}
