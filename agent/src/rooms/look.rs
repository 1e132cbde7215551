//! One look at a room: observe, plan, apply, and verify by observing and planning again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bulkhead_types::Outcome;

use super::{Name, RemainingStep, Room, State, StateOf, States, View};
use bulkhead_api::Done;

/// How often a room is planned in one look. Two are the rule: one that writes, one that is empty.
const ROUNDS: usize = 4;

/// Whether a look writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It makes what is missing.
    Apply,
    /// It only says what is missing.
    Plan,
}

/// Ends the writes of a look under way: what it makes is not to be made any more, or not now. The step that has begun is the
/// last one. It also tells whether the look has come as far as its writes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancellation {
    why: Arc<OnceLock<&'static str>>,
    observed: Arc<AtomicBool>,
}

impl Cancellation {
    /// Cancels for this reason. The first one stays.
    pub(crate) fn cancel(&self, why: &'static str) {
        let _ = self.why.set(why);
    }

    /// Why it was cancelled; `None` while it was not.
    pub(crate) fn why(&self) -> Option<&'static str> {
        self.why.get().copied()
    }

    /// The room was read for the first time in this look.
    pub(crate) fn observed(&self) {
        self.observed.store(true, Ordering::Relaxed);
    }

    /// Whether the room was read in this look: what it still does is to write, and to read again.
    pub(crate) fn has_observed(&self) -> bool {
        self.observed.load(Ordering::Relaxed)
    }
}

/// What a look came to.
pub(crate) struct Findings {
    /// Of which room.
    pub(crate) name: Name,
    /// Every write that was tried or skipped.
    pub(crate) done: Vec<Done>,
    /// Takes the room's new state up among the others.
    pub(crate) keep: Box<dyn FnOnce(&mut States) + Send>,
}

/// Brings a room to what is desired, as far as it goes, or until it is cancelled.
pub(super) async fn look<R: Room>(
    room: &mut R,
    desired: &R::Desired,
    mode: Mode,
    cancellation: &Cancellation,
    progress: &mut (dyn FnMut(Done) + Send),
) -> (StateOf<R>, Vec<Done>) {
    let mut done = Vec::new();
    let mut tried: Vec<(R::Step, Outcome)> = Vec::new();
    if mode == Mode::Apply {
        room.take_up(desired);
    }
    for round in 0.. {
        let observed = match room.observe(desired).await {
            Ok(observed) => observed,
            Err(why) => return (State::Unread(why, None), done),
        };
        cancellation.observed();
        let mut plan = R::plan(desired, &observed);
        let view = View { observed: Arc::new(observed), notices: std::mem::take(&mut plan.notices).into() };
        if plan.steps.is_empty() {
            return (State::Verified(view), done);
        }
        if mode == Mode::Plan {
            return (State::Planned(view, plan.steps), done);
        }
        // The same plan as before: what it asks for cannot be had now, and asking again in the same breath changes nothing.
        let same = tried.len() == plan.steps.len() && tried.iter().zip(&plan.steps).all(|(old, step)| old.0 == *step);
        if round >= ROUNDS || same || cancellation.why().is_some() {
            return (State::Incomplete(view, remaining(plan.steps, &tried)), done);
        }
        let mut each = |step: &R::Step, outcome: &Outcome| progress(Done::of(R::PHASE, step, outcome));
        let report = room.apply(&plan, &|| cancellation.why(), &mut each).await;
        done.extend(report.steps.iter().map(|(step, outcome)| Done::of(R::PHASE, step, outcome)));
        tried = report.steps;
    }
    (State::Unseen, done)
}

/// What remains, with the reason of each that was refused.
fn remaining<S: Clone + PartialEq>(steps: Vec<S>, tried: &[(S, Outcome)]) -> Vec<RemainingStep<S>> {
    let refused = |step: &S| {
        tried.iter().find_map(|(old, outcome)| match outcome {
            Outcome::Failed(why) if old == step => Some(why.clone()),
            _ => None,
        })
    };
    steps.into_iter().map(|step| RemainingStep { refused: refused(&step), step }).collect()
}

#[cfg(test)]
mod tests {
    use bulkhead_api::{Phase, Status};
    use bulkhead_types::{Cancelled, Object, Plan, Progress, Report};

    use super::*;
    use crate::guest::Libvirt;
    use crate::manifest::Desired;
    use crate::offline::Host;
    use crate::resolver::Step;
    use crate::rooms::{OpenError, Unread, Wanted};
    use crate::watch::Reason;

    /// A room in which something is always missing, and which is cancelled while it is read for the second time.
    #[derive(Debug, Default)]
    struct Fake {
        cancellation: Cancellation,
        taken_up: usize,
        observed: usize,
        applied: usize,
    }

    impl Room for Fake {
        const NAME: Name = Name::Resolver;
        const PHASE: Phase = Phase::Links;
        const NEEDS: &'static [Name] = &[];
        const WALLED: bool = false;
        const SOURCE: Reason = Reason::Resolver;
        type Desired = ();
        type Observed = usize;
        type Step = Step;

        fn open(_: &Arc<Libvirt>) -> Result<Self, OpenError> {
            Ok(Self::default())
        }
        fn desired(_: Wanted<'_>, _: &States) {}
        fn state(_: &States) -> &StateOf<Self> {
            unreachable!("a look alone knows no other room")
        }
        fn state_mut(_: &mut States) -> &mut StateOf<Self> {
            unreachable!("a look alone knows no other room")
        }
        fn take_up(&mut self, (): &()) {
            self.taken_up += 1;
        }
        async fn observe(&mut self, (): &()) -> Result<usize, Unread> {
            self.observed += 1;
            if self.observed == 2 {
                self.cancellation.cancel("the manifest has changed");
            }
            Ok(self.observed)
        }
        fn plan((): &(), observed: &usize) -> Plan<Step> {
            Plan { steps: vec![Step::WriteFile { text: observed.to_string() }], notices: Vec::new() }
        }
        async fn apply(&mut self, plan: &Plan<Step>, _: Cancelled<'_>, _: Progress<'_, Step>) -> Report<Step> {
            self.applied += 1;
            let mut report = Report::default();
            plan.steps.iter().for_each(|step| report.record(step.clone(), Outcome::Done));
            report
        }
        fn offline(_: &mut Host<'_>) -> Result<usize, String> {
            Ok(0)
        }
        fn objects(_: &Desired) -> Vec<Object> {
            Vec::new()
        }
        fn page(_: &Desired, _: &States, _: &mut Status) {}
    }

    #[tokio::test]
    async fn a_look_for_a_plan_is_not_taken_for_what_is_followed() {
        let mut room = Fake::default();
        look(&mut room, &(), Mode::Plan, &Cancellation::default(), &mut |_| ()).await;
        assert_eq!(room.taken_up, 0);
        look(&mut room, &(), Mode::Apply, &Cancellation::default(), &mut |_| ()).await;
        assert_eq!(room.taken_up, 1);
    }

    #[tokio::test]
    async fn a_look_that_is_cancelled_writes_nothing_more_and_says_what_is_left() {
        let mut room = Fake::default();
        let cancellation = room.cancellation.clone();
        assert!(!cancellation.has_observed());
        let (state, done) = look(&mut room, &(), Mode::Apply, &cancellation, &mut |_| ()).await;
        assert_eq!((room.observed, room.applied, done.len()), (2, 1, 1));
        assert!(cancellation.has_observed());
        let State::Incomplete(_, left) = state else { panic!("{state:?}") };
        assert!(matches!(&left[..], [RemainingStep { refused: None, .. }]), "{left:?}");
    }
}
