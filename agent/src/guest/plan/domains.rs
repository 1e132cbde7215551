//! Guests: their volumes, their definitions, their starts, and their leave.

use bulkhead_types::{Cause, GuestName, Object};

use super::pools::Pools;
use super::{Given, Plan};
use crate::guest::model::{
    Definition, Desired, Disk, DomainFound, Guest, Observed, Recent, SHUTDOWN_PATIENCE, START_INTERVAL, State,
};
use crate::guest::step::Step;
use crate::guest::xml::{domain_xml, volume_xml};

/// Plans the volumes that no definition names yet. One that a definition names was there once: an empty one in its place
/// would hide the loss, so its guest waits for a person instead.
pub(super) fn volumes(desired: &Desired, observed: &Observed, pools: &Pools, plan: &mut Plan) {
    for guest in desired.guests.iter().filter(|guest| !is_foreign(observed, guest)) {
        for disk in &guest.disks {
            let Some(Ok(at)) = pools.get(&disk.pool) else { continue };
            match capacity(observed, disk) {
                Some(capacity) if capacity != disk.size => {
                    let text = format!(
                        "volume {} of pool {at} is {capacity} bytes, the manifest says {}; a volume is never resized: \
                         `virsh vol-resize {} {} --pool {at}`, or correct the manifest",
                        disk.volume, disk.size, disk.volume, disk.size
                    );
                    plan.notice(Object::Guest(guest.name.clone()), Cause::Held, text);
                }
                Some(_) => {}
                None if is_named(desired, observed, guest, disk) => {}
                None => plan.steps.push(Step::CreateVolume {
                    guest: guest.name.clone(),
                    pool: disk.pool.clone(),
                    at: at.clone(),
                    volume: disk.volume.clone(),
                    xml: volume_xml(disk),
                }),
            }
        }
    }
}

/// Plans the definitions and starts of the manifest's guests.
pub(super) fn plan(desired: &Desired, observed: &Observed, given: &Given, pools: &Pools, plan: &mut Plan) {
    for guest in &desired.guests {
        let object = || Object::Guest(guest.name.clone());
        if is_foreign(observed, guest) {
            let text = format!(
                "the manifest declares guest {0}, but a domain {0} that is not ours is there; rename the guest in the \
                 manifest, or the domain by `virsh domrename {0} NEW`",
                guest.name
            );
            plan.notice(object(), Cause::Clash, text);
            continue;
        }
        let found = observed.domains.get(guest.name.as_str());
        let without_pool = guest.disks.iter().find_map(|disk| match pools.get(&disk.pool) {
            Some(Ok(_)) => None,
            Some(Err(why)) => Some(why.clone()),
            None => Some(format!("its pool {} is not in the manifest", disk.pool)),
        });
        // Without its volumes a definition would claim that they had been there.
        if without_pool.is_none() {
            define(desired, observed, guest, plan);
        }
        if found.is_some_and(|found| found.autostart) {
            plan.steps.push(Step::NoAutostart { guest: guest.name.clone() });
        }
        let held = without_pool.or_else(|| given.blocked.get(&guest.name).cloned());
        let held = held.or_else(|| lost_volume(desired, observed, guest));
        run(observed, guest, held, plan);
        if !observed.host.accelerated() {
            let text = "runs under QEMU's emulation, many times slower than the CPU: libvirt offers no KVM here; enable \
                        virtualisation in the firmware and load the module kvm_intel or kvm_amd";
            plan.notice(object(), Cause::Unsupported, text);
        }
    }
}

fn define(desired: &Desired, observed: &Observed, guest: &Guest, plan: &mut Plan) {
    let found = observed.domains.get(guest.name.as_str());
    let mut wanted = Definition::of(guest, &desired.pools, &observed.host);
    if let Some(machine) = found.and_then(|found| found.definition.machine.clone()) {
        wanted.machine = Some(machine);
    }
    let mut differences = found.map(|found| wanted.differences(&found.definition)).unwrap_or_default();
    if found.is_some_and(|found| !found.persistent) {
        differences.push("undefined while it runs".to_owned());
    }
    if found.is_none() || !differences.is_empty() {
        let uuid = found.map(|found| found.uuid.as_str());
        let xml = domain_xml(guest.name.as_str(), &wanted, uuid);
        plan.steps.push(Step::DefineDomain { guest: guest.name.clone(), xml, differences });
    }
    let running = found.and_then(|found| found.running.as_ref());
    let old = running.map(|running| wanted.lasting_differences(running)).unwrap_or_default();
    if !old.is_empty() {
        let text = format!(
            "runs with the old definition until it is restarted ({}): `virsh shutdown {}`, and it is started again",
            old.join("; "),
            guest.name
        );
        plan.notice(Object::Guest(guest.name.clone()), Cause::Held, text);
    }
}

