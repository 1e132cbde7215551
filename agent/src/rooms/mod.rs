//! The rooms in their order, and what they have in common.
//!
//! One file a room: what it is given, how it is read, planned and written, and its page of the status. A new room is its
//! adapter, its name, its field of [`States`] and its line in [`walk`], and the source of its wakes in `watch/`.

mod guests;
mod limits;
mod links;
mod look;
mod policy;
mod resolver;
mod slot;
mod state;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bulkhead_types::{Cancelled, GuestName, Object, Plan, Progress, Report};

use crate::guest::{Hold, Libvirt};
use crate::manifest::Desired;
use crate::offline::Host;
use crate::watch::Reason;
use bulkhead_api::{Phase, Status};

pub(crate) use guests::{Guests, not_asked};
pub(crate) use limits::{Limits, populated};
pub(crate) use links::Links;
pub(crate) use look::{Cancellation, Findings, Mode};
pub(crate) use policy::{Policy, counters};
pub(crate) use resolver::Dns;
pub(crate) use slot::{AnyRoom, Slot};
#[cfg(test)]
pub(crate) use slot::{Look, OnDone};
pub(crate) use state::{RemainingStep, State, Unread, View};

/// A room, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// The nftables ruleset.
    Policy,
    /// VLANs, bridges, addresses, routes.
    Links,
    /// The host's DNS servers.
    Resolver,
    /// Slices of guests.
    Limits,
    /// Pools, libvirt networks, domains.
    Guests,
}

/// Takes every room, in THE order. Plan and apply walk it, teardown walks it backwards.
///
/// The order, and why:
/// 1. the policy: rules name interfaces by name, so they stand before any interface does, and nothing ever forwards before
///    its rule. Bridges that leave stay walled until they are gone: port down before rule removed.
/// 2. links. With these two the network is ready, whatever libvirt does.
/// 3. DNS servers, which stand on links.
/// 4. limits, so that no guest ever runs without them.
/// 5. pools, networks, guests: only a guest whose walls stand is started. Its taps are new ports, for which links are looked
///    at again.
///
/// A room waits only for those that it names in [`Room::NEEDS`]; nothing that could let a frame pass is written behind a policy that
/// does not stand.
///
/// # Errors
/// The first of the walk.
pub(crate) fn walk<W: Walk>(walk: &mut W) -> Result<(), W::Error> {
    walk.room::<Policy>()?;
    walk.room::<Links>()?;
    walk.room::<Dns>()?;
    walk.room::<Limits>()?;
    walk.room::<Guests>()
}

/// What is done with each room in turn, in the room's own types.
pub(crate) trait Walk {
    /// What ends it early.
    type Error;
    /// Takes the next room.
    fn room<R: Room>(&mut self) -> Result<(), Self::Error>;
}

/// Opens the rooms, in their order.
///
/// # Errors
/// There is no netlink socket or no libnftables to be had.
pub(crate) fn open(libvirt: &Arc<Libvirt>) -> Result<Vec<Box<dyn AnyRoom>>, OpenError> {
    let mut open = Open { libvirt, rooms: Vec::new() };
    walk(&mut open)?;
    Ok(open.rooms)
}

struct Open<'a> {
    libvirt: &'a Arc<Libvirt>,
    rooms: Vec<Box<dyn AnyRoom>>,
}

impl Walk for Open<'_> {
    type Error = OpenError;

    fn room<R: Room>(&mut self) -> Result<(), OpenError> {
        self.rooms.push(Slot::boxed(R::open(self.libvirt)?));
        Ok(())
    }
}

