//! Removing what is ours: the rooms are emptied one after the other, in the reverse of their order.
//!
//! The manifest is followed until the last room is empty. The walls of what is not torn down yet are therefore kept and
//! repaired like on any other day, and a teardown that ends half way, or a daemon that is killed in it, leaves a host that
//! goes back to its manifest.

use std::time::Duration;

use bulkhead_api::{ApplyFailed, Summary};
use bulkhead_types::{Known, chain};
use tokio::time::Instant;

use super::Agent;
use super::generations::Notes;
use super::requests::{Requester, Work, failed};
use crate::guest::model::{DomainFound, Timing};
use crate::rooms::{AnyRoom, Name, not_asked, populated};
use crate::socket::Refusal;
use crate::watch::{Reason, Wake};

/// How often a guest that shuts down is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How much longer than a guest's patience is waited: for libvirt to say that it has ended, or to end it by force.
const GRACE: Duration = Duration::from_secs(10);

/// A teardown under way.
#[derive(Debug)]
pub(crate) struct Teardown {
    /// The room that is emptied, and since when.
    room: (Name, Instant),
    /// When guests are looked at again.
    look: Option<Instant>,
    /// When guests that do not shut down end it.
    end: Instant,
    /// That nothing is followed, ready to be noted. A disk without room for it is known before anything is shut down.
    notes: Notes,
}

/// How far the guests are.
enum Guests {
    /// None is left.
    Gone,
    /// One is left, and may still end.
    Ending,
    /// One is left, and will not end.
    Stays(String),
}

impl Teardown {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.look
    }
}

impl Agent {
    pub(super) fn start_teardown(&mut self, requester: Requester, force: bool) -> Option<Work> {
        let notes = match self.generations.notes(None) {
            Ok(notes) => notes,
            Err(error) => {
                let why = format!("nothing was torn down, since it could not be noted: {}", chain(&error));
                requester.end(Err(failed(&why)));
                return None;
            }
        };
        let end = requester.began.at + Timing::default().shutdown_timeout + GRACE;
        let last = self.reconciler.rooms().next_back().map_or(Name::Guests, AnyRoom::name);
        let teardown = Teardown { room: (last, requester.began.at), look: None, end, notes };
        self.reconciler.force(force);
        self.reconciler.tear(last, requester.began);
        self.publisher.host(&self.reconciler);
        self.reconciler.wake(requester.began);
        Some(Work::Teardown(requester, teardown))
    }

    pub(super) fn advance_teardown(&mut self, requester: Requester, mut teardown: Teardown) -> Option<Work> {
        loop {
            let (name, since) = teardown.room;
            let rests = |name| self.reconciler.rests_since(name, since);
            // What still runs is read from the limits.
            if !rests(name) || name == Name::Guests && !rests(Name::Limits) {
                teardown.look = None;
                return Some(Work::Teardown(requester, teardown));
            }
            let room = self.reconciler.rooms().find(|room| room.name() == name);
            let verified = room.is_some_and(|room| room.verified(self.reconciler.states()));
            match (name, self.guests(&teardown)) {
                (Name::Guests, Guests::Ending) => {
                    let now = Instant::now();
                    let look = *teardown.look.get_or_insert(now + LOOK);
                    if now >= look {
                        (teardown.room.1, teardown.look) = (now, None);
                        self.reconciler.wake_only(&[Name::Guests, Name::Limits], Wake::now(Reason::Request));
                    }
                    return Some(Work::Teardown(requester, teardown));
                }
                (Name::Guests, Guests::Stays(why)) => return self.abandon(requester, why),
                (Name::Guests, Guests::Gone) => {}
                _ if !verified => {
                    return self.abandon(requester, "not everything could be removed; try again".to_owned());
                }
                _ => {}
            }
            teardown.look = None;
            let names: Vec<Name> = self.reconciler.rooms().map(AnyRoom::name).collect();
            let before = names.iter().rev().skip_while(|before| **before != name).nth(1);
            let Some(next) = before.copied() else { return self.torn_down(requester, teardown.notes) };
            let wake = Wake::now(Reason::Request);
            teardown.room = (next, wake.at);
            self.reconciler.tear(next, wake);
            self.reconciler.wake_only(&[next], wake);
        }
    }

    /// How far the guests are. What runs, the kernel knows better than a libvirt that does not answer.
    fn guests(&self, teardown: &Teardown) -> Guests {
        let states = self.reconciler.states();
        let running = match (states.limits.observed().map(populated), states.limits.unread()) {
            (Some(Known::Known(running)), _) => running,
            (Some(Known::Unknown(why)), _) => {
                return Guests::Stays(format!("which guests run cannot be read: {why}"));
            }
            (None, why) => {
                let why = why.map_or_else(|| "nobody has looked".to_owned(), ToString::to_string);
                return Guests::Stays(format!("which guests run cannot be read: {why}"));
            }
        };
        let observed = states.guests.observed();
        let absent = match observed {
            Some(observed) => observed.down.clone(),
            None => states.guests.unread().map(ToString::to_string),
        };
        let known = observed.is_some_and(|observed| observed.domains.values().any(DomainFound::goes));
        match absent {
            _ if running.is_empty() && (absent.is_some() || !known) => Guests::Gone,
            Some(why) => Guests::Stays(format!("still running: {running}; libvirt cannot be asked to end this: {why}")),
            None if Instant::now() >= teardown.end => {
                let what = if running.is_empty() { "a guest" } else { running.as_str() };
                Guests::Stays(format!(
                    "not shut down in time: {what}; links and rules stay, and the manifest is followed as before; `bulkhead \
                     teardown --force` ends what still runs"
                ))
            }
            None => Guests::Ending,
        }
    }

    /// Goes back to the manifest, if there is one.
    fn abandon(&mut self, requester: Requester, why: String) -> Option<Work> {
        let summary = self.torn_summary(&requester);
        self.reconciler.restore(Wake::now(Reason::Request));
        self.publisher.host(&self.reconciler);
        requester.end(Err(Refusal::Failed(ApplyFailed { why, summary })));
        None
    }

    /// Everything is gone: now nothing is followed any more.
    pub(super) fn torn_down(&mut self, requester: Requester, notes: Notes) -> Option<Work> {
        let summary = self.torn_summary(&requester);
        let forgotten = notes.place().and_then(|()| self.generations.lockdown(None));
        if let Err(error) = forgotten {
            // The manifest is followed again, and by a daemon that is started anew as well.
            let noted = self.generations.mark(self.generation.as_ref());
            let mut whys = vec![chain(&error)];
            whys.extend(noted.err().map(|second| chain(&second)));
            whys.dedup();
            return self.abandon(requester, whys.join("; "));
        }
        self.generation = None;
        self.trouble = None;
        self.unnoted = None;
        self.reconciler.follow(None, requester.began);
        self.publisher.follows(None);
        self.publisher.idle(None);
        requester.end(Ok(summary));
        None
    }

    fn torn_summary(&self, requester: &Requester) -> Summary {
        let mut summary = requester.summary(&self.reconciler, None);
        let torn = self.reconciler.torn();
        let states = self.reconciler.states();
        if let Some(manifest) = self.reconciler.manifest() {
            summary.notices.extend(not_asked(manifest, states));
        }
        summary.verified = self.reconciler.rooms().all(|room| torn.contains(&room.name()) && room.verified(states));
        summary
    }
}