fn run(observed: &Observed, guest: &Guest, held: Option<String>, plan: &mut Plan) {
    let found = observed.domains.get(guest.name.as_str());
    let object = Object::Guest(guest.name.clone());
    let waits = observed.recent.get(&guest.name).filter(|recent| recent.started.is_some());
    match (found.map(|found| &found.state), held) {
        (Some(State::Paused(why)), _) => {
            let text =
                format!("is paused ({why}) and was left so; `virsh resume {}` once its cause is gone", guest.name);
            plan.notice(object, Cause::Held, text);
        }
        (Some(State::Other(what)), _) => plan.notice(object, Cause::Pending, format!("is {what}")),
        (Some(State::Running), Some(why)) => plan.notice(object, Cause::Held, format!("runs, although {why}")),
        (_, Some(why)) if guest.start => plan.notice(object, Cause::Held, format!("is not started: {why}")),
        (_, Some(why)) => plan.notice(object, Cause::Held, why),
        (Some(State::Running), None) => {}
        (Some(State::ShutOff) | None, None) if !guest.start => {}
        (Some(State::ShutOff) | None, None) => match waits {
            Some(recent) => plan.notice(object, Cause::Pending, again(recent)),
            None => plan.steps.push(Step::Start { guest: guest.name.clone() }),
        },
    }
}

fn again(recent: &Recent) -> String {
    let interval = START_INTERVAL.as_secs();
    match &recent.failure {
        Some(why) => format!("could not be started ({why}); is tried again {interval} s after that"),
        None => format!("stopped again; is started {interval} s after its last start"),
    }
}

/// Plans the leave of guests that are ours and no longer in the manifest: asked, kept and reported, destroyed if forced,
/// and forgotten once they are down. Their volumes stay.
pub(super) fn leave(desired: &Desired, observed: &Observed, given: &Given, plan: &mut Plan) {
    let ours = observed.domains.iter().filter(|(_, found)| found.owned);
    for (name, found) in ours {
        let declared = desired.guests.iter().any(|guest| guest.name.as_str() == name);
        // Our mark names its domain, and only names of guests are ever marked.
        let Ok(guest) = name.parse::<GuestName>() else { continue };
        if !declared {
            leave_one(guest, found, observed, given, plan);
        }
    }
}

fn leave_one(guest: GuestName, found: &DomainFound, observed: &Observed, given: &Given, plan: &mut Plan) {
    let object = Object::Guest(guest.clone());
    let asked = observed.recent.get(&guest).and_then(|recent| recent.shut_down);
    let patience = SHUTDOWN_PATIENCE.as_secs();
    let kept = "`apply --force` destroys it";
    match (&found.state, asked) {
        (State::ShutOff, _) => plan.steps.push(Step::UndefineDomain { guest }),
        (State::Running, None) => plan.steps.push(Step::Shutdown { guest }),
        (State::Running, Some(asked)) if asked < SHUTDOWN_PATIENCE => {
            plan.notice(object, Cause::Pending, format!("left the manifest and has {patience} s to shut down"));
        }
        _ if given.force => {
            plan.steps.push(Step::Destroy { guest: guest.clone() });
            if found.persistent {
                plan.steps.push(Step::UndefineDomain { guest });
            }
        }
        (State::Running, Some(_)) => {
            let text = format!("left the manifest, but did not shut down in {patience} s and was kept; {kept}");
            plan.notice(object, Cause::Held, text);
        }
        (State::Paused(what) | State::Other(what), _) => {
            let text = format!("left the manifest, but is {what} and cannot be asked to shut down; {kept}");
            plan.notice(object, Cause::Held, text);
        }
    }
}

fn is_foreign(observed: &Observed, guest: &Guest) -> bool {
    observed.domains.get(guest.name.as_str()).is_some_and(|found| !found.owned)
}

fn capacity(observed: &Observed, disk: &Disk) -> Option<u64> {
    observed.volumes.get(&disk.pool)?.get(&disk.volume).copied()
}

/// Whether the guest's present definition names this disk's image.
fn is_named(desired: &Desired, observed: &Observed, guest: &Guest, disk: &Disk) -> bool {
    let path = desired.pools.iter().find(|pool| pool.name == disk.pool).map(|pool| pool.path.join(&disk.volume));
    let found = observed.domains.get(guest.name.as_str());
    found.is_some_and(|found| found.definition.disks.iter().any(|disk| disk.path == path))
}

fn lost_volume(desired: &Desired, observed: &Observed, guest: &Guest) -> Option<String> {
    let lost = guest.disks.iter().find(|disk| {
        let listed = observed.volumes.contains_key(&disk.pool);
        listed && capacity(observed, disk).is_none() && is_named(desired, observed, guest, disk)
    })?;
    Some(format!(
        "its volume {} is gone from pool {}; restore it, or `virsh undefine {}` to begin with an empty one",
        lost.volume, lost.pool, guest.name
    ))
}
