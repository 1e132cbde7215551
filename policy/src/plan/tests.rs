//! What every plan promises, for any manifest and any state of the kernel; and single plans, as text.

mod generate;
mod kernel_model;

use std::collections::BTreeSet;

use bulkhead_types::Cause;
use proptest::prelude::*;

use self::kernel_model::commit;
use super::{Plan, plan};
use crate::model::*;
use crate::zones::{Zones, allot};

/// Plans and commits, and gives what is missing then.
fn settle(desired: &Desired, observed: &mut Observed) -> Result<Plan, String> {
    let steps = plan(desired, observed).steps;
    commit(observed, &steps)?;
    Ok(plan(desired, observed))
}

/// The zones that the kernel's rules give.
fn zones_of(observed: &Observed) -> Zones {
    let chain = observed.tables.get("bridge").and_then(|found| found.chains.get("zone"));
    let rows = chain.iter().flat_map(|chain| &chain.rules).flat_map(crate::wire::zones);
    rows.map(|(bridge, zone)| (bridge.parse().unwrap(), zone)).collect()
}

/// Makes the kernel's rules give these zones.
fn give(observed: &mut Observed, zones: &Zones) {
    let rows = zones.iter().map(|(bridge, zone)| (bridge.to_string(), *zone)).collect();
    let rule = crate::wire::listed(&crate::rule::Rule::new().zone(rows)).unwrap();
    let chain = observed.tables.get_mut("bridge").and_then(|found| found.chains.get_mut("zone")).unwrap();
    chain.rules = vec![rule];
}

