//! Guests that left the manifest.

use bulkhead_types::{Cause, GuestName, Object};

use super::{Admission, Plan};
use crate::guest::model::{Desired, DomainFound, Observed, State};
use crate::guest::step::Step;

/// Plans the leave of guests that are ours and no longer in the manifest: asked, kept and reported, destroyed if forced,
/// and forgotten once they are down. Their volumes and their firmware variables stay; one of which libvirt holds more than it
/// could give back stays defined.
pub(super) fn plan(desired: &Desired, observed: &Observed, admission: &Admission, plan: &mut Plan) {
    let ours = observed.domains.iter().filter(|(_, found)| found.owned);
    for (name, found) in ours {
        let declared = desired.guests.iter().any(|guest| guest.name.as_str() == name);
        // Our mark names its domain, and only names of guests are ever marked.
        let Ok(guest) = name.parse::<GuestName>() else { continue };
        if !declared {
            leave_one(guest, found, observed, admission, plan);
        }
    }
    for (name, why) in &observed.unread.domains {
        let declared = desired.guests.iter().any(|guest| guest.name.as_str() == name);
        if let (false, Ok(guest)) = (declared, name.parse::<GuestName>()) {
            let text = format!("whether it is one of ours that left the manifest is not known: {why}");
            plan.notice(Object::Guest(guest), Cause::Unknown, text);
        }
    }
}

fn leave_one(guest: GuestName, found: &DomainFound, observed: &Observed, admission: &Admission, plan: &mut Plan) {
    let object = Object::Guest(guest.clone());
    let asked = observed.recent.get(&guest).and_then(|recent| recent.shut_down);
    let timeout = observed.timing.shutdown_timeout;
    let kept = "the same command with `--force` destroys it";
    if let Some(occupied) = found.occupied.as_ref().filter(|_| found.state != State::ShutOff) {
        let text = format!("is to go and is left alone: {}", occupied.words(&guest));
        return plan.notice(object, occupied.cause(), text);
    }
    match (&found.state, asked) {
        (State::ShutOff, _) if !found.irreplaceable.is_empty() => {
            let text = format!(
                "is to go, is shut off and stays defined, because libvirt could not give back {}; \
                 `virsh undefine {guest} --keep-nvram`, with the options that it asks for, forgets it",
                found.irreplaceable.join(", ")
            );
            plan.notice(object, Cause::Held, text);
        }
        (State::ShutOff, _) => plan.steps.push(Step::UndefineDomain { guest }),
        (State::Running, None) => plan.steps.push(Step::Shutdown { guest }),
        (State::Running, Some(asked)) if asked < timeout => {
            plan.notice(object, Cause::Pending, format!("is to go and has {} s to shut down", timeout.as_secs()));
        }
        _ if admission.force => {
            plan.steps.push(Step::Destroy { guest: guest.clone() });
            if found.persistent && found.irreplaceable.is_empty() {
                plan.steps.push(Step::UndefineDomain { guest });
            }
        }
        (State::Running, Some(_)) => {
            let text = format!("is to go, but did not shut down in {} s and was kept; {kept}", timeout.as_secs());
            plan.notice(object, Cause::Held, text);
        }
        (State::Paused(what) | State::Other(what), _) => {
            let text = format!("is to go, but is {what} and cannot be asked to shut down; {kept}");
            plan.notice(object, Cause::Held, text);
        }
    }
}
