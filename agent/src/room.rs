//! One room's turn: observe, plan, apply, and verify by observing and planning again.

use std::collections::BTreeMap;

use bulkhead_api::{Done, Phase, Step};
use bulkhead_netlink as netlink;
use bulkhead_policy as policy;
use bulkhead_sandbox as sandbox;
use bulkhead_types::{Cause, Notice, Object, Outcome, Plan, Report, Step as _, chain};

use crate::guest;
use crate::resolver;

/// How often a room is planned in one turn. Two are the rule: one that writes, one that is empty.
const ROUNDS: usize = 4;

/// What the four rooms have in common, so that one piece of code sequences them.
pub(crate) trait Room {
    /// The phase under which its steps are reported.
    const PHASE: Phase;
    /// What the manifest wants of it.
    type Desired;
    /// What there is.
    type Observed;
    /// One write.
    type Step: bulkhead_types::Step + Clone + PartialEq;

    /// Reads; the error is one line for people.
    async fn observe(&mut self, desired: &Self::Desired) -> Result<Self::Observed, String>;
    /// Compares; pure.
    fn plan(&self, desired: &Self::Desired, observed: &Self::Observed) -> Plan<Self::Step>;
    /// Writes.
    async fn apply(
        &mut self,
        plan: &Plan<Self::Step>,
        progress: &mut (dyn FnMut(&Self::Step, &Outcome) + Send),
    ) -> Report<Self::Step>;
}

/// How a room stood at the end of its turn.
#[derive(Debug)]
pub(crate) struct Settled<O> {
    /// What was read last; `None` when it could not be read.
    pub(crate) observed: Option<O>,
    /// Every write that was tried or skipped.
    pub(crate) done: Vec<Done>,
    /// What the last plan would still write.
    pub(crate) remaining: Vec<Step>,
    /// What the last plan says to people.
    pub(crate) notices: Vec<Notice>,
    /// Why the room could not be read.
    pub(crate) unread: Option<String>,
    /// Objects that are not as they should be, and why.
    pub(crate) failed: BTreeMap<Object, String>,
}

impl<O> Settled<O> {
    /// Nothing is known, nothing was done.
    pub(crate) fn untried() -> Self {
        Self {
            observed: None,
            done: Vec::new(),
            remaining: Vec::new(),
            notices: Vec::new(),
            unread: None,
            failed: BTreeMap::new(),
        }
    }

    /// It could not be read.
    pub(crate) fn unread(why: String) -> Self {
        Self { unread: Some(why), ..Self::untried() }
    }

    /// A second look in the same turn: it knows better, and what was done before it stays done.
    pub(crate) fn follow(&mut self, later: Self) {
        let mut done = std::mem::take(&mut self.done);
        done.extend(later.done);
        *self = Self { done, ..later };
    }

    /// Read, and nothing is left to write.
    pub(crate) fn verified(&self) -> bool {
        self.observed.is_some() && self.remaining.is_empty()
    }
}

/// Brings a room to what is desired, as far as it goes.
pub(crate) async fn settle<R: Room>(
    room: &mut R,
    desired: &R::Desired,
    progress: &mut (dyn FnMut(Done) + Send),
) -> Settled<R::Observed> {
    let mut settled = Settled::untried();
    let mut tried: Option<Vec<R::Step>> = None;
    for round in 0.. {
        let observed = match room.observe(desired).await {
            Ok(observed) => observed,
            Err(why) => {
                settled.unread = Some(why);
                return settled;
            }
        };
        let mut plan = room.plan(desired, &observed);
        settled.observed = Some(observed);
        settled.notices = std::mem::take(&mut plan.notices);
        settled.remaining = plan.steps.iter().map(|step| Step::of(R::PHASE, step)).collect();
        // The same plan as before: what it asks for cannot be had now, and asking again in the same breath changes nothing.
        if plan.steps.is_empty() || round >= ROUNDS || tried.as_ref() == Some(&plan.steps) {
            return settled;
        }
        settled.failed.clear();
        let report = room.apply(&plan, &mut |step, outcome| progress(Done::of(R::PHASE, step, outcome))).await;
        for (step, outcome) in &report.steps {
            if let Outcome::Failed(why) = outcome {
                settled.failed.entry(step.object()).or_insert_with(|| why.clone());
            }
            settled.done.push(Done::of(R::PHASE, step, outcome));
        }
        tried = Some(plan.steps);
    }
    settled
}

/// Observes and plans a room and writes nothing: its steps and notices.
pub(crate) async fn foresee<R: Room>(room: &mut R, desired: &R::Desired) -> Result<(Vec<Step>, Vec<Notice>), String> {
    let observed = room.observe(desired).await?;
    let plan = room.plan(desired, &observed);
    Ok((plan.steps.iter().map(|step| Step::of(R::PHASE, step)).collect(), plan.notices))
}