fn distinct(zones: &Zones, desired: &Desired) -> Result<(), TestCaseError> {
    let numbers: BTreeSet<u16> = zones.values().copied().collect();
    prop_assert_eq!(numbers.len(), desired.bridges.len());
    prop_assert!(!numbers.contains(&0));
    prop_assert!(desired.bridges.iter().all(|bridge| zones.contains_key(&bridge.name)));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_committed_leaves_nothing_to_plan(desired in generate::desired(), mut observed in generate::observed()) {
        let rest = settle(&desired, &mut observed).map_err(TestCaseError::fail)?;
        let text: Vec<String> = rest.steps.iter().map(ToString::to_string).collect();
        prop_assert!(rest.is_empty(), "remains {text:#?}");
    }

    #[test]
    fn a_plan_that_is_empty_stays_empty_and_says_the_same(desired in generate::desired(), mut observed in generate::observed()) {
        let rest = settle(&desired, &mut observed).map_err(TestCaseError::fail)?;
        prop_assert_eq!(plan(&desired, &observed), rest);
    }

    #[test]
    fn no_step_names_a_table_that_is_not_ours(desired in generate::desired(), observed in generate::observed()) {
        for step in plan(&desired, &observed).steps {
            prop_assert!([TABLE, LOCKDOWN_TABLE].contains(&step.table), "{step}");
        }
    }

    #[test]
    fn after_a_teardown_nothing_of_ours_is_left(desired in generate::desired(), mut observed in generate::observed()) {
        settle(&desired, &mut observed).map_err(TestCaseError::fail)?;
        settle(&Desired::default(), &mut observed).map_err(TestCaseError::fail)?;
        prop_assert!(observed.tables.is_empty() && !observed.lockdown);
    }

    #[test]
    fn the_order_of_the_manifest_changes_nothing(desired in generate::desired(), mut observed in generate::observed()) {
        settle(&desired, &mut observed).map_err(TestCaseError::fail)?;
        let mut other = desired.clone();
        other.bridges.reverse();
        other.nics.reverse();
        other.allows.reverse();
        other.allows.iter_mut().for_each(|allow| {
            allow.to_net.reverse();
            allow.what.tcp.reverse();
        });
        prop_assert!(plan(&other, &observed).is_empty());
    }

    #[test]
    fn while_nobody_knows_which_bridges_there_are_every_one_of_the_tables_stays_closed(
        before in generate::desired(), after in generate::desired(), mut observed in generate::observed(),
    ) {
        settle(&before, &mut observed).map_err(TestCaseError::fail)?;
        let named = observed.bridges();
        let unread = Desired { keep_closed: true, ..after.clone() };
        let rest = settle(&unread, &mut observed).map_err(TestCaseError::fail)?;
        prop_assert!(rest.is_empty(), "{:?}", rest.steps);
        prop_assert!(observed.bridges().is_superset(&named));
        prop_assert!(after.bridges.iter().all(|bridge| observed.bridges().contains(&bridge.name)));
        let declared = |name: &str| after.bridges.iter().any(|bridge| bridge.name.as_str() == name);
        let ports = observed.tables.get("bridge").and_then(|found| found.sets.get("port"));
        let ports = ports.iter().flat_map(|set| set.elements.keys());
        prop_assert!(ports.into_iter().all(|port| declared(&port[1])), "a closed bridge has no port");
        settle(&after, &mut observed).map_err(TestCaseError::fail)?;
        let desired: BTreeSet<_> = after.bridges.iter().map(|bridge| bridge.name.clone()).collect();
        prop_assert_eq!(observed.bridges(), desired, "once they are known the others go");
    }

    #[test]
    fn base_chains_are_made_once_and_stay(desired in generate::desired(), other in generate::desired()) {
        let mut observed = Observed { ownable: true, ..Observed::default() };
        settle(&desired, &mut observed).map_err(TestCaseError::fail)?;
        let steps = plan(&other, &observed).steps;
        let stays = !desired.bridges.is_empty() && !other.bridges.is_empty();
        prop_assert!(!stays || steps.iter().all(|step| !step.to_string().contains("hook")), "{steps:?}");
        prop_assert!(!stays || steps.iter().all(|step| !step.to_string().starts_with("delete table")));
    }

    #[test]
    fn a_bridge_keeps_its_zone_whatever_else_comes_and_goes(
        before in generate::bridges(), after in generate::bridges(), mut observed in generate::observed(),
        given in proptest::collection::btree_set(1..=u16::MAX, 12),
    ) {
        let desired = |bridges| Desired { bridges, ..Desired::default() };
        let (before, after) = (desired(before), desired(after));
        settle(&before, &mut observed).map_err(TestCaseError::fail)?;
        distinct(&zones_of(&observed), &before)?;
        // Whatever numbers an earlier release gave.
        let zones: Zones = before.bridges.iter().map(|bridge| bridge.name.clone()).zip(given).collect();
        give(&mut observed, &zones);
        prop_assert_eq!(&zones_of(&observed), &zones);
        settle(&after, &mut observed).map_err(TestCaseError::fail)?;
        let later = zones_of(&observed);
        distinct(&later, &after)?;
        for (bridge, zone) in zones.iter().filter(|(bridge, _)| later.contains_key(*bridge)) {
            prop_assert_eq!(later[bridge], *zone, "{}", bridge);
        }
    }

    #[test]
    fn every_chain_that_a_frame_can_end_in_ends_in_a_decision(desired in generate::desired()) {
        let zones = allot(&desired.bridges, &Observed::default());
        for table in crate::rules::tables(&desired, &BTreeSet::new(), &zones) {
            // Chains of allows and of claims are jumped to, and come back.
            for (name, chain) in table.chains.iter().filter(|(name, chain)| chain.hook.is_none() && !name.contains('/') && name.as_str() != "claims") {
                let last = chain.rules.last().map(ToString::to_string).unwrap_or_default();
                let decides = last.ends_with(" drop") || last == "accept" || last.starts_with("goto ");
                prop_assert!(decides, "{name}: {last}");
            }
        }
    }
}

#[test]
fn a_kernel_that_cannot_hold_a_table_is_named_once_and_the_table_is_plain() {
    let desired = generate::one();
    let mut observed = Observed::default();
    let first = plan(&desired, &observed);
    assert_eq!(first.steps[0].to_string(), "add table bridge bulkhead");
    assert!(matches!(first.notices.as_slice(), [notice] if notice.cause == Cause::Unsupported));
    assert!(settle(&desired, &mut observed).unwrap().is_empty());
    let nothing = plan(&Desired::default(), &observed);
    assert!(nothing.notices.is_empty(), "without a table there is nothing to hold");
}

