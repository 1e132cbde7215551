//! One look at a room: observe, plan, apply, and verify by observing and planning again.

use std::sync::Arc;

use bulkhead_types::Outcome;

use super::{Left, Name, Room, State, StateOf, States, View};
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

/// What a look came to.
pub(crate) struct Ended {
    /// Of which room.
    pub(crate) name: Name,
    /// Every write that was tried or skipped.
    pub(crate) done: Vec<Done>,
    /// Takes the room's new state up among the others.
    pub(crate) keep: Box<dyn FnOnce(&mut States) + Send>,
}

/// Brings a room to what is desired, as far as it goes.
pub(super) async fn look<R: Room>(
    room: &mut R,
    desired: &R::Desired,
    mode: Mode,
    progress: &mut (dyn FnMut(Done) + Send),
) -> (StateOf<R>, Vec<Done>) {
    let mut done = Vec::new();
    let mut tried: Vec<(R::Step, Outcome)> = Vec::new();
    for round in 0.. {
        let observed = match room.observe(desired).await {
            Ok(observed) => observed,
            Err(why) => return (State::Unread(why, None), done),
        };
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
        if round >= ROUNDS || same {
            return (State::Left(view, left(plan.steps, &tried)), done);
        }
        let report = room.apply(&plan, &mut |step, outcome| progress(Done::of(R::PHASE, step, outcome))).await;
        done.extend(report.steps.iter().map(|(step, outcome)| Done::of(R::PHASE, step, outcome)));
        tried = report.steps;
    }
    (State::Unseen, done)
}

/// What remains, with the reason of each that was refused.
fn left<S: Clone + PartialEq>(steps: Vec<S>, tried: &[(S, Outcome)]) -> Vec<Left<S>> {
    let refused = |step: &S| {
        tried.iter().find_map(|(old, outcome)| match outcome {
            Outcome::Failed(why) if old == step => Some(why.clone()),
            _ => None,
        })
    };
    steps.into_iter().map(|step| Left { refused: refused(&step), step }).collect()
}
