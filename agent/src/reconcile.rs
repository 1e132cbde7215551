//! Which room is looked at, and when. The order itself is the one of [`crate::rooms::walk`].
//!
//! A room is due when its source woke it, or when what it is to make has changed: by another manifest, or because a room
//! before it stands otherwise now. It is looked at beside the loop, as soon as it has rested and no room that it needs is
//! looked at, about to be, or was last looked at for what it was to make before.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_api::{Done, Ended, Phase, Step};
use bulkhead_types::Notice;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::manifest::Desired;
use crate::rooms::{AnyRoom, Cancellation, Findings, Mode, Name, State, States, Unread, Wanted};
use crate::watch::{Reason, Wake};

/// Looks at one room for one request: what one look makes, such as a guest and its tap, the next one finds.
const LOOKS: usize = 4;
/// The first and the longest rest after a look that left something to do: wakes are then too often our own doing.
const REST: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// The longest rest after a look that left nothing. It is as long as the look was, so that a flood of events leaves the
/// machine to others.
const BREATH: Duration = Duration::from_secs(1);

/// The rooms, and what is known of them.
#[derive(Debug)]
pub(crate) struct Reconciler {
    rooms: Vec<(Box<dyn AnyRoom>, Turn)>,
    states: States,
    looks: JoinSet<Findings>,
    manifest: Option<Arc<Desired>>,
    /// Rooms that are emptied, although a manifest is followed: a teardown takes one after the other, backwards.
    torn: BTreeSet<Name>,
    /// Whether a guest that left the manifest and does not shut down is destroyed.
    force: bool,
}

/// When a room is looked at.
#[derive(Debug)]
struct Turn {
    /// What woke it, if nobody has looked since.
    due: Option<Wake>,
    /// The look under way.
    looking: Option<Looking>,
    /// Counts what it was to make; the number that stands for it now.
    target: u64,
    /// The number that stood when the last look that has ended began. Where it is another than `target`, the room's state says
    /// nothing of what it is to make now.
    seen: u64,
    /// When the last look that has ended began; where a manifest is followed, of those that write.
    last_began: Option<Instant>,
    /// Looks since the last request.
    looks: usize,
    /// No look begins before.
    rested: Instant,
    /// The rest after the next look that leaves something.
    rest: Duration,
}

/// A look under way.
#[derive(Debug)]
struct Looking {
    /// What woke it.
    wake: Wake,
    /// When it began.
    began: Instant,
    /// Whether it writes.
    mode: Mode,
    /// The number that stands for what it makes.
    target: u64,
    /// Ends its writes.
    cancellation: Cancellation,
}

/// A look that has ended.
pub(crate) struct EndedLook {
    pub(crate) name: Name,
    /// What woke it.
    pub(crate) wake: Wake,
    /// When it began.
    pub(crate) began: Instant,
    /// Every write that was tried or skipped.
    pub(crate) done: Vec<Done>,
}

impl Turn {
    /// Whether the room's state is of what it is to make now.
    fn is_current(&self) -> bool {
        self.seen == self.target
    }

    /// Whether a look that writes is under way for something else than is to be made now.
    fn is_superseded(&self) -> bool {
        self.looking.as_ref().is_some_and(|looking| looking.mode == Mode::Apply && looking.target != self.target)
    }
}

impl Reconciler {
    /// Nothing is followed, and nothing is known.
    pub(crate) fn new(rooms: Vec<Box<dyn AnyRoom>>) -> Self {
        let now = Instant::now();
        let turn = || Turn {
            due: None,
            looking: None,
            target: 0,
            seen: 0,
            last_began: None,
            looks: 0,
            rested: now,
            rest: REST.0,
        };
        Self {
            rooms: rooms.into_iter().map(|room| (room, turn())).collect(),
            states: States::default(),
            looks: JoinSet::new(),
            manifest: None,
            torn: BTreeSet::new(),
            force: false,
        }
    }

    /// How the rooms stood at the end of their last looks.
    pub(crate) fn states(&self) -> &States {
        &self.states
    }

    /// The rooms, in their order.
    pub(crate) fn rooms(&self) -> impl DoubleEndedIterator<Item = &dyn AnyRoom> {
        self.rooms.iter().map(|(room, _)| &**room)
    }

