//! The guests among the rooms.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bulkhead_api::{self as api, GuestState, Phase, Status};
use bulkhead_policy::model as policy;
use bulkhead_types::{Cause, GuestName, IfName, Object, Outcome, Plan, Report, chain};

use super::{Cancellation, Name, OpenError, Room, StateOf, States, Unread, Wanted, limits, links};
use crate::guest::{self, Admission, Hold, Lack, Libvirt, model};
use crate::manifest::Desired;
use crate::watch::Reason;

/// Pools, networks and domains of libvirt.
#[derive(Debug)]
pub(crate) struct Guests(Arc<Libvirt>);

/// What the manifest wants of libvirt, and what of it must wait.
#[derive(Debug, PartialEq)]
pub(crate) struct Target {
    libvirt: model::Desired,
    admission: Admission,
}

impl Room for Guests {
    const NAME: Name = Name::Guests;
    const PHASE: Phase = Phase::Guests;
    const NEEDS: &'static [Name] = &[Name::Policy, Name::Links, Name::Limits];
    const WALLED: bool = true;
    const SOURCE: Reason = Reason::Domains;
    type Desired = Target;
    type Observed = model::Observed;
    type Step = guest::Step;

    fn open(libvirt: &Arc<Libvirt>) -> Result<Self, OpenError> {
        Ok(Self(Arc::clone(libvirt)))
    }

    fn desired(wanted: Wanted<'_>, states: &States) -> Self::Desired {
        let admission = Admission { holds: holds(wanted.manifest, states), force: wanted.force };
        Target { libvirt: wanted.manifest.guest.clone(), admission }
    }

    fn state(states: &States) -> &StateOf<Self> {
        &states.guests
    }

    fn state_mut(states: &mut States) -> &mut StateOf<Self> {
        &mut states.guests
    }

    fn follow(&mut self, desired: &Self::Desired) {
        self.0.follow(&desired.libvirt);
    }

    async fn observe(&mut self, desired: &Self::Desired) -> Result<Self::Observed, Unread> {
        let observed = self.0.observe(&desired.libvirt).await.map_err(|error| Unread::Refused(chain(&error)))?;
        match &observed.down {
            // A host that wants nothing of libvirt need not have one.
            Some(why) if desired.libvirt != model::Desired::default() => {
                Err(Unread::Absent(format!("waits for libvirt: {why}")))
            }
            _ => Ok(observed),
        }
    }

    fn plan(desired: &Self::Desired, observed: &Self::Observed) -> Plan<Self::Step> {
        guest::plan(&desired.libvirt, observed, &desired.admission)
    }

    async fn apply(
        &mut self,
        plan: &Plan<Self::Step>,
        cancellation: &Cancellation,
        progress: &mut (dyn FnMut(&Self::Step, &Outcome) + Send),
    ) -> Report<Self::Step> {
        self.0.apply(plan, &|| cancellation.why(), progress).await
    }

    fn objects(manifest: &Desired) -> Vec<Object> {
        let pools = manifest.guest.pools.iter().map(|pool| Object::Pool(pool.name.clone()));
        let networks = manifest.guest.networks.iter().map(|network| Object::Network(network.name.clone()));
        let guests = manifest.guest.guests.iter().map(|guest| Object::Guest(guest.name.clone()));
        pools.chain(networks).chain(guests).collect()
    }

    fn page(manifest: &Desired, states: &States, status: &mut Status) {
        let mut nics: BTreeMap<&GuestName, Vec<api::Nic>> = BTreeMap::new();
        for one in &manifest.policy.nics {
            nics.entry(&one.guest).or_default().push(nic(one));
        }
        let mut nics = |guest: &model::Guest| nics.remove(&guest.name).unwrap_or_default();
        status.guests = manifest.guest.guests.iter().map(|one| guest(manifest, states, one, nics(one))).collect();
    }
}

