//! The guests among the rooms.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use bulkhead_api::{self as api, GuestState, Phase, Status};
use bulkhead_policy::model as policy;
use bulkhead_types::{Cancelled, Cause, GuestName, Notice, Object, Plan, Progress, Report, chain};

use super::{Name, OpenError, Room, StateOf, States, Unread, Walk, Wanted, limits, walk};
use crate::guest::{self, Admission, Hold, Libvirt, model};
use crate::manifest::Desired;
use crate::offline::{self, Host};
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

    fn take_up(&mut self, desired: &Self::Desired) {
        self.0.take_up(&desired.libvirt);
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
        cancelled: Cancelled<'_>,
        progress: Progress<'_, Self::Step>,
    ) -> Report<Self::Step> {
        self.0.apply(plan, cancelled, progress).await
    }

    fn offline(host: &mut Host<'_>) -> Result<Self::Observed, String> {
        offline::guests::observed(host)
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

/// The guests that must not start, each with what it lacks first of the rooms that guests need.
fn holds(manifest: &Desired, states: &States) -> BTreeMap<GuestName, Hold> {
    let mut holds = Holds { manifest, states, holds: BTreeMap::new() };
    let Ok(()) = walk(&mut holds);
    holds.holds
}

struct Holds<'a> {
    manifest: &'a Desired,
    states: &'a States,
    holds: BTreeMap<GuestName, Hold>,
}

impl Walk for Holds<'_> {
    type Error = Infallible;

    fn room<R: Room>(&mut self) -> Result<(), Infallible> {
        if Guests::NEEDS.contains(&R::NAME) {
            for (guest, hold) in R::holds(self.manifest, self.states) {
                self.holds.entry(guest).or_insert(hold);
            }
        }
        Ok(())
    }
}

fn guest(manifest: &Desired, states: &States, wanted: &model::Guest, nics: Vec<api::Nic>) -> api::Guest {
    let libvirt = states.guests.observed().filter(|observed| observed.down.is_none());
    let found = libvirt.and_then(|observed| found(observed, &wanted.name));
    let asked = libvirt.and_then(|observed| observed.recent.get(&wanted.name)?.shut_down).is_some();
    let waits = waits(states, &wanted.name);
    let state = match found.map(|found| &found.state) {
        Some(model::State::Running) if asked => GuestState::Stopping,
        Some(model::State::Running) => GuestState::Running,
        Some(model::State::Paused(_)) => GuestState::Paused,
        Some(model::State::Other(_)) => GuestState::Stopping,
        _ if waits.is_some() && libvirt.is_some() && wanted.start => GuestState::Held,
        Some(model::State::ShutOff) => GuestState::Stopped,
        None => GuestState::Unknown,
    };
    let unwalled = notice(states, &wanted.name, &[Cause::Violation]);
    let why = unwalled.or_else(|| match found.map(|found| &found.state) {
        Some(model::State::Running) if !asked => None,
        Some(model::State::Paused(why) | model::State::Other(why)) => Some((*why).to_owned()),
        _ => waits,
    });
    let running = found.and_then(|found| found.running.as_ref());
    let has = found.map(|found| running.unwrap_or(&found.definition));
    let runs = matches!(state, GuestState::Running | GuestState::Paused);
    api::Guest {
        name: wanted.name.clone(),
        state,
        why,
        vcpus: has.map(|has| has.vcpus_now),
        memory: has.map(|has| has.memory_now),
        limits: limits::limits(manifest, states, &wanted.name, runs),
        accelerated: running.map(|running| running.kind == "kvm"),
        nics,
    }
}

fn found<'a>(observed: &'a model::Observed, name: &GuestName) -> Option<&'a model::DomainFound> {
    observed.domains.get(name.as_str()).filter(|found| found.owned)
}

/// What a teardown does not know of the manifest's guests, because libvirt could not be asked: none of them runs, and each may still
/// be defined.
pub(crate) fn not_asked(manifest: &Desired, states: &States) -> Vec<Notice> {
    let Some(why) = states.guests.observed().and_then(|observed| observed.down.as_ref()) else { return Vec::new() };
    let text = format!(
        "whether it is still defined is not known, because libvirt cannot be asked ({why}); `bulkhead teardown` forgets it once \
         libvirt is there"
    );
    let guests = manifest.guest.guests.iter().map(|guest| Object::Guest(guest.name.clone()));
    guests.map(|object| Notice { object, cause: Cause::Unknown, text: text.clone() }).collect()
}

/// The last notice of a guest that has one of these causes: what the plan decides last is what it comes to.
fn notice(states: &States, name: &GuestName, causes: &[Cause]) -> Option<String> {
    let object = Object::Guest(name.clone());
    let mut notices = states.guests.notices().iter().rev();
    let notice = notices.find(|notice| notice.object == object && causes.contains(&notice.cause));
    notice.map(|notice| notice.text.clone())
}

