//! Guests of the manifest: their definitions and their starts.

use std::time::Duration;

use bulkhead_types::{Cause, Object};

use super::disks::{self, Image};
use super::pools::Pools;
use super::{Admission, Plan};
use crate::guest::model::{Definition, Desired, DomainFound, Guest, Observed, Occupied, Recent, State};
use crate::guest::step::Step;

/// Plans the volumes of the manifest's guests.
pub(super) fn volumes(desired: &Desired, observed: &Observed, pools: &Pools, plan: &mut Plan) {
    for guest in desired.guests.iter().filter(|guest| !is_foreign(observed, guest)) {
        if why_left_alone(desired, observed, guest).is_none() {
            disks::volumes(desired, observed, guest, pools, plan);
        }
    }
}

/// Plans the definitions and starts of the manifest's guests.
pub(super) fn plan(desired: &Desired, observed: &Observed, admission: &Admission, pools: &Pools, plan: &mut Plan) {
    for guest in &desired.guests {
        let object = Object::Guest(guest.name.clone());
        if is_foreign(observed, guest) {
            let text = format!(
                "the manifest declares guest {0}, but a domain {0} that is not ours is there; rename the guest in the \
                 manifest, or the domain by `virsh domrename {0} NEW`",
                guest.name
            );
            plan.notice(object, Cause::Clash, text);
            continue;
        }
        one(desired, observed, admission, pools, guest, plan);
        if !observed.host.accelerated() {
            let text = "runs under QEMU's emulation, many times slower than the CPU: libvirt offers no KVM here; enable \
                        virtualisation in the firmware and load the module kvm_intel or kvm_amd";
            plan.notice(object, Cause::Unsupported, text);
        }
    }
}

fn one(desired: &Desired, observed: &Observed, admission: &Admission, pools: &Pools, guest: &Guest, plan: &mut Plan) {
    let object = || Object::Guest(guest.name.clone());
    let found = observed.domains.get(guest.name.as_str());
    let wanted = wanted(desired, observed, guest, plan);
    if let Some(found) = found {
        tell(guest, &wanted, found, plan);
        let away = found.occupied.as_ref().and_then(Occupied::away);
        if found.noted_away != away {
            plan.steps.push(Step::NoteAway { guest: guest.name.clone(), away });
        }
    }
    if let Some((cause, why)) = why_left_alone(desired, observed, guest) {
        return plan.notice(object(), cause, format!("is left alone: {why}"));
    }
    let without_pool = guest.disks.iter().find_map(|disk| match pools.get(&disk.pool) {
        Some(Ok(_)) => None,
        Some(Err(why)) => Some(why.clone()),
        None => Some(format!("its pool {} is not in the manifest", disk.pool)),
    });
    let saved = found.and_then(|found| found.saved.as_ref());
    // Without its volumes a definition would claim that they had been there. Saved memory goes on with the definition that
    // it holds, and another one waits until it has.
    if without_pool.is_none() && saved.is_none() {
        define(guest, &wanted, found, plan);
    }
    if found.is_some_and(|found| found.autostart) {
        plan.steps.push(Step::NoAutostart { guest: guest.name.clone() });
    }
    let obstacle = without_pool.or_else(|| admission.holds.get(&guest.name).map(ToString::to_string));
    let obstacle = obstacle.or_else(|| disks::lost_volume(desired, observed, guest));
    let obstacle = obstacle.or_else(|| why_unwalled(guest, &wanted, found?));
    run(observed, guest, obstacle, plan);
}

/// The definition of a guest, in which a disk that has an overlay keeps it.
fn wanted(desired: &Desired, observed: &Observed, guest: &Guest, plan: &mut Plan) -> Definition {
    let mut wanted = Definition::of(guest, &desired.pools, &observed.host);
    let Some(found) = observed.domains.get(guest.name.as_str()) else { return wanted };
    for (disk, definition) in guest.disks.iter().zip(&mut wanted.disks) {
        if let Image::Overlay(here) = disks::image(desired, guest, disk, found) {
            let (target, name) = (&disk.target, &guest.name);
            let text = format!(
                "its disk {target} is on {}, an overlay of the declared volume {}, as a snapshot makes one, and stays so; \
                 while it runs, `virsh blockcommit {name} {target} --active --pivot` writes it into the volume, and \
                 `virsh snapshot-list {name} --tree` names the snapshots",
                here.path.as_deref().unwrap_or(std::path::Path::new("an unknown image")).display(),
                disk.volume
            );
            plan.notice(Object::Guest(name.clone()), Cause::Held, text);
            here.clone_into(definition);
        }
    }
    wanted
}

