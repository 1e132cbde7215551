//! The policy among the rooms.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bulkhead_api::{Allow, Counter, Owner, Phase, Status};
use bulkhead_netlink::model::{self as netlink, Kind};
use bulkhead_policy::{self as policy, Ruleset, model};
use bulkhead_types::{IfName, Object, Outcome, Plan, Report, chain};

use super::{Cancellation, Name, OpenError, Room, StateOf, States, Unread, Wanted};
use crate::guest::Libvirt;
use crate::manifest::Desired;
use crate::status;
use crate::watch::Reason;

/// The nftables ruleset.
#[derive(Debug)]
pub(crate) struct Policy(Ruleset);

impl Room for Policy {
    const NAME: Name = Name::Policy;
    const PHASE: Phase = Phase::Policy;
    const NEEDS: &'static [Name] = &[];
    const WALLED: bool = false;
    const SOURCE: Reason = Reason::Ruleset;
    type Desired = model::Desired;
    type Observed = model::Observed;
    type Step = policy::Step;

    fn open(_: &Arc<Libvirt>) -> Result<Self, OpenError> {
        Ok(Self(Ruleset::open()?))
    }

    fn desired(wanted: Wanted<'_>, states: &States) -> Self::Desired {
        walls(&wanted.manifest.policy, states.links.last_known().map(|observed| &**observed))
    }

    fn state(states: &States) -> &StateOf<Self> {
        &states.policy
    }

    fn state_mut(states: &mut States) -> &mut StateOf<Self> {
        &mut states.policy
    }

    async fn observe(&mut self, _: &Self::Desired) -> Result<Self::Observed, Unread> {
        self.0.observe().await.map_err(|error| match error {
            policy::Error::Timeout { .. } => Unread::Late(chain(&error)),
            error => Unread::Refused(chain(&error)),
        })
    }

    fn plan(desired: &Self::Desired, observed: &Self::Observed) -> Plan<Self::Step> {
        policy::plan(desired, observed)
    }

    async fn apply(
        &mut self,
        plan: &Plan<Self::Step>,
        _: &Cancellation,
        progress: &mut (dyn FnMut(&Self::Step, &Outcome) + Send),
    ) -> Report<Self::Step> {
        self.0.apply(plan, progress).await
    }

    fn objects(_: &Desired) -> Vec<Object> {
        vec![Object::Policy]
    }

    /// What cannot be read keeps the counters as they were read last; the status says when that was.
    fn page(manifest: &Desired, states: &States, status: &mut Status) {
        let owner = |policy: &model::Observed| if policy.held { Owner::Held } else { Owner::RepairedByEvent };
        status.policy_owner = states.policy.observed().filter(|_| states.policy.verified()).map(owner);
        if let Some(observed) = states.policy.observed() {
            (status.allows, status.counters) = counters(manifest, &observed.counters);
        }
    }
}

/// What each allow let through, and the ruleset's other counters.
pub(crate) fn counters(manifest: &Desired, found: &[model::Counter]) -> (Vec<Allow>, Vec<Counter>) {
    let counted: BTreeMap<&str, &model::Counter> =
        found.iter().map(|counter| (counter.name.as_str(), counter)).collect();
    let mut named = BTreeSet::new();
    let mut allows = Vec::new();
    for allow in &manifest.policy.allows {
        let name = policy::counter(allow);
        let (packets, bytes) = counted.get(name.as_str()).map_or((0, 0), |found| (found.packets, found.bytes));
        allows.push(status::allow(allow, packets, bytes));
        named.insert(name);
    }
    let counter = |counter: &model::Counter| Counter {
        name: counter.name.clone(),
        dropped: counter.dropped,
        packets: counter.packets,
        bytes: counter.bytes,
    };
    let others = found.iter().filter(|counter| !named.contains(&counter.name));
    (allows, others.map(counter).collect())
}

/// The policy that must stand now: what is desired, and every bridge of ours that is still there, closed. Where links were never
/// read, those are the ones that the present ruleset names.
fn walls(desired: &model::Desired, links: Option<&netlink::Observed>) -> model::Desired {
    let mut walls = desired.clone();
    walls.keep_closed = links.is_none();
    let Some(links) = links else { return walls };
    let declared: BTreeSet<IfName> = walls.bridges.iter().map(|bridge| bridge.name.clone()).collect();
    let ports: BTreeMap<u32, IfName> =
        links.links.values().rev().filter_map(|port| Some((port.master?, port.own()?))).collect();
    for link in links.links.values().filter(|link| matches!(link.kind, Kind::Bridge(_))) {
        let Some((name, mac)) = link.own().zip(link.mac).filter(|(name, _)| !declared.contains(name)) else { continue };
        let outside = ports.get(&link.index).cloned().unwrap_or_else(|| name.clone());
        walls.bridges.push(model::Bridge { segment: None, name, outside, mac, host: false });
    }
    walls
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rooms::State;
    use crate::rooms::links::tests::{LAN, desired, observed};

    #[test]
    fn a_bridge_that_leaves_the_manifest_stays_walled_until_it_is_gone() {
        let walls = walls(&model::Desired::default(), Some(&observed()));
        let [bridge] = walls.bridges.as_slice() else { panic!("{walls:?}") };
        assert_eq!((bridge.name.as_str(), bridge.outside.as_str(), bridge.host), ("br20", "vlan20", false));
        assert!(walls.allows.is_empty() && walls.nics.is_empty());
    }

    #[test]
    fn a_declared_bridge_is_walled_once_and_a_foreign_one_never() {
        let desired = desired(LAN).policy;
        assert_eq!(walls(&desired, Some(&observed())), desired);
    }

    #[test]
    fn until_links_were_read_every_bridge_that_the_ruleset_names_stays_closed() {
        let manifest = desired(LAN);
        let wanted = Wanted { manifest: &manifest, force: false };
        let unread = |last| State::Unread(Unread::Refused("no".to_owned()), last);
        for links in [State::Unseen, unread(None)] {
            let kept = Policy::desired(wanted, &States { links, ..States::default() });
            assert_eq!(kept, model::Desired { keep_closed: true, ..manifest.policy.clone() });
        }
        let known = States { links: unread(Some(Arc::new(observed()))), ..States::default() };
        assert_eq!(Policy::desired(wanted, &known), manifest.policy, "what was read once is gone by");
    }
}
