//! What the socket asks.

use std::fmt;

use bulkhead_api::{ApplyFailed, Done, Ended, Plan, Summary, Why};
use bulkhead_types::chain;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::apply::Apply;
use super::load::Files;
use super::teardown::Teardown;
use super::{Agent, WAITING};
use crate::manifest::Desired;
use crate::reconcile::{EndedLook, Reconciler};
use crate::rooms::{AnyRoom, States, Wanted};
use crate::socket::{Answer, Refusal, Request};
use crate::watch::{Reason, Wake};

/// An apply or a teardown under way.
#[derive(Debug)]
pub(crate) enum Work {
    Apply(Apply),
    Teardown(Requester, Teardown),
}

/// What the two have in common: who waits for it, and what was done so far.
pub(crate) struct Requester {
    /// When it began.
    pub(super) began: Wake,
    /// Whether it asked for an apply with force.
    pub(super) forced: bool,
    steps: Vec<Done>,
    progress: mpsc::UnboundedSender<Done>,
    reply: oneshot::Sender<Result<Summary, Refusal>>,
}

impl fmt::Debug for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requester")
            .field("began", &self.began)
            .field("steps", &self.steps.len())
            .finish_non_exhaustive()
    }
}

impl Work {
    /// Where each step goes once it has ended.
    pub(super) fn progress(&self) -> Vec<mpsc::UnboundedSender<Done>> {
        let requesters = match self {
            Self::Apply(apply) => &apply.requesters[..],
            Self::Teardown(requester, _) => std::slice::from_ref(requester),
        };
        requesters.iter().map(|requester| requester.progress.clone()).collect()
    }

    /// A look has ended; one that began before a request is none of its.
    pub(super) fn record(&mut self, look: &EndedLook) {
        let requesters = match self {
            Self::Apply(apply) => &mut apply.requesters[..],
            Self::Teardown(requester, _) => std::slice::from_mut(requester),
        };
        for requester in requesters.iter_mut().filter(|requester| look.began >= requester.began.at) {
            requester.steps.extend(look.done.iter().cloned());
        }
    }

    /// When it goes on by itself.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Apply(apply) => apply.deadline(),
            Self::Teardown(_, teardown) => teardown.deadline(),
        }
    }
}

impl Requester {
    pub(super) fn new(progress: mpsc::UnboundedSender<Done>, reply: oneshot::Sender<Result<Summary, Refusal>>) -> Self {
        Self { began: Wake::now(Reason::Request), forced: false, steps: Vec::new(), progress, reply }
    }

    /// Answers. That nobody waits for it any more changes nothing.
    pub(super) fn end(self, answer: Result<Summary, Refusal>) {
        let _ = self.reply.send(answer);
    }

    /// Whether nobody waits for the answer any more.
    pub(super) fn is_closed(&self) -> bool {
        self.reply.is_closed()
    }

    /// What was done, and how the rooms stand now.
    pub(super) fn summary(&self, reconciler: &Reconciler, generation: Option<u64>) -> Summary {
        let count = |ended: Ended| self.steps.iter().filter(|done| done.outcome == ended).count() as u64;
        Summary {
            generation,
            done: count(Ended::Done),
            failed: count(Ended::Failed),
            skipped: count(Ended::Skipped),
            verified: reconciler.verified(),
            remaining: reconciler.remaining(),
            notices: reconciler.notices(),
            duration_us: u64::try_from(self.began.at.elapsed().as_micros()).unwrap_or(u64::MAX),
        }
    }

    /// The first step that failed and was not done later.
    pub(super) fn failure(&self) -> Option<&Done> {
        let same = |a: &Done, b: &Done| (a.phase, &a.object, &a.text) == (b.phase, &b.object, &b.text);
        let mended = |failed: &Done| self.steps.iter().any(|done| done.outcome == Ended::Done && same(done, failed));
        self.steps.iter().find(|done| done.outcome == Ended::Failed && !mended(done))
    }
}