/// Why nothing of a guest is touched, neither its volumes nor its definition nor itself.
fn why_left_alone(desired: &Desired, observed: &Observed, guest: &Guest) -> Option<(Cause, String)> {
    let name = guest.name.as_str();
    if let Some(why) = observed.unread.domains.get(name) {
        return Some((Cause::Unknown, format!("what libvirt has of it cannot be read: {why}")));
    }
    if let Some(occupied) = observed.domains.get(name).and_then(|found| found.occupied.as_ref()) {
        return Some((occupied.cause(), occupied.words(&guest.name)));
    }
    disks::why_kept(desired, observed, guest).map(|why| (Cause::Held, why))
}

/// Tells what no step mends.
fn tell(guest: &Guest, wanted: &Definition, found: &DomainFound, plan: &mut Plan) {
    let name = &guest.name;
    let mut say = |cause, text| plan.notice(Object::Guest(name.clone()), cause, text);
    if let Some(running) = &found.running {
        let violations = wanted.running_violations(running);
        if !violations.is_empty() {
            let text = format!(
                "runs with what leads past its walls ({}): `virsh shutdown {name}`, or take it out by `virsh detach-device`",
                violations.join("; ")
            );
            say(Cause::Violation, text);
        }
        let old = wanted.lasting_differences(running);
        if !old.is_empty() {
            let text = format!(
                "runs with the old definition until it is restarted ({}): `virsh shutdown {name}`, and it is started again",
                old.join("; ")
            );
            say(Cause::Held, text);
        }
    }
    let fixed = wanted.fixed_differences(&found.definition);
    if !fixed.is_empty() {
        say(Cause::Held, format!("has {}; `virsh edit {name}` changes both together", fixed.join(" and ")));
    }
    let undeclared = wanted.undeclared(&found.definition);
    if !undeclared.is_empty() {
        let text = format!("has what the manifest does not declare, and keeps it: {}", undeclared.join(", "));
        say(Cause::Foreign, text);
    }
}

fn define(guest: &Guest, wanted: &Definition, found: Option<&DomainFound>, plan: &mut Plan) {
    let mut differences = found.map(|found| wanted.differences(&found.definition)).unwrap_or_default();
    if found.is_some_and(|found| !found.persistent) {
        differences.push("undefined while it runs".to_owned());
    }
    if found.is_none() || !differences.is_empty() {
        plan.steps.push(Step::DefineDomain {
            guest: guest.name.clone(),
            wanted: Box::new(wanted.clone()),
            found: found.map(|found| Box::new(found.definition.clone())),
            differences,
        });
    }
}

/// Why a guest would start outside its walls; `None` where they would stand.
fn why_unwalled(guest: &Guest, wanted: &Definition, found: &DomainFound) -> Option<String> {
    let name = &guest.name;
    let definition = match &found.saved {
        None => &found.definition,
        Some(Ok(saved)) => saved,
        Some(Err(why)) => return Some(format!("the definition in its saved memory cannot be read: {why}")),
    };
    let (violations, mend) = match &found.saved {
        None => (wanted.violations(definition), format!("`virsh edit {name}` takes it out")),
        Some(_) => (
            wanted.running_violations(definition),
            format!("it is in its saved memory, which `virsh managedsave-remove {name}` gives up"),
        ),
    };
    (!violations.is_empty()).then(|| format!("its definition leads past its walls ({}); {mend}", violations.join("; ")))
}

fn run(observed: &Observed, guest: &Guest, obstacle: Option<String>, plan: &mut Plan) {
    let found = observed.domains.get(guest.name.as_str());
    let object = Object::Guest(guest.name.clone());
    let waits = observed.recent.get(&guest.name).filter(|recent| recent.started.is_some());
    match (found.map(|found| &found.state), obstacle) {
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
            Some(recent) => plan.notice(object, Cause::Pending, again(recent, observed.timing.start_interval)),
            None => plan.steps.push(Step::Start { guest: guest.name.clone() }),
        },
    }
}

fn again(recent: &Recent, interval: Duration) -> String {
    let interval = interval.as_secs();
    match &recent.failure {
        Some(why) => format!("could not be started ({why}); is tried again {interval} s after that"),
        None => format!("stopped again; is started {interval} s after its last start"),
    }
}

fn is_foreign(observed: &Observed, guest: &Guest) -> bool {
    observed.domains.get(guest.name.as_str()).is_some_and(|found| !found.owned)
}