    /// Follows a manifest from now on, or none. Returns the rooms that are to make something else than before.
    pub(crate) fn follow(&mut self, manifest: Option<Arc<Desired>>, wake: Wake) -> BTreeSet<Name> {
        if manifest.is_none() {
            self.states = States::default();
        }
        self.manifest = manifest;
        self.force = false;
        self.torn.clear();
        self.retarget(wake)
    }

    /// Empties a room from now on, whatever the manifest says, until another manifest or the same is followed.
    pub(crate) fn tear(&mut self, name: Name, wake: Wake) {
        self.torn.insert(name);
        self.retarget(wake);
    }

    /// Follows the manifest in all rooms again.
    pub(crate) fn restore(&mut self, wake: Wake) {
        self.force = false;
        self.torn.clear();
        if self.manifest.is_none() {
            self.states = States::default();
        }
        self.retarget(wake);
    }

    /// Whether a guest that left the manifest and does not shut down is destroyed, until it is said otherwise.
    pub(crate) fn force(&mut self, force: bool) {
        if std::mem::replace(&mut self.force, force) != force {
            self.retarget(Wake::now(Reason::Request));
        }
    }

    /// What is followed.
    pub(crate) fn manifest(&self) -> Option<&Desired> {
        self.manifest.as_deref()
    }

    /// Rooms that are emptied.
    pub(crate) fn torn(&self) -> &BTreeSet<Name> {
        &self.torn
    }

    /// Makes the rooms due that this reason is about; a start, a request or the timer is about all.
    pub(crate) fn wake(&mut self, wake: Wake) {
        let all = matches!(wake.reason, Reason::Start | Reason::Timer | Reason::Request);
        for (room, turn) in &mut self.rooms {
            if all || room.source() == wake.reason {
                turn.due.get_or_insert(wake);
            }
            if wake.reason == Reason::Request {
                (turn.looks, turn.rested) = (0, wake.at);
            }
        }
    }

    /// Makes some rooms due, at once.
    pub(crate) fn wake_only(&mut self, names: &[Name], wake: Wake) {
        for (_, turn) in self.rooms.iter_mut().filter(|(room, _)| names.contains(&room.name())) {
            turn.due.get_or_insert(wake);
            turn.rested = turn.rested.min(wake.at);
        }
    }

    /// Second handles on all rooms, for whoever plans beside the loop.
    pub(crate) fn handles(&self) -> Vec<Box<dyn AnyRoom>> {
        self.rooms().map(AnyRoom::handle).collect()
    }

    /// Begins every look whose turn it is now. Each of `progress` hears of every step once it has ended.
    pub(crate) fn begin(&mut self, now: Instant, progress: &[UnboundedSender<Done>]) {
        for at in 0..self.rooms.len() {
            if !self.may_begin(at, now) {
                continue;
            }
            let mode = self.mode(at);
            let (room, turn) = &mut self.rooms[at];
            let Some(wake) = turn.due.take() else { continue };
            let cancellation = Cancellation::default();
            let target = turn.target;
            turn.looking = Some(Looking { wake, began: now, mode, target, cancellation: cancellation.clone() });
            let progress = progress.to_vec();
            let each = move |done: Done| {
                say(&done);
                for progress in &progress {
                    // That nobody listens any more changes nothing.
                    let _ = progress.send(done.clone());
                }
            };
            self.looks.spawn(room.look(mode, cancellation, Box::new(each)));
        }
    }