impl Agent {
    /// Takes a request in. Applies and teardowns come one after the other, but for an apply that follows another one; a plan is
    /// made beside them.
    pub(super) fn serve(&mut self, request: Request) {
        match request {
            Request::Counters { reply } => self.count(reply),
            Request::Plan { reply } => self.plan(reply),
            Request::Apply { done, .. } | Request::Teardown { done, .. } if self.waiting.len() >= WAITING => {
                let why = "other requests wait for a teardown; try again when it has ended".to_owned();
                // Whoever does not wait any more needs no answer.
                let _ = done.send(Err(Refusal::Busy(Why { why })));
            }
            request => self.waiting.push_back(request),
        }
    }

    /// Takes the apply or teardown under way further, and begins what comes next.
    pub(super) fn advance(&mut self) {
        loop {
            self.work = match (self.work.take(), self.waiting.pop_front()) {
                (None, None) => return,
                (None, Some(request)) => self.start_work(request),
                // Nobody waits for an apply whose files are no longer the newest.
                (Some(Work::Apply(apply)), Some(Request::Apply { force, progress, done })) => {
                    self.start_apply(Requester::new(progress, done), force, Some(apply))
                }
                (Some(work), next) => {
                    next.into_iter().for_each(|request| self.waiting.push_front(request));
                    self.advance_work(work)
                }
            };
            let applies = matches!(self.work, Some(Work::Apply(_)));
            if self.work.is_some() && !(applies && matches!(self.waiting.front(), Some(Request::Apply { .. }))) {
                return;
            }
            self.look_at_files();
        }
    }

    fn advance_work(&mut self, work: Work) -> Option<Work> {
        match work {
            Work::Apply(apply) => self.advance_apply(apply),
            Work::Teardown(requester, teardown) => self.advance_teardown(requester, teardown),
        }
    }

    fn start_work(&mut self, request: Request) -> Option<Work> {
        match request {
            Request::Apply { force, progress, done } => self.start_apply(Requester::new(progress, done), force, None),
            Request::Teardown { force, progress, done } => self.start_teardown(Requester::new(progress, done), force),
            request => {
                self.serve(request);
                None
            }
        }
    }

    /// Reads the counters again and publishes them: the kernel answers at once. The reply is dropped where there are none.
    fn count(&mut self, reply: oneshot::Sender<()>) {
        let Some(manifest) = self.reconciler.manifest() else { return };
        match bulkhead_policy::counters::read() {
            Ok(counters) => {
                self.publisher.counted(manifest, &counters);
                // Whoever does not wait any more needs no answer.
                let _ = reply.send(());
            }
            Err(error) => tracing::warn!("{}", chain(&error)),
        }
    }

    /// What an apply of the files would write now.
    fn plan(&mut self, reply: Answer<Plan>) {
        let manifest = match self.files() {
            Files::Right(right) => right.desired,
            Files::Wrong(invalid) | Files::Nothing(invalid) => {
                reply.send(Err(Refusal::ManifestInvalid(invalid)));
                return;
            }
        };
        let (rooms, states) = (self.reconciler.handles(), self.reconciler.states().clone());
        tokio::spawn(async move { reply.send(Ok(plan(rooms, &manifest, states).await)) });
        self.look_at_files();
    }
}

/// Observes and plans every room in its order, each as if those before it had made what they plan.
async fn plan(rooms: Vec<Box<dyn AnyRoom>>, manifest: &Desired, mut states: States) -> Plan {
    let mut plan = Plan::default();
    for room in rooms {
        let ended = room.plan(Wanted { manifest, force: false }, &states).await;
        (ended.keep)(&mut states);
        plan.steps.extend(room.remaining(&states));
        plan.notices.extend(room.notices(manifest, &states));
    }
    plan
}

/// A refusal before anything was tried.
pub(super) fn failed(why: &str) -> Refusal {
    Refusal::Failed(ApplyFailed { why: why.to_owned(), summary: Summary::default() })
}
