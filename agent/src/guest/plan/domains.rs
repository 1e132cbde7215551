//! Guests of the manifest: their definitions and their starts.

use std::path::Path;
use std::time::Duration;

use bulkhead_types::{Cause, Object};

use super::disks::{self, Image};
use super::pools::Pools;
use super::writers::Conflicts;
use super::{Admission, Plan};
use crate::guest::model::{Definition, Desired, DomainFound, Guest, NAMESPACE, Observed, Occupied, Recent, State};
use crate::guest::step::Step;

/// Plans the volumes of the manifest's guests.
pub(super) fn volumes(desired: &Desired, observed: &Observed, conflicts: &Conflicts, pools: &Pools, plan: &mut Plan) {
    for guest in desired.guests.iter().filter(|guest| foreign(observed, guest).is_none()) {
        if why_left_alone(desired, observed, conflicts, guest).is_none() {
            disks::volumes(desired, observed, guest, pools, plan);
        }
    }
}

/// Plans the definitions and starts of the manifest's guests.
pub(super) fn plan(
    desired: &Desired,
    observed: &Observed,
    admission: &Admission,
    conflicts: &Conflicts,
    pools: &Pools,
    plan: &mut Plan,
) {
    for guest in &desired.guests {
        let object = Object::Guest(guest.name.clone());
        if let Some(found) = foreign(observed, guest) {
            plan.notice(object, Cause::Clash, clash(guest, found));
            continue;
        }
        let left_alone = why_left_alone(desired, observed, conflicts, guest);
        one(desired, observed, admission, pools, left_alone, guest, plan);
        if !observed.host.accelerated() {
            let text = "runs under QEMU's emulation, many times slower than the CPU: libvirt offers no KVM here; enable \
                        virtualisation in the firmware and load the module kvm_intel or kvm_amd";
            plan.notice(object, Cause::Unsupported, text);
        }
    }
}

/// What a person can do about a domain of a guest's name that is not ours. Nobody is adopted unasked; whoever knows that it is
/// this guest, defined anew without our mark, can say so.
fn clash(guest: &Guest, found: &DomainFound) -> String {
    let name = &guest.name;
    let rename = match found.state {
        State::ShutOff => format!("rename the guest in the manifest, or the domain by `virsh domrename {name} NEW`"),
        _ => format!(
            "rename the guest in the manifest, or, once it is shut off, the domain by `virsh domrename {name} NEW`"
        ),
    };
    format!(
        "the manifest declares guest {name}, but a domain {name} that is not ours is there; {rename}; if it is this guest and \
         its definition lost our mark, `virsh metadata {name} --uri {NAMESPACE} --key bulkhead --set '<owned name=\"{name}\"/>' \
         --config` puts it back"
    )
}

fn one(
    desired: &Desired,
    observed: &Observed,
    admission: &Admission,
    pools: &Pools,
    left_alone: Option<(Cause, String)>,
    guest: &Guest,
    plan: &mut Plan,
) {
    let object = || Object::Guest(guest.name.clone());
    let found = observed.domains.get(guest.name.as_str());
    let wanted = wanted(desired, observed, guest, plan);
    if let Some(found) = found {
        tell(guest, &wanted, found, left_alone.is_some(), plan);
        let away = found.occupied.as_ref().and_then(Occupied::away);
        if found.noted_away != away {
            plan.steps.push(Step::NoteAway { guest: guest.name.clone(), away });
        }
    }
    if let Some((cause, why)) = left_alone {
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
            let running = found.running_chains.get(target).and_then(|images| images.first());
            let listed = if running.is_some() && running == here.path.as_ref() {
                String::new()
            } else {
                by_list(observed, here.path.as_deref())
            };
            let text = format!(
                "its disk {target} is on {}, an overlay of the declared volume {}{listed}, as a snapshot makes one, \
                 and stays so; while it runs, `virsh blockcommit {name} {target} --active --pivot` writes it into the volume, and \
                 `virsh snapshot-list {name} --tree` names the snapshots",
                here.path.as_deref().unwrap_or(Path::new("an unknown image")).display(),
                disk.volume
            );
            plan.notice(Object::Guest(name.clone()), Cause::Held, text);
            here.clone_into(definition);
        }
    }
    wanted
}

/// Where it is said that an image is an overlay if not by the guest that runs: after `virsh blockpull` it no longer is one, which a
/// pool knows once it is refreshed.
fn by_list(observed: &Observed, image: Option<&Path>) -> String {
    let here = observed.pools.iter().find(|pool| pool.path.as_deref() == image.and_then(Path::parent));
    here.map(|pool| format!(" by libvirt's list of pool {0} (`virsh pool-refresh {0}` renews it)", pool.name))
        .unwrap_or_default()
}

/// Why nothing of a guest is touched, neither its volumes nor its definition nor itself.
fn why_left_alone(
    desired: &Desired,
    observed: &Observed,
    conflicts: &Conflicts,
    guest: &Guest,
) -> Option<(Cause, String)> {
    let name = guest.name.as_str();
    if let Some(why) = observed.unread.domains.get(name) {
        return Some((Cause::Unknown, format!("what libvirt has of it cannot be read: {why}")));
    }
    if let Some(occupied) = observed.domains.get(name).and_then(|found| found.occupied.as_ref()) {
        return Some((occupied.cause(), occupied.words(&guest.name)));
    }
    let conflict = conflicts.get(&guest.name).cloned();
    conflict.or_else(|| disks::why_kept(desired, observed, guest).map(|why| (Cause::Held, why)))
}

/// Tells what no step mends.
fn tell(guest: &Guest, wanted: &Definition, found: &DomainFound, left_alone: bool, plan: &mut Plan) {
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
            let old = old.join("; ");
            let text = match (left_alone, guest.start) {
                (true, _) => format!("runs otherwise than the manifest says ({old})"),
                (false, true) => format!(
                    "runs with the old definition until it is restarted ({old}): `virsh shutdown {name}`, and it is started \
                     again"
                ),
                (false, false) => format!(
                    "runs with the old definition until it is restarted ({old}): `virsh shutdown {name}`, then `virsh start \
                     {name}`"
                ),
            };
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

/// The domain of a guest's name that is somebody else's.
fn foreign<'a>(observed: &'a Observed, guest: &Guest) -> Option<&'a DomainFound> {
    observed.domains.get(guest.name.as_str()).filter(|found| !found.owned)
}
