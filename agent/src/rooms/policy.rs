//! The policy among the rooms.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bulkhead_api::{Allow, Counter, Owner, Phase, Status};
use bulkhead_netlink::model as netlink;
use bulkhead_policy::{self as policy, Ruleset, model};
use bulkhead_types::{Cancelled, IfName, Object, Plan, Progress, Report, chain};

use super::{Name, OpenError, Room, StateOf, States, Unread, Wanted};
use crate::guest::Libvirt;
use crate::manifest::Desired;
use crate::offline::{self, Host};
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
        let known = states.links.last_known().map(|observed| &**observed);
        let walls = walls(&wanted.manifest.policy, known);
        model::Desired { keep_closed: states.links.observed().is_none() || states.links_superseded, ..walls }
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
        _: Cancelled<'_>,
        progress: Progress<'_, Self::Step>,
    ) -> Report<Self::Step> {
        self.0.apply(plan, progress).await
    }

    fn offline(host: &mut Host<'_>) -> Result<Self::Observed, String> {
        offline::policy::observed(host)
    }

    fn objects(_: &Desired) -> Vec<Object> {
        vec![Object::Policy]
    }

    /// What cannot be read keeps the counters as they were read last; the status says when that was.
    fn page(manifest: &Desired, states: &States, status: &mut Status) {
        let owner = |policy: &model::Observed| if policy.owned { Owner::Held } else { Owner::RepairedByEvent };
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

/// What is desired, with what is somebody else's of its links, and every bridge of ours that was there when links were read last,
/// closed. Where that is not what there is
/// now, because they cannot be read or are being written, the bridges that the present ruleset names stay closed besides.
fn walls(desired: &model::Desired, links: Option<&netlink::Observed>) -> model::Desired {
    let mut walls = desired.clone();
    let Some(links) = links else { return walls };
    let foreign = |name: &&IfName| links.link(name).is_some_and(|link| link.own().is_none());
    walls.foreign = walls.bridges.iter().map(|bridge| &bridge.outside).filter(foreign).cloned().collect();
    let declared: BTreeSet<IfName> = walls.bridges.iter().map(|bridge| bridge.name.clone()).collect();
    let ports: BTreeMap<u32, IfName> =
        links.links.values().rev().filter_map(|port| Some((port.master?, port.own()?))).collect();
    for link in links.links.values() {
        let Some((name, mac)) = bridge(link).zip(link.mac).filter(|(name, _)| !declared.contains(name)) else {
            continue;
        };
        let outside = ports.get(&link.index).cloned().unwrap_or_else(|| name.clone());
        walls.bridges.push(model::Bridge { segment: None, name, outside, mac, host: false, addresses: Vec::new() });
    }
    walls
}

/// The name of a bridge of ours, by its group and kind alone: one that cannot be decoded otherwise is no less open without walls.
fn bridge(link: &netlink::Link) -> Option<IfName> {
    let ours = matches!(link.group, netlink::LINK_GROUP | netlink::LEAVING_GROUP);
    if ours && link.kind.name() == "bridge" { link.name.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bulkhead_netlink::model::Kind;

    use super::*;
    use crate::rooms::links::tests::{LAN, desired, observed};
    use crate::rooms::{State, View};

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
    fn a_link_that_somebody_else_made_under_the_name_of_an_uplink_is_said_to_be_foreign() {
        let (desired, mut links) = (desired(LAN).policy, observed());
        let uplink = links.link(&"vlan20".parse().unwrap()).unwrap().clone();
        links.links.insert(netlink::Link { group: 0, ..uplink });
        let walls = walls(&desired, Some(&links));
        assert_eq!(walls.foreign.iter().map(IfName::as_str).collect::<Vec<_>>(), ["vlan20"]);
        assert_eq!(model::Desired { foreign: BTreeSet::new(), ..walls }, desired);
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
    }

    #[test]
    fn while_links_are_written_for_something_else_or_cannot_be_read_again_more_stays_closed_than_what_was_read_last() {
        let nothing = Desired::default();
        let wanted = Wanted { manifest: &nothing, force: false };
        let observed = Arc::new(observed());
        let view = || View { observed: Arc::clone(&observed), notices: Vec::new().into() };
        let current = States { links: State::Verified(view()), ..States::default() };
        let known = Policy::desired(wanted, &current);
        assert!(!known.keep_closed && known.bridges.len() == 1, "{known:?}");
        let written = States { links_superseded: true, ..current };
        let unread = State::Unread(Unread::Refused("no".to_owned()), Some(Arc::clone(&observed)));
        for states in [written, States { links: unread, ..States::default() }] {
            assert_eq!(Policy::desired(wanted, &states), model::Desired { keep_closed: true, ..known.clone() });
        }
    }

    #[test]
    fn a_bridge_of_ours_that_cannot_be_decoded_is_walled() {
        let mut observed = observed();
        let mut bridge = observed.links.get(3).unwrap().clone();
        bridge.kind = Kind::Other("bridge".to_owned());
        bridge.unread = Some("torn".to_owned());
        observed.links.insert(bridge);
        let walls = walls(&model::Desired::default(), Some(&observed));
        assert_eq!(walls.bridges.iter().map(|bridge| bridge.name.as_str()).collect::<Vec<_>>(), ["br20"]);
    }
}