/// Why a guest does not run, as far as its plan says; while libvirt cannot be read, that and what it was seen to do last.
fn waits(states: &States, name: &GuestName) -> Option<String> {
    let object = Object::Guest(name.clone());
    let left = states.guests.remaining().iter().filter(|left| bulkhead_types::Step::object(&left.step) == object);
    let refused = left.filter_map(|left| left.refused.clone()).next();
    refused.or_else(|| notice(states, name, &[Cause::Held, Cause::Clash, Cause::Pending])).or_else(|| {
        let why = states.guests.unread()?;
        let last = states.guests.last_known().and_then(|observed| Some(&found(observed, name)?.state));
        Some(match last {
            Some(model::State::Running) => format!("last seen running; {why}"),
            Some(model::State::ShutOff) => format!("last seen shut off; {why}"),
            Some(model::State::Paused(how)) => format!("last seen paused ({how}); {why}"),
            Some(model::State::Other(what)) => format!("last seen {what}; {why}"),
            None => why.to_string(),
        })
    })
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
    use crate::guest::Lack;
    use crate::rooms::links::tests::{WITH_GUEST, desired};
    use crate::rooms::{State, View};
    use bulkhead_netlink::model::Observed;

    fn view<O>(observed: O, notices: Vec<Notice>) -> View<O> {
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
            let Some(Hold { what: None, lack: Lack::Waits(why) }) = holds.get(&web) else { panic!("{holds:?}") };
            assert!(why.contains("eth1") && why.contains("does not exist"), "{why}");
        }
    }

    /// What status says of the guest web where libvirt has it like that.
    fn told(found: model::DomainFound, notices: &[(Cause, &str)]) -> (api::Guest, States) {
        let object = Object::Guest("web".parse().unwrap());
        let notice =
            |(cause, text): &(Cause, &str)| Notice { object: object.clone(), cause: *cause, text: (*text).to_owned() };
        let domains = BTreeMap::from([("web".to_owned(), found)]);
        let observed = model::Observed { domains, ..model::Observed::default() };
        let guests = State::Verified(view(observed, notices.iter().map(notice).collect()));
        let states = States { guests, ..States::default() };
        (of(&states), states)
    }

    fn of(states: &States) -> api::Guest {
        let manifest = desired(WITH_GUEST);
        super::guest(&manifest, states, &manifest.guest.guests[0], Vec::new())
    }

    fn domain(state: model::State) -> model::DomainFound {
        let definition = model::Definition { memory: 8 << 30, memory_now: 8 << 30, vcpus_now: 8, ..Default::default() };
        let mut found = model::DomainFound::new(String::new(), true, state, definition);
        found.running =
            Some(model::Definition { memory: 1 << 30, memory_now: 1 << 29, vcpus_now: 3, ..Default::default() });
        found
    }

    #[test]
    fn what_a_guest_has_is_what_it_runs_with_and_unknown_where_nobody_knows() {
        let (web, mut states) = told(domain(model::State::Running), &[]);
        assert_eq!((web.state, web.vcpus, web.memory, web.why), (GuestState::Running, Some(3), Some(1 << 29), None));
        let off = model::DomainFound { running: None, ..domain(model::State::ShutOff) };
        assert_eq!(told(off, &[]).0.vcpus, Some(8), "what its next start gives it");
        let last = states.guests.last_known().cloned();
        states.guests = State::Unread(Unread::Absent("waits for libvirt: it froze".to_owned()), last);
        let web = of(&states);
        assert_eq!((web.state, web.vcpus, web.memory), (GuestState::Unknown, None, None));
        assert_eq!(web.why.as_deref(), Some("last seen running; waits for libvirt: it froze"));
    }

    #[test]
    fn a_guest_of_which_libvirt_could_not_be_asked_is_not_called_gone() {
        let manifest = desired(WITH_GUEST);
        let (_, mut states) = told(domain(model::State::ShutOff), &[]);
        assert_eq!(not_asked(&manifest, &states), []);
        states.guests = State::Verified(view(model::Observed::down("it is stopped"), Vec::new()));
        let notices = not_asked(&manifest, &states);
        assert!(matches!(&notices[..], [Notice { cause: Cause::Unknown, .. }]), "{notices:?}");
    }

    #[test]
    fn a_guest_that_runs_past_its_walls_says_so_and_another_held_thing_does_not() {
        let notices = [(Cause::Violation, "runs with a hostdev"), (Cause::Held, "runs with the old definition")];
        assert_eq!(told(domain(model::State::Running), &notices).0.why.as_deref(), Some("runs with a hostdev"));
        assert_eq!(told(domain(model::State::Running), &notices[1..]).0.why, None);
    }

    #[test]
    fn a_paused_guest_gives_its_own_reason() {
        let notices = [(Cause::Held, "its disk vda is on an overlay"), (Cause::Held, "is paused (by a user)")];
        let (web, _) = told(domain(model::State::Paused("by a user")), &notices);
        assert_eq!((web.state, web.why.as_deref()), (GuestState::Paused, Some("by a user")));
    }
}