/// Why a room cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The routing socket.
    #[error(transparent)]
    Links(#[from] bulkhead_netlink::Error),
    /// libnftables.
    #[error(transparent)]
    Policy(#[from] bulkhead_policy::Error),
}

/// How every room stood at the end of its last look.
#[derive(Debug, Clone, Default)]
pub(crate) struct States {
    pub(crate) policy: StateOf<Policy>,
    pub(crate) links: StateOf<Links>,
    pub(crate) resolver: StateOf<Dns>,
    pub(crate) limits: StateOf<Limits>,
    pub(crate) guests: StateOf<Guests>,
    /// Whether a look at links that writes is under way for something else than they are to make now: bridges that nobody has seen
    /// yet may come of it.
    pub(crate) links_superseded: bool,
}

/// A room's state, in its own types.
pub(crate) type StateOf<R> = State<<R as Room>::Observed, <R as Room>::Step>;

impl States {
    /// READY: the policy was verified by a dump, and so were the links of every trunk that is there. What a segment waits for, such
    /// as its trunk, and an address or route that the host is refused, is said of that segment and delays nothing.
    pub(crate) fn ready(&self, manifest: &Desired) -> bool {
        self.settled() && links::stand(manifest, self)
    }

    /// Whether the policy was verified, and links were read and brought as far as they go: those that are still left were
    /// refused.
    pub(crate) fn settled(&self) -> bool {
        self.policy.verified() && matches!(self.links, State::Verified(_) | State::Incomplete(..))
    }
}

/// What is wanted of the rooms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// The manifest, or an empty one for what is torn down.
    pub(crate) manifest: &'a Desired,
    /// Whether a guest that left the manifest and does not shut down is destroyed.
    pub(crate) force: bool,
}

/// What the rooms have in common, so that one piece of code sequences them.
pub(crate) trait Room: fmt::Debug + Send + 'static {
    /// Its name.
    const NAME: Name;
    /// The phase under which its steps are reported.
    const PHASE: Phase;
    /// Rooms that are looked at first where both are to be.
    const NEEDS: &'static [Name];
    /// Whether it is written only behind a policy that stands.
    const WALLED: bool;
    /// The source of wakes that are about it.
    const SOURCE: Reason;
    /// What it is to make.
    type Desired: PartialEq + fmt::Debug + Send + Sync + 'static;
    /// What there is.
    type Observed: fmt::Debug + Send + Sync + 'static;
    /// One write.
    type Step: bulkhead_types::Step + Clone + PartialEq + fmt::Debug + Send + Sync + 'static;

    /// Opens what it reads and writes by.
    fn open(libvirt: &Arc<Libvirt>) -> Result<Self, OpenError>
    where
        Self: Sized;
    /// What it is to make of the manifest, as the rooms before it stand.
    fn desired(wanted: Wanted<'_>, states: &States) -> Self::Desired;
    /// Its state.
    fn state(states: &States) -> &StateOf<Self>
    where
        Self: Sized;
    /// Its state, to be replaced.
    fn state_mut(states: &mut States) -> &mut StateOf<Self>
    where
        Self: Sized;
    /// Takes up what is followed from now on, before a look that writes; a look for a plan changes nothing that is remembered.
    fn take_up(&mut self, _: &Self::Desired) {}
    /// Reads.
    fn observe(&mut self, desired: &Self::Desired) -> impl Future<Output = Result<Self::Observed, Unread>> + Send;
    /// Compares; pure.
    fn plan(desired: &Self::Desired, observed: &Self::Observed) -> Plan<Self::Step>;
    /// Writes. Where that takes longer than a moment, no step begins once it is cancelled.
    fn apply(
        &mut self,
        plan: &Plan<Self::Step>,
        cancelled: Cancelled<'_>,
        progress: Progress<'_, Self::Step>,
    ) -> impl Future<Output = Report<Self::Step>> + Send;
    /// What it finds on a host that is not asked, for a plan without one.
    fn offline(host: &mut Host<'_>) -> Result<Self::Observed, String>;
    /// The guests that must not start, each with what it lacks of this room.
    fn holds(_: &Desired, _: &States) -> BTreeMap<GuestName, Hold> {
        BTreeMap::new()
    }
    /// The objects of which nothing is known while the room cannot be read.
    fn objects(manifest: &Desired) -> Vec<Object>;
    /// Fills its page of the status.
    fn page(manifest: &Desired, states: &States, status: &mut Status);
}