/// A notice for each of the objects: the room that makes them could not be read.
pub(crate) fn unread(objects: impl IntoIterator<Item = Object>, why: &str) -> Vec<Notice> {
    let notice = |object| Notice { object, cause: Cause::Pending, text: format!("is not known: {why}") };
    objects.into_iter().map(notice).collect()
}

impl Room for policy::Ruleset {
    const PHASE: Phase = Phase::Policy;
    type Desired = policy::model::Desired;
    type Observed = policy::model::Observed;
    type Step = policy::Step;

    async fn observe(&mut self, _: &Self::Desired) -> Result<Self::Observed, String> {
        Self::observe(self).await.map_err(|error| chain(&error))
    }
    fn plan(&self, desired: &Self::Desired, observed: &Self::Observed) -> Plan<Self::Step> {
        policy::plan(desired, observed)
    }
    async fn apply(
        &mut self,
        plan: &Plan<Self::Step>,
        progress: &mut (dyn FnMut(&Self::Step, &Outcome) + Send),
    ) -> Report<Self::Step> {
        Self::apply(self, plan, progress).await
    }
}

impl Room for netlink::Kernel {
    const PHASE: Phase = Phase::Links;
    type Desired = netlink::model::Desired;
    type Observed = netlink::model::Observed;
    type Step = netlink::Step;

    async fn observe(&mut self, desired: &Self::Desired) -> Result<Self::Observed, String> {
        Self::observe(self, desired).await.map_err(|error| chain(&error))
    }
    fn plan(&self, desired: &Self::Desired, observed: &Self::Observed) -> Plan<Self::Step> {
        netlink::plan(desired, observed)
    }
    async fn apply(
        &mut self,
        plan: &Plan<Self::Step>,
        progress: &mut (dyn FnMut(&Self::Step, &Outcome) + Send),
    ) -> Report<Self::Step> {
        Self::apply(self, plan, progress).await
    }
}

impl Room for resolver::Resolver {
    const PHASE: Phase = Phase::Links;
    type Desired = resolver::Desired;
    type Observed = resolver::Observed;
    type Step = resolver::Step;

    async fn observe(&mut self, desired: &Self::Desired) -> Result<Self::Observed, String> {
        Self::observe(self, desired).await.map_err(|error| chain(&error))
    }
    fn plan(&self, desired: &Self::Desired, observed: &Self::Observed) -> Plan<Self::Step> {
        resolver::plan(desired, observed)
    }
    async fn apply(
        &mut self,
        plan: &Plan<Self::Step>,
        progress: &mut (dyn FnMut(&Self::Step, &Outcome) + Send),
    ) -> Report<Self::Step> {
        Self::apply(self, plan, progress).await
    }
}

impl Room for sandbox::Systemd {
    const PHASE: Phase = Phase::Limits;
    type Desired = sandbox::model::Desired;
    type Observed = sandbox::model::Observed;
    type Step = sandbox::plan::Step;

    async fn observe(&mut self, _: &Self::Desired) -> Result<Self::Observed, String> {
        Self::observe(self).await.map_err(|error| chain(&error))
    }
    fn plan(&self, desired: &Self::Desired, observed: &Self::Observed) -> Plan<Self::Step> {
        sandbox::plan::plan(desired, observed)
    }
    async fn apply(
        &mut self,
        plan: &Plan<Self::Step>,
        progress: &mut (dyn FnMut(&Self::Step, &Outcome) + Send),
    ) -> Report<Self::Step> {
        Self::apply(self, plan, progress).await
    }
}

/// libvirt, and what this turn's earlier phases say of its guests.
pub(crate) struct Guests<'a> {
    pub(crate) libvirt: &'a guest::Libvirt,
    pub(crate) given: guest::Given,
}

impl Room for Guests<'_> {
    const PHASE: Phase = Phase::Guests;
    type Desired = guest::model::Desired;
    type Observed = guest::model::Observed;
    type Step = guest::Step;

    async fn observe(&mut self, desired: &Self::Desired) -> Result<Self::Observed, String> {
        self.libvirt.observe(desired).await.map_err(|error| chain(&error))
    }
    fn plan(&self, desired: &Self::Desired, observed: &Self::Observed) -> Plan<Self::Step> {
        guest::plan(desired, observed, &self.given)
    }
    async fn apply(
        &mut self,
        plan: &Plan<Self::Step>,
        progress: &mut (dyn FnMut(&Self::Step, &Outcome) + Send),
    ) -> Report<Self::Step> {
        self.libvirt.apply(plan, progress).await
    }
}
