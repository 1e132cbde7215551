//! An apply: follow what the files say, and wait until the rooms have gone as far as they go.

use std::time::Duration;

use bulkhead_api::{ApplyFailed, Summary};
use bulkhead_types::chain;
use tokio::time::Instant;

use super::Agent;
use super::load::Files;
use super::requests::{Job, Work, failed};
use crate::rooms::{AnyRoom, Name, State};
use crate::socket::Refusal;

/// How long an apply that touches no guest waits for what libvirt has: it answers in milliseconds, or in seconds where a
/// machine is busy. A look that makes something there may take minutes.
const PATIENCE: Duration = Duration::from_secs(10);

/// An apply under way.
#[derive(Debug)]
pub(crate) struct Apply {
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
    /// Follows what the files say. `None`: it was answered already.
    pub(super) fn start_apply(&mut self, job: Job, force: bool) -> Option<Work> {
        let right = match self.files() {
            Files::Right(right) => right,
            Files::Wrong(invalid) | Files::Nothing(invalid) => {
                job.end(Err(Refusal::ManifestInvalid(invalid)));
                return None;
            }
        };
        let news = match self.follow(*right) {
            Ok(news) => news,
            Err(error) => {
                job.end(Err(failed(&chain(&error))));
                return None;
            }
        };
        self.reconciler.force(force);
        self.reconciler.wake(job.began);
        let seen = matches!(self.reconciler.states().guests, State::Verified(_) | State::Unread(..));
        let touches_guests = force || !seen || news.contains(&Name::Guests);
        let guests = if touches_guests { Guests::Awaited } else { Guests::Until(job.began.at + PATIENCE) };
        Some(Work::Apply(job, Apply { guests }))
    }

    /// Ends the apply when no room has anything more to do for it.
    pub(super) fn advance_apply(&mut self, job: Job, mut apply: Apply) -> Option<Work> {
        let since = job.began.at;
        let busy = |name: &Name| !self.reconciler.rests_since(*name, since);
        let busy: Vec<Name> = self.reconciler.rooms().map(AnyRoom::name).filter(busy).collect();
        if matches!(apply.guests, Guests::Until(until) if Instant::now() >= until) {
            apply.guests = Guests::Late;
        }
        let unanswered = apply.guests == Guests::Late && busy == [Name::Guests];
        if !busy.is_empty() && !unanswered {
            return Some(Work::Apply(job, apply));
        }
        if unanswered {
            let why = format!("waits for libvirt: it has not answered within {} s", PATIENCE.as_secs());
            self.reconciler.guests_late(why);
            self.publisher.host(&self.reconciler);
        }
        let summary = job.summary(&self.reconciler, self.generation.as_ref().map(|generation| generation.number));
        let answer = match self.trouble(&job, &summary) {
            None => Ok(summary),
            Some(why) => Err(Refusal::Failed(ApplyFailed { why, summary })),
        };
        job.end(answer);
        self.reconciler.force(false);
        None
    }

    /// Why the host is not as it should be, in one sentence; `None` when it is.
    fn trouble(&self, job: &Job, summary: &Summary) -> Option<String> {
        if let Some(why) = self.reconciler.unread() {
            return Some(format!(
                "not all of the host could be read, and what was not seen is not known to be so: {why}"
            ));
        }
        let steps = |count: usize| if count == 1 { "1 step is".to_owned() } else { format!("{count} steps are") };
        match (summary.remaining.len(), job.failure()) {
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