/// The guests that must not start, each with what it lacks.
fn holds(manifest: &Desired, states: &States) -> BTreeMap<GuestName, Hold> {
    let found = links::found(manifest, states);
    let found = found.iter().map(Some).chain(std::iter::repeat(None));
    let segments = manifest.netlink.segments.iter().zip(found);
    let lacks = segments.map(|(segment, found)| (&segment.bridge, links::lack(states, segment, found)));
    let lacks: BTreeMap<&IfName, Option<Lack>> = lacks.collect();
    let hold = |guest: &model::Guest| {
        let segment = guest.nics.iter().find_map(|nic| lacks.get(&nic.bridge)?.clone()).map(Hold::Segment);
        segment.or_else(|| limits::lack(states, &guest.name).map(Hold::Limits))
    };
    manifest.guest.guests.iter().filter_map(|guest| Some((guest.name.clone(), hold(guest)?))).collect()
}

fn guest(manifest: &Desired, states: &States, wanted: &model::Guest, nics: Vec<api::Nic>) -> api::Guest {
    let object = Object::Guest(wanted.name.clone());
    let libvirt = states.guests.observed().filter(|observed| observed.down.is_none());
    let found = libvirt.and_then(|observed| observed.domains.get(wanted.name.as_str())).filter(|found| found.owned);
    let notice = || {
        let mut notices = states.guests.notices().iter().filter(|notice| notice.object == object);
        notices.find(|notice| matches!(notice.cause, Cause::Held | Cause::Clash | Cause::Pending))
    };
    let left = states.guests.remaining().iter().filter(|left| bulkhead_types::Step::object(&left.step) == object);
    let refused = left.filter_map(|left| left.refused.clone()).next();
    let unread = states.guests.unread().map(ToString::to_string);
    let waits = refused.or_else(|| notice().map(|notice| notice.text.clone())).or(unread);
    let state = match (found.map(|found| &found.state), &waits) {
        (Some(model::State::Running), _) => GuestState::Running,
        (Some(model::State::Paused(_)), _) => GuestState::Paused,
        (Some(model::State::Other(_)), _) => GuestState::Stopping,
        (_, Some(_)) if libvirt.is_some() && wanted.start => GuestState::Held,
        (Some(model::State::ShutOff), _) => GuestState::Stopped,
        (None, _) => GuestState::Unknown,
    };
    let running = found.and_then(|found| found.running.as_ref());
    api::Guest {
        name: wanted.name.clone(),
        state,
        why: if state == GuestState::Running { None } else { waits },
        vcpus: wanted.vcpus_now,
        memory: wanted.memory,
        limits: limits::limits(
            manifest,
            states,
            &wanted.name,
            matches!(state, GuestState::Running | GuestState::Paused),
        ),
        accelerated: running.map(|running| running.kind == "kvm"),
        nics,
    }
}

fn nic(nic: &policy::Nic) -> api::Nic {
    let v4 = nic.ipv4.iter().copied().map(IpAddr::from);
    api::Nic {
        segment: nic.segment.clone(),
        tap: nic.tap.clone(),
        mac: nic.mac,
        bridge: nic.bridge.clone(),
        addresses: v4.chain(nic.ipv6.iter().copied().map(IpAddr::from)).collect(),
        dhcp: nic.dhcp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::links::tests::{WITH_GUEST, desired};
    use crate::rooms::{State, View};
    use bulkhead_netlink::model::Observed;

    fn view<O>(observed: O, notices: Vec<bulkhead_types::Notice>) -> View<O> {
        View { observed: Arc::new(observed), notices: notices.into() }
    }

    #[test]
    fn a_segment_whose_trunk_is_missing_holds_its_guests_and_says_why() {
        let desired = desired(WITH_GUEST);
        let plan = bulkhead_netlink::plan(&desired.netlink, &Observed::default());
        let links = view(Observed::default(), plan.notices);
        let web = "web".parse::<GuestName>().unwrap();
        for links in [State::Planned(links.clone(), Vec::new()), State::Verified(links)] {
            let states =
                States { links, limits: State::Verified(view(Default::default(), Vec::new())), ..States::default() };
            let holds = holds(&desired, &states);
            let Some(Hold::Segment(Lack::Waits(why))) = holds.get(&web) else { panic!("{holds:?}") };
            assert!(why.contains("eth1") && why.contains("does not exist"), "{why}");
        }
    }
}
