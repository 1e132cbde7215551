//! A room's place in the order: its handle, and what it is to make.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bulkhead_types::{Cause, Notice};
use tokio::sync::Mutex;

use super::look::look;
use super::{Cancellation, Findings, Mode, Name, Room, State, States, Wanted};
use crate::manifest::Desired;
use crate::watch::Reason;
use bulkhead_api::{Done, Phase, Status, Step};

/// A look under way, beside the loop.
pub(crate) type Look = Pin<Box<dyn Future<Output = Findings> + Send>>;
/// Hears of each step once it has ended.
pub(crate) type OnDone = Box<dyn FnMut(Done) + Send>;

/// A room as the loop knows it, whatever its types are.
pub(crate) trait AnyRoom: fmt::Debug + Send {
    fn name(&self) -> Name;
    /// Under which its steps are reported.
    fn phase(&self) -> Phase;
    fn needs(&self) -> &'static [Name];
    /// Whether it is written only behind a policy that stands.
    fn walled(&self) -> bool;
    /// Which wakes are about it.
    fn source(&self) -> Reason;
    /// A second handle on it, without a target yet.
    fn handle(&self) -> Box<dyn AnyRoom>;
    /// Takes up what it is to make from now on. True when that is another thing than before.
    fn retarget(&mut self, wanted: Wanted<'_>, states: &States) -> bool;
    /// Looks, and makes its target until it is cancelled.
    fn look(&self, mode: Mode, cancellation: Cancellation, progress: OnDone) -> Look;
    /// Looks what this would take, and writes nothing.
    fn plan(&self, wanted: Wanted<'_>, states: &States) -> Look;
    /// Whether it was read and nothing is left to write.
    fn verified(&self, states: &States) -> bool;
    /// Why it could not be read.
    fn unread(&self, states: &States) -> Option<super::Unread>;
    /// What is still to be written.
    fn remaining(&self, states: &States) -> Vec<Step>;
    /// What people should know.
    fn notices(&self, manifest: &Desired, states: &States) -> Vec<Notice>;
    /// Fills the room's page of the status.
    fn page(&self, manifest: &Desired, states: &States, status: &mut Status);
}

/// A room of one kind.
#[derive(Debug)]
pub(crate) struct Slot<R: Room> {
    /// Whoever looks has it alone; the loop itself never waits for it.
    room: Arc<Mutex<R>>,
    desired: Option<Arc<R::Desired>>,
}

impl<R: Room> Slot<R> {
    pub(crate) fn boxed(room: R) -> Box<dyn AnyRoom> {
        Box::new(Self { room: Arc::new(Mutex::new(room)), desired: None })
    }

    fn begin(&self, desired: Arc<R::Desired>, mode: Mode, cancellation: Cancellation, mut progress: OnDone) -> Look {
        let room = Arc::clone(&self.room);
        Box::pin(async move {
            let (state, done) = look(&mut *room.lock().await, &desired, mode, &cancellation, &mut *progress).await;
            let keep = move |states: &mut States| {
                let slot = R::state_mut(states);
                *slot = match state {
                    State::Unread(why, _) => State::Unread(why, slot.last_known().cloned()),
                    state => state,
                };
            };
            Findings { name: R::NAME, done, keep: Box::new(keep) }
        })
    }
}

impl<R: Room> AnyRoom for Slot<R> {
    fn name(&self) -> Name {
        R::NAME
    }

    fn phase(&self) -> Phase {
        R::PHASE
    }

    fn needs(&self) -> &'static [Name] {
        R::NEEDS
    }

    fn walled(&self) -> bool {
        R::WALLED
    }

    fn source(&self) -> Reason {
        R::SOURCE
    }

    fn handle(&self) -> Box<dyn AnyRoom> {
        Box::new(Self { room: Arc::clone(&self.room), desired: None })
    }

    fn retarget(&mut self, wanted: Wanted<'_>, states: &States) -> bool {
        let desired = R::desired(wanted, states);
        let news = self.desired.as_deref() != Some(&desired);
        if news {
            self.desired = Some(Arc::new(desired));
        }
        news
    }

    fn look(&self, mode: Mode, cancellation: Cancellation, progress: OnDone) -> Look {
        match &self.desired {
            Some(desired) => self.begin(Arc::clone(desired), mode, cancellation, progress),
            None => Box::pin(async { Findings { name: R::NAME, done: Vec::new(), keep: Box::new(|_| ()) } }),
        }
    }

    fn plan(&self, wanted: Wanted<'_>, states: &States) -> Look {
        self.begin(Arc::new(R::desired(wanted, states)), Mode::Plan, Cancellation::default(), Box::new(|_| ()))
    }

    fn verified(&self, states: &States) -> bool {
        R::state(states).verified()
    }

    fn unread(&self, states: &States) -> Option<super::Unread> {
        R::state(states).unread().cloned()
    }

    fn remaining(&self, states: &States) -> Vec<Step> {
        let of = |step: &R::Step| Step::of(R::PHASE, step);
        match R::state(states) {
            State::Planned(_, steps) => steps.iter().map(of).collect(),
            state => state.remaining().iter().map(|left| of(&left.step)).collect(),
        }
    }

    fn notices(&self, manifest: &Desired, states: &States) -> Vec<Notice> {
        match R::state(states) {
            State::Unread(why, _) => {
                let notice = |object| Notice { object, cause: Cause::Unknown, text: format!("is not known: {why}") };
                R::objects(manifest).into_iter().map(notice).collect()
            }
            state => state.notices().to_vec(),
        }
    }

    fn page(&self, manifest: &Desired, states: &States, status: &mut Status) {
        R::page(manifest, states, status);
    }
}