#[test]
fn an_orphan_is_claimed_by_adding_it_again_and_a_plain_table_is_made_anew() {
    let desired = generate::one();
    let mut observed = Observed { ownable: true, ..Observed::default() };
    settle(&desired, &mut observed).unwrap();
    observed.tables.values_mut().for_each(|found| found.flags.retain(|flag| flag != "owner"));
    let steps: Vec<String> = plan(&desired, &observed).steps.iter().map(ToString::to_string).collect();
    assert_eq!(
        steps,
        ["bridge", "inet", "arp"].map(|family| format!("add table {family} bulkhead {{ flags owner,persist; }}"))
    );
    observed.tables.values_mut().for_each(|found| found.flags.clear());
    let steps = plan(&desired, &observed).steps;
    assert_eq!(steps[0].to_string(), "delete table bridge bulkhead");
    assert!(settle(&desired, &mut observed).unwrap().is_empty());
}

#[test]
fn a_table_with_a_flag_that_is_not_ours_is_made_anew() {
    let desired = generate::one();
    for (ownable, flag) in [(false, "dormant"), (true, "dormant"), (false, "owner"), (true, "flag 3")] {
        let mut observed = Observed { ownable, ..Observed::default() };
        settle(&desired, &mut observed).unwrap();
        for found in observed.tables.values_mut() {
            found.flags.insert(flag.to_owned());
        }
        let steps = plan(&desired, &observed).steps;
        assert_eq!(steps[0].to_string(), "delete table bridge bulkhead", "{flag}");
        assert!(settle(&desired, &mut observed).unwrap().is_empty(), "{flag}");
    }
}

#[test]
fn a_bridge_that_has_no_zone_has_no_port_that_anything_passes() {
    let desired = generate::one();
    let zoned = crate::rules::tables(&desired, &BTreeSet::new(), &allot(&desired.bridges, &Observed::default()));
    let none = crate::rules::tables(&desired, &BTreeSet::new(), &Zones::new());
    for map in ["port", "arriving_port", "to_host_port", "from_host_port"] {
        assert!(!zoned[0].sets[map].elements.is_empty() && none[0].sets[map].elements.is_empty(), "{map}");
    }
    assert_eq!(none[0].sets["bridges"].elements.len(), 1, "and the bridge is looked at");
}

#[test]
fn the_lockdown_goes_in_the_transaction_that_brings_the_policy() {
    let mut observed = Observed { lockdown: true, ..Observed::default() };
    let steps = plan(&generate::one(), &observed).steps;
    assert_eq!(steps.last().unwrap().to_string(), "delete table bridge bulkhead_lockdown");
    assert!(steps.len() > 1);
    commit(&mut observed, &steps).unwrap();
    assert!(!observed.lockdown);
}

#[test]
fn the_text_has_sets_chains_and_rules_as_nft_lists_them() {
    let text = crate::text(&generate::one());
    for expected in [
        "table bridge bulkhead {\n\tcounter allow_",
        "\tset bridges {\n\t\ttype ifname\n\t\telements = { \"br20\" }\n\t}\n",
        "\tmap among {\n\t\ttype ifname : verdict\n\t}\n",
        "\"bh-1\" . \"vlan20\" : jump pair/bh-1/vlan20,\n",
        "\tchain forward {\n\t\ttype filter hook forward priority -200; policy accept;\n\t\tmeta ibrname @bridges goto crossing\n",
        "}\ntable inet bulkhead {\n",
    ] {
        assert!(text.contains(expected), "{expected}\nis not in\n{text}");
    }
    assert_eq!(crate::text(&Desired::default()), "");
}

#[test]
fn an_allow_reads_in_nfts_words() {
    let desired = generate::one();
    let steps: Vec<String> = plan(&desired, &Observed::default()).steps.iter().map(ToString::to_string).collect();
    let counter = crate::counter(&desired.allows[0]);
    for expected in [
        "add element bridge bulkhead pair { bh-1 . vlan20 : jump pair/bh-1/vlan20, vlan20 . bh-1 : jump pair/vlan20/bh-1 }".to_owned(),
        format!("add rule bridge bulkhead pair/bh-1/vlan20 meta l4proto 6 ct original proto-dst {{ 80, 443-445 }} ct state new counter name {counter} accept"),
        "add rule bridge bulkhead pair/vlan20/bh-1 meta l4proto 6 ct original proto-dst { 80, 443-445 } ct direction reply ct state established,related accept".to_owned(),
    ] {
        assert!(steps.contains(&expected), "{expected}\nis not in\n{steps:#?}");
    }
}
