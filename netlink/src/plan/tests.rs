//! What every plan promises, for any manifest and any state of the kernel; and single plans, as text.

mod generate;
mod kernel_model;
mod single;

use bulkhead_types::{Cause, IfName, Object};
use proptest::prelude::*;

use self::kernel_model::{KernelOptions, apply};
use super::{Plan, plan};
use crate::model::*;
use crate::step::Step;

/// Plans and applies once; twice where a foreign object was in the way, which our writes may have freed.
fn converge(desired: &Desired, observed: &mut Observed, kernel: KernelOptions) -> Result<Plan, String> {
    let first = plan(desired, observed);
    apply(observed, kernel, &first.steps)?;
    if first.notices.iter().any(|notice| matches!(notice.cause, Cause::Clash | Cause::Held)) {
        let second = plan(desired, observed);
        apply(observed, kernel, &second.steps)?;
    }
    Ok(plan(desired, observed))
}

/// Whether a trunk of the manifest has that name or alternative name, or had it when a VLAN link of ours was made on it.
fn is_trunk(desired: &Desired, observed: &Observed, link: &Link) -> bool {
    let remembers = |vlan: &Link, trunk: &IfName| {
        let on = matches!(vlan.kind, Kind::Vlan { parent, .. } if parent == Some(link.index));
        on && vlan.own().is_some() && vlan.alias.as_ref() == Some(&trunk_alias(trunk))
    };
    desired.segments.iter().map(|segment| &segment.trunk).any(|trunk| {
        let named = trunk.as_str() == link.name || link.altnames.iter().any(|name| name == trunk.as_str());
        named || observed.links.values().any(|vlan| remembers(vlan, trunk))
    })
}

/// The links that the manifest allows to be touched although they are foreign.
fn exempt(desired: &Desired, observed: &Observed, link: &Link) -> bool {
    is_trunk(desired, observed, link) || desired.ports.keys().any(|n| n.as_str() == link.name)
}

fn index_of(step: &Step, observed: &Observed) -> Option<u32> {
    Some(match step {
        Step::SetIpv6 { link, .. } => return observed.link(link).map(|link| link.index),
        Step::DeleteRoute { route, .. } => return route.index,
        Step::TrunkUp { index, .. }
        | Step::DeleteLink { index, .. }
        | Step::DeleteAddress { index, .. }
        | Step::CreateBridge { index, .. }
        | Step::CreateVlan { index, .. }
        | Step::LinkDown { index, .. }
        | Step::ChangeLink { index, .. }
        | Step::LinkUp { index, .. }
        | Step::AddAddress { index, .. }
        | Step::AddRoute { index, .. }
        | Step::ChangePort { index, .. }
        | Step::PortUp { index, .. }
        | Step::DeleteFdb { index, .. }
        | Step::AddFdb { index, .. } => *index,
    })
}

