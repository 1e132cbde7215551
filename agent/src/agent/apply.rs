//! An apply: follow what the files say, and wait until the rooms have gone as far as they go.

use std::collections::BTreeSet;
use std::time::Duration;

use bulkhead_api::{ApplyFailed, Summary};
use bulkhead_types::{Cause, Object, chain};
use tokio::time::Instant;

use super::Agent;
use super::load::Files;
use super::requests::{Requester, Work, failed};
use crate::rooms::{AnyRoom, Name, State};
use crate::socket::Refusal;

/// How long an apply that touches no guest waits for what libvirt has: it answers in milliseconds, or in seconds where a
/// machine is busy. A look that makes something there may take minutes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Why an apply ends without the guests: a guest's start is no part of what it asked for.
const BUSY: &str =
    "the guests' room is still busy with an earlier look, such as a guest's start; `bulkhead status` shows how it ends";
/// Why an apply with `--force` did not force.
const WITHDRAWN: &str = "a later apply without --force took its place";

/// An apply under way.
#[derive(Debug)]
pub(crate) struct Apply {
    /// Who waits for it. Each newer apply takes up the files anew for all of them, and all are answered with how the host stands
    /// by the newest.
    pub(super) requesters: Vec<Requester>,
    /// When the newest began.
    since: Instant,
    /// Whether the newest forces.
    force: bool,
    guests: Guests,
}

/// Whether the guests' look is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guests {
    /// To its end.
    Awaited,
    /// Until then.
    Until(Instant),
    /// No more.
    Late,
}

impl Apply {
    pub(super) fn deadline(&self) -> Option<Instant> {
        if let Guests::Until(until) = self.guests { Some(until) } else { None }
    }
}

impl Agent {
    /// Follows what the files say, `earlier` being the apply under way. Where they cannot be applied, only this requester is told,
    /// and the earlier apply goes on.
    pub(super) fn start_apply(&mut self, requester: Requester, force: bool, earlier: Option<Apply>) -> Option<Work> {
        let refusal = match self.files() {
            Files::Right(right) => match self.follow(*right) {
                Ok(news) => return Some(self.apply_followed(requester, force, &news, earlier)),
                Err(error) => failed(&chain(&error)),
            },
            Files::Wrong(invalid) | Files::Nothing(invalid) => Refusal::ManifestInvalid(invalid),
        };
        requester.end(Err(refusal));
        earlier.map(Work::Apply)
    }

    /// Has the rooms make what is followed now; `news` are those that are to make something else than before.
    pub(super) fn apply_followed(
        &mut self,
        mut requester: Requester,
        force: bool,
        news: &BTreeSet<Name>,
        earlier: Option<Apply>,
    ) -> Work {
        self.reconciler.force(force);
        self.reconciler.wake(requester.began);
        let seen = matches!(self.reconciler.states().guests, State::Verified(_) | State::Unread(..));
        let awaited = earlier.as_ref().is_some_and(|earlier| earlier.guests == Guests::Awaited);
        let touches_guests = awaited || force || !seen || news.contains(&Name::Guests);
        let since = requester.began.at;
        let guests = if touches_guests { Guests::Awaited } else { Guests::Until(since + PATIENCE) };
        let mut requesters = earlier.map(|earlier| earlier.requesters).unwrap_or_default();
        requesters.retain(|requester| !requester.is_closed());
        requester.forced = force;
        requesters.push(requester);
        Work::Apply(Apply { requesters, since, force, guests })
    }

    /// Ends the apply when no room has anything more to do for it.
    pub(super) fn advance_apply(&mut self, mut apply: Apply) -> Option<Work> {
        let busy = |name: &Name| !self.reconciler.rests_since(*name, apply.since);
        let busy: Vec<Name> = self.reconciler.rooms().map(AnyRoom::name).filter(busy).collect();
        if matches!(apply.guests, Guests::Until(until) if Instant::now() >= until) {
            apply.guests = Guests::Late;
        }
        let unanswered = apply.guests == Guests::Late && busy == [Name::Guests];
        if !busy.is_empty() && !unanswered {
            return Some(Work::Apply(apply));
        }
        let busy = unanswered && self.reconciler.guests_busy();
        if unanswered && !busy {
            let why = format!("waits for libvirt: it has not answered within {} s", PATIENCE.as_secs());
            self.reconciler.guests_late(why);
            self.publisher.host(&self.reconciler);
        }
        let generation = self.generation.as_ref().map(|generation| generation.number);
        for requester in apply.requesters {
            let mut summary = requester.summary(&self.reconciler, generation);
            let why = self.trouble(&requester, &summary).or_else(|| busy.then(|| BUSY.to_owned()));
            summary.verified &= !busy;
            let withdrawn = requester.forced && !apply.force && (why.is_some() || is_guest_held(&summary));
            let whys: Vec<String> = why.into_iter().chain(withdrawn.then(|| WITHDRAWN.to_owned())).collect();
            let answer = match whys.join("; ") {
                why if why.is_empty() => Ok(summary),
                why => Err(Refusal::Failed(ApplyFailed { why, summary })),
            };
            requester.end(answer);
        }
        self.reconciler.force(false);
        None
    }

    /// Why the host is not as it should be, in one sentence; `None` when it is.
    fn trouble(&self, requester: &Requester, summary: &Summary) -> Option<String> {
        if let Some(why) = self.reconciler.unread() {
            return Some(format!(
                "not all of the host could be read, and what was not seen is not known to be so: {why}"
            ));
        }
        let steps = |count: usize| if count == 1 { "1 step is".to_owned() } else { format!("{count} steps are") };
        match (summary.remaining.len(), requester.failure()) {
            (0, None) if summary.verified => None,
            (0, None) => Some("not all of the host was looked at".to_owned()),
            (0, Some(done)) => Some(format!("`{}` failed: {}", done.text, done.why.as_deref().unwrap_or("unsaid"))),
            (left, _) => Some(format!(
                "{} still to be done; the daemon goes on trying, `bulkhead status` shows how it stands",
                steps(left)
            )),
        }
    }
}

/// Whether a guest is kept that a forced apply would end.
fn is_guest_held(summary: &Summary) -> bool {
    summary.notices.iter().any(|notice| notice.cause == Cause::Held && matches!(notice.object, Object::Guest(_)))
}