    /// The next look that ends; `None` while nobody looks. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Option<EndedLook> {
        let ended = match self.looks.join_next().await? {
            Ok(ended) => ended,
            // A bug: the daemon ends by it and is started again, and its walls stay.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => return None,
            },
        };
        (ended.keep)(&mut self.states);
        let now = Instant::now();
        let (room, turn) = self.rooms.iter_mut().find(|(room, _)| room.name() == ended.name)?;
        let Looking { wake, began, mode, target, cancellation } = turn.looking.take()?;
        turn.seen = target;
        if mode == Mode::Plan && self.manifest.is_some() || cancellation.why().is_some() {
            // What it was to make is not made, and the next look begins without a rest.
            turn.due.get_or_insert(wake);
        } else {
            turn.last_began = Some(began);
            turn.looks += 1;
            if room.verified(&self.states) {
                turn.rest = REST.0;
                turn.rested = now + began.elapsed().min(BREATH);
            } else {
                turn.rested = now + turn.rest;
                turn.rest = (turn.rest * 2).min(REST.1);
            }
            if room.unread(&self.states).is_some() {
                turn.due.get_or_insert(wake);
            }
        }
        // The taps of guests that were started are ports that nobody has looked at.
        if ended.name == Name::Guests && ended.done.iter().any(|done| done.outcome == Ended::Done) {
            self.wake_only(&[Name::Links, Name::Limits], wake);
        }
        self.retarget(wake);
        Some(EndedLook { name: ended.name, wake, began, done: ended.done })
    }

    /// When a room that is due, and had not rested at that moment, will have.
    pub(crate) fn next_begin(&self, now: Instant) -> Option<Instant> {
        let waits = |turn: &&Turn| turn.due.is_some() && turn.looking.is_none() && turn.rested > now;
        self.rooms.iter().map(|(_, turn)| turn).filter(waits).map(|turn| turn.rested).min()
    }

    /// Whether a room was looked at since then, and nothing more comes of looking again now.
    pub(crate) fn rests_since(&self, name: Name, since: Instant) -> bool {
        let Some(at) = self.position(name) else { return true };
        let (room, turn) = &self.rooms[at];
        if turn.looking.is_some() {
            return false;
        }
        let blocked = |need: &Name| self.position(*need).is_some_and(|need| self.gated(need) && !self.is_seen(need));
        if self.gated(at) || room.needs().iter().any(blocked) {
            return self.rests_since(Name::Policy, since);
        }
        let seen = turn.last_began.is_some_and(|began| began >= since);
        seen && (turn.due.is_none() || turn.looks >= LOOKS || turn.is_current() && !room.verified(&self.states))
    }

    /// Whether everything was read for what it is to make now, and nothing is left to write. A look under way that makes the same
    /// as the last one takes nothing back.
    pub(crate) fn verified(&self) -> bool {
        self.rooms.iter().all(|(room, turn)| turn.is_current() && room.verified(&self.states))
    }

    /// Whether the states of these rooms are of what they are to make now.
    pub(crate) fn are_current(&self, names: &[Name]) -> bool {
        let mut of_these = self.rooms.iter().filter(|(room, _)| names.contains(&room.name()));
        of_these.all(|(_, turn)| turn.is_current())
    }

    /// The same of one phase: whether its rooms were read for what they are to make now, and nothing is left to write.
    pub(crate) fn phase_verified(&self, phase: Phase) -> bool {
        let mut of_it = self.rooms.iter().filter(|(room, _)| room.phase() == phase);
        of_it.all(|(room, turn)| turn.is_current() && room.verified(&self.states))
    }

    /// Why a room could not be read: the first such.
    pub(crate) fn unread(&self) -> Option<Unread> {
        self.rooms().find_map(|room| room.unread(&self.states))
    }

    /// What is still to be written.
    pub(crate) fn remaining(&self) -> Vec<Step> {
        self.rooms().flat_map(|room| room.remaining(&self.states)).collect()
    }

    /// What people should know.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        let nothing = Desired::default();
        let manifest = self.manifest().unwrap_or(&nothing);
        self.rooms().flat_map(|room| room.notices(manifest, &self.states)).collect()
    }

    /// Whether the look at guests that is under way was answered, and is busy with what it makes.
    pub(crate) fn guests_busy(&self) -> bool {
        let looking = self.position(Name::Guests).and_then(|at| self.rooms[at].1.looking.as_ref());
        looking.is_some_and(|looking| looking.cancellation.has_observed())
    }

    /// Says of the guests that they are not known, because their look takes too long.
    pub(crate) fn guests_late(&mut self, why: String) {
        let last = self.states.guests.last_known().cloned();
        self.states.guests = State::Unread(Unread::Late(why), last);
    }

    /// Lets each room take up what it is to make. Those for which that is news are due, and looks under way that make something
    /// else, or write behind a policy that stands no more, are cancelled.
    fn retarget(&mut self, wake: Wake) -> BTreeSet<Name> {
        let mut changed = self.take_up(wake);
        // The policy comes before links, and is to know of a look at them that makes what nobody wants any more.
        let superseded = self.rooms.iter().any(|(room, turn)| room.name() == Name::Links && turn.is_superseded());
        if std::mem::replace(&mut self.states.links_superseded, superseded) != superseded {
            changed.append(&mut self.take_up(wake));
        }
        self.cancel();
        changed
    }

    fn take_up(&mut self, wake: Wake) -> BTreeSet<Name> {
        let nothing = Desired::default();
        let mut changed = BTreeSet::new();
        for (room, turn) in &mut self.rooms {
            let manifest = self.manifest.as_deref().filter(|_| !self.torn.contains(&room.name()));
            let wanted = Wanted { manifest: manifest.unwrap_or(&nothing), force: self.force };
            if room.retarget(wanted, &self.states) {
                turn.due.get_or_insert(wake);
                turn.target += 1;
                changed.insert(room.name());
            }
        }
        changed
    }

    /// Cancels the looks under way whose writes are not to be made any more, or not now.
    fn cancel(&mut self) {
        let policy = self.rooms.iter().find(|(room, _)| room.name() == Name::Policy);
        let walls = self.states.policy.verified() && policy.is_some_and(|(_, turn)| turn.is_current());
        for (room, turn) in &self.rooms {
            let Some(looking) = turn.looking.as_ref().filter(|looking| looking.mode == Mode::Apply) else { continue };
            if turn.is_superseded() {
                looking.cancellation.cancel("something else is to be made by now, which is planned anew");
            } else if !walls && room.walled() && !self.torn.contains(&room.name()) {
                looking.cancellation.cancel("the policy does not stand any more; it waits until it does");
            }
        }
    }

    fn position(&self, name: Name) -> Option<usize> {
        self.rooms.iter().position(|(room, _)| room.name() == name)
    }

    /// Whether a look at it writes. With nothing followed, only what is torn down is written; and the first look at links only
    /// reads, since the policy must know which bridges of ours are still there.
    fn mode(&self, at: usize) -> Mode {
        let name = self.rooms[at].0.name();
        let writes = self.manifest.is_some() && !(name == Name::Links && self.links_unseen());
        if writes || self.torn.contains(&name) { Mode::Apply } else { Mode::Plan }
    }

    fn links_unseen(&self) -> bool {
        matches!(self.states.links, State::Unseen)
    }

    /// Whether it has to wait for a policy that stands: nothing is built behind a wall that is not there.
    fn gated(&self, at: usize) -> bool {
        let room = &self.rooms[at].0;
        let writes = self.mode(at) == Mode::Apply && !self.torn.contains(&room.name());
        let stands = self.states.policy.verified() && self.position(Name::Policy).is_some_and(|at| self.is_seen(at));
        writes && room.walled() && !stands
    }

    /// Whether its state is of what it is to make now, and nobody is looking.
    fn is_seen(&self, at: usize) -> bool {
        let turn = &self.rooms[at].1;
        turn.looking.is_none() && turn.is_current()
    }

    /// Whether its look begins now.
    fn may_begin(&self, at: usize, now: Instant) -> bool {
        let name = self.rooms[at].0.name();
        let blind = name == Name::Policy && self.mode(at) == Mode::Apply && self.links_unseen();
        !blind && self.is_next(at, now)
    }

    /// Whether what it needs was looked at for what it is to make now, and is not about to be again, and it has rested itself.
    fn is_next(&self, at: usize, now: Instant) -> bool {
        let (room, turn) = &self.rooms[at];
        let followed = self.manifest.is_some() || !self.torn.is_empty();
        let rested = turn.due.is_some() && turn.looking.is_none() && turn.rested <= now;
        // The first look at links is one that the policy waits for, and not the other way round.
        let reads = room.name() == Name::Links && self.mode(at) == Mode::Plan;
        let quiet =
            |need: &Name| self.position(*need).is_none_or(|need| self.is_seen(need) && !self.is_next(need, now));
        followed && rested && !self.gated(at) && (reads || room.needs().iter().all(quiet))
    }
}

/// A line of the log for each step; those of a policy that was committed are hundreds at a time, and one line says so.
fn say(done: &Done) {
    let (phase, object, text) = (done.phase.as_str(), &done.object, &done.text);
    match (&done.outcome, done.why.as_deref()) {
        (Ended::Done, _) if done.phase == bulkhead_api::Phase::Policy => tracing::debug!(phase, %object, "{text}"),
        (Ended::Done, _) => tracing::info!(phase, %object, "{text}"),
        (_, why) => tracing::warn!(phase, %object, "{text}: {}", why.unwrap_or("failed")),
    }
}

#[cfg(test)]
pub(crate) mod tests;
