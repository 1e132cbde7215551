//! The host's DNS servers among the rooms.

use std::sync::Arc;

use bulkhead_api::{Phase, Status};
use bulkhead_types::{Cancelled, Object, Plan, Progress, Report, chain};

use super::{Name, OpenError, Room, StateOf, States, Unread, Wanted};
use crate::guest::Libvirt;
use crate::manifest::Desired;
use crate::offline::Host;
use crate::resolver::{self, Resolver};
use crate::watch::Reason;

/// systemd-resolved, or the file in its place.
#[derive(Debug)]
pub(crate) struct Dns(Resolver);

impl Room for Dns {
    const NAME: Name = Name::Resolver;
    const PHASE: Phase = Phase::Links;
    const NEEDS: &'static [Name] = &[Name::Policy, Name::Links];
    const WALLED: bool = false;
    const SOURCE: Reason = Reason::Resolver;
    type Desired = resolver::Desired;
    type Observed = resolver::Observed;
    type Step = resolver::Step;

    fn open(_: &Arc<Libvirt>) -> Result<Self, OpenError> {
        Ok(Self(Resolver::default()))
    }

    fn desired(wanted: Wanted<'_>, states: &States) -> Self::Desired {
        resolver::Desired::of(wanted.manifest, states.links.last_known().map(|links| &**links))
    }

    fn state(states: &States) -> &StateOf<Self> {
        &states.resolver
    }

    fn state_mut(states: &mut States) -> &mut StateOf<Self> {
        &mut states.resolver
    }

    async fn observe(&mut self, desired: &Self::Desired) -> Result<Self::Observed, Unread> {
        self.0.observe(desired).await.map_err(|error| Unread::Refused(chain(&error)))
    }

    fn plan(desired: &Self::Desired, observed: &Self::Observed) -> Plan<Self::Step> {
        resolver::plan(desired, observed)
    }

    async fn apply(
        &mut self,
        plan: &Plan<Self::Step>,
        cancelled: Cancelled<'_>,
        progress: Progress<'_, Self::Step>,
    ) -> Report<Self::Step> {
        self.0.apply(plan, cancelled, progress).await
    }

    fn offline(host: &mut Host<'_>) -> Result<Self::Observed, String> {
        Ok(resolver::Observed::applied(&resolver::Desired::of(host.base, None)))
    }

    fn objects(_: &Desired) -> Vec<Object> {
        vec![Object::Resolver]
    }

    /// Its notices say all there is.
    fn page(_: &Desired, _: &States, _: &mut Status) {}
}