/// Whether a step may name that foreign link.
fn allowed(step: &Step, desired: &Desired, observed: &Observed, link: &Link) -> bool {
    let on_ours = link.master.and_then(|index| observed.links.get(index)).is_some_and(|m| m.own().is_some());
    match step {
        Step::TrunkUp { .. } => is_trunk(desired, observed, link),
        Step::ChangePort { .. }
        | Step::PortUp { .. }
        | Step::AddFdb { .. }
        | Step::DeleteFdb { .. }
        | Step::SetIpv6 { on: false, .. } => on_ours && desired.ports.keys().any(|n| n.as_str() == link.name),
        // An address or route with our number is ours on whatever link it is.
        Step::DeleteAddress { index, address, .. } => {
            observed.addresses.iter().any(|a| a.index == *index && a.address == *address && a.protocol == PROTOCOL)
        }
        Step::DeleteRoute { route, .. } => route.protocol == PROTOCOL,
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_applied_leaves_nothing_to_plan(desired in generate::desired(), mut observed in generate::observed(), kernel in generate::kernel()) {
        let start = observed.clone();
        let rest = converge(&desired, &mut observed, kernel).map_err(TestCaseError::fail)?;
        prop_assert!(rest.is_empty(), "from {start:#?}\nto {observed:#?}\nremains {rest:#?}");
    }

    #[test]
    fn a_plan_that_is_empty_stays_empty_and_says_the_same(desired in generate::desired(), mut observed in generate::observed(), kernel in generate::kernel()) {
        let rest = converge(&desired, &mut observed, kernel).map_err(TestCaseError::fail)?;
        prop_assert_eq!(plan(&desired, &observed), rest);
    }

    #[test]
    fn no_step_names_a_foreign_link_but_where_the_manifest_allows_it(desired in generate::desired(), observed in generate::observed()) {
        for step in plan(&desired, &observed).steps {
            let named = index_of(&step, &observed).and_then(|index| observed.links.get(index));
            if let Some(link) = named.filter(|link| link.own().is_none()) {
                prop_assert!(allowed(&step, &desired, &observed, link), "{step} names {link:?}");
            }
        }
    }

    #[test]
    fn foreign_objects_survive_a_plan_and_a_teardown_unchanged(desired in generate::desired(), mut observed in generate::observed(), kernel in generate::kernel()) {
        let start = observed.clone();
        let ours: Vec<u32> = start.links.values().filter(|l| l.own().is_some()).map(|l| l.index).collect();
        for desired in [desired.clone(), Desired::default()] {
            converge(&desired, &mut observed, kernel).map_err(TestCaseError::fail)?;
        }
        // A port leaves with the bridge of ours that it was on; a VLAN comes up with its trunk.
        let free = |link: &&Link| !ours.contains(&link.index) && link.master.is_none_or(|m| !ours.contains(&m));
        for link in start.links.values().filter(free).filter(|link| !exempt(&desired, &start, link)) {
            let mut after = observed.links.get(link.index).cloned();
            if let (Some(after), Kind::Vlan { .. }) = (&mut after, &link.kind) {
                after.up = link.up;
            }
            prop_assert_eq!(Some(link), after.as_ref());
        }
        let own_place = |index: u32| ours.contains(&index);
        // A declared port on a bridge of ours is silenced, and whatever of IPv6 somebody gave it goes.
        let port = |index: u32| start.links.get(index).is_some_and(|l| desired.ports.keys().any(|n| n.as_str() == l.name));
        let kept = |index: u32, ip: std::net::IpAddr| !own_place(index) && (ip.is_ipv4() || !port(index));
        for address in start.addresses.iter().filter(|a| a.protocol != PROTOCOL && kept(a.index, a.address.addr())) {
            let stays = |a: &&Address| (a.index, a.address, a.protocol) == (address.index, address.address, address.protocol);
            prop_assert!(observed.addresses.iter().find(stays).is_some(), "{address:?} is gone");
        }
        let stays = |r: &&Route| r.protocol != PROTOCOL && r.index.is_none_or(|index| kept(index, r.destination.addr()));
        for route in start.routes.iter().filter(stays) {
            let alive = |a: &Address| Some(a.index) == route.index && a.protocol != PROTOCOL && a.address.addr().is_ipv4();
            // The kernel drops a link's IPv4 routes with its last IPv4 address, and that was ours.
            if route.destination.addr().is_ipv6() || start.addresses.iter().any(alive) {
                prop_assert!(observed.routes.contains(route), "{route:?} is gone");
            }
        }
    }

    #[test]
    fn after_a_teardown_nothing_of_ours_is_left(desired in generate::desired(), mut observed in generate::observed(), kernel in generate::kernel()) {
        converge(&desired, &mut observed, kernel).map_err(TestCaseError::fail)?;
        converge(&Desired::default(), &mut observed, kernel).map_err(TestCaseError::fail)?;
        prop_assert!(observed.links.values().all(|link| link.own().is_none()));
        prop_assert!(observed.routes.iter().all(|route| route.protocol != PROTOCOL || route.index == Some(1)), "but on lo, where we never make one");
    }

    #[test]
    fn a_trunk_that_is_renamed_under_vlan_links_of_ours_changes_nothing_and_is_named(desired in generate::desired(), mut observed in generate::observed(), kernel in generate::kernel()) {
        converge(&desired, &mut observed, kernel).map_err(TestCaseError::fail)?;
        for trunk in desired.segments.iter().map(|segment| &segment.trunk) {
            let Some(link) = observed.link(trunk).cloned() else { continue };
            // One of a segment whose bridge is a foreign link is not repaired, and so may not remember.
            let remembers = |vlan: &Link| vlan.alias.as_ref() == Some(&trunk_alias(trunk));
            let carries = |vlan: &Link| vlan.own().is_some() && remembers(vlan) && matches!(vlan.kind, Kind::Vlan { parent, .. } if parent == Some(link.index));
            if !observed.links.values().any(carries) {
                continue;
            }
            let mut after = observed.clone();
            after.links.insert(Link { name: "lan9".to_owned(), ..link });
            let plan = plan(&desired, &after);
            prop_assert!(plan.is_empty(), "{plan:#?}");
            let named = |notice: &bulkhead_types::Notice| notice.object == Object::Trunk(trunk.clone()) && notice.text.contains("lan9");
            prop_assert!(plan.notices.iter().any(named), "{:#?}", plan.notices);
            let states = |observed: &Observed| -> Vec<_> {
                crate::state(&desired, observed).into_iter().map(|state| (state.trunk, state.vlan, state.bridge, state.attached)).collect()
            };
            prop_assert_eq!(states(&after), states(&observed));
        }
    }

    #[test]
    fn an_invisible_segment_and_every_vlan_port_are_silent_at_every_step(desired in generate::desired(), mut observed in generate::observed(), kernel in generate::kernel()) {
        // What speaks already, by drift, is silenced; nothing new may start to speak on the way.
        let speaks = |observed: &Observed, name: &str| observed.links.values().any(|link| {
            link.name == name && link.own().is_some() && link.up && link.ipv6 == Some(true)
        });
        let mut quiet: Vec<&str> = desired.segments.iter().filter(|s| s.host.is_none()).map(|s| s.bridge.as_str()).collect();
        quiet.extend(desired.segments.iter().map(|s| s.vlan_link.as_str()));
        quiet.retain(|name| !speaks(&observed, name));
        // A trunk that comes up takes stale VLAN links along until they are deleted, a moment later.
        for step in plan(&desired, &observed).steps {
            let trunk = matches!(step, Step::TrunkUp { .. });
            apply(&mut observed, kernel, std::slice::from_ref(&step)).map_err(TestCaseError::fail)?;
            if trunk {
                quiet.retain(|name| !speaks(&observed, name));
            }
            for name in &quiet {
                prop_assert!(!speaks(&observed, name), "{name} speaks after {step}");
            }
        }
    }
}
