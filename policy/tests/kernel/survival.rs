//! Other processes: what they may do to ours, and that we do nothing to theirs.

use bulkhead_policy::model::*;
use bulkhead_policy::plan;
use bulkhead_types::{Cause, Outcome};

use crate::steady::everything;
use crate::talk::alive;
use crate::world::*;

#[test]
fn a_table_withstands_a_flush_where_it_can_be_held_and_is_made_anew_where_it_cannot() {
    within(|| async {
        let desired = everything();
        let mut world = World::open();
        let plan = world.settle(&desired).await;
        let observed = world.observe().await;
        if !can_hold() {
            assert!(!observed.owned && !observed.ownable);
            let notices = plan.notices;
            assert!(matches!(notices.as_slice(), [notice] if notice.cause == Cause::Unsupported), "{notices:#?}");
            run("nft flush ruleset");
            world.settle(&desired).await;
            return;
        }
        assert!(observed.owned && plan.notices.is_empty());
        let before = generation();
        assert!(world.observe().await.owned);
        assert_eq!(generation(), before, "observing who owns it changes nothing");
        run("nft add table ip other");
        run("nft flush ruleset");
        assert_eq!(run("nft list tables"), "table bridge bulkhead\ntable inet bulkhead\ntable arp bulkhead\n");
        for line in [
            "nft delete table bridge bulkhead",
            "nft flush chain bridge bulkhead forward",
            "nft add table bridge bulkhead",
        ] {
            assert!(attempt(line).is_err(), "{line}");
        }
        world.close().await;
        // Nobody owns it now, and anybody may change it.
        run("nft flush chain bridge bulkhead forward");
        run("nft delete element bridge bulkhead nic_mac { bh-1 . 52:54:00:00:00:01 }");
        let mut world = World::open();
        let observed = world.observe().await;
        assert!(!observed.owned);
        let steps: Vec<String> = plan_text(&desired, &observed);
        assert!(steps.iter().any(|step| step == "add table bridge bulkhead { flags owner,persist; }"), "{steps:#?}");
        assert!(steps.iter().all(|step| !step.starts_with("delete table")), "{steps:#?}");
        assert_eq!(steps.len(), 7, "{steps:#?}");
        world.settle(&desired).await;
        assert!(world.observe().await.owned);
        assert!(attempt("nft delete table bridge bulkhead").is_err());
    });
}

fn plan_text(desired: &Desired, observed: &Observed) -> Vec<String> {
    plan(desired, observed).steps.iter().map(ToString::to_string).collect()
}

#[test]
fn a_table_that_cannot_be_held_any_more_is_made_anew() {
    within(|| async {
        let desired = everything();
        run("nft add table bridge bulkhead");
        run("nft add chain bridge bulkhead forward { type filter hook forward priority 0; policy accept; }");
        run("nft add set bridge bulkhead nic { type ipv4_addr; flags interval; }");
        run("nft add table inet bulkhead");
        let mut world = World::open();
        let steps = plan_text(&desired, &world.observe().await);
        assert_eq!(steps[0], "delete table bridge bulkhead");
        world.settle(&desired).await;
        assert_eq!(world.observe().await.owned, can_hold());
    });
}

#[test]
fn a_second_process_is_told_that_another_owns_the_tables_or_sees_that_nobody_can() {
    within(|| async {
        let desired = everything();
        let mut first = World::open();
        first.settle(&desired).await;
        let mut second = World::open();
        if !can_hold() {
            let observed = second.observe().await;
            assert!(!observed.ownable && !observed.owned);
            let plan = plan(&desired, &observed);
            assert!(plan.is_empty(), "both see the same: {:?}", plan.steps);
            assert!(
                matches!(plan.notices.as_slice(), [notice] if notice.cause == Cause::Unsupported),
                "{:#?}",
                plan.notices
            );
            let mut fewer = desired.clone();
            fewer.allows.truncate(3);
            second.settle(&fewer).await;
            assert!(!first.plan(&desired).await.is_empty(), "and what one changes the other puts right");
            first.settle(&desired).await;
            return;
        }
        let claim = plan_text(&desired, &second.observe().await);
        assert!(
            claim.len() == 3 && claim.iter().all(|step| step.starts_with("add table")),
            "it would take over: {claim:?}"
        );
        let mut other = desired.clone();
        other.allows.truncate(3);
        let plan = second.plan(&other).await;
        assert!(matches!(plan.notices.as_slice(), [notice] if notice.cause == Cause::Clash), "{:#?}", plan.notices);
        let before = generation();
        let report = second.apply(&plan).await;
        assert!(!report.steps.is_empty());
        for (step, outcome) in &report.steps {
            let Outcome::Failed(why) = outcome else { panic!("{step}: {outcome:?}") };
            assert!(why.contains("Operation not permitted") && why.contains("another process owns"), "{why}");
        }
        assert_eq!(generation(), before);
        assert!(first.plan(&desired).await.is_empty());
    });
}

#[test]
fn one_bad_command_and_nothing_of_the_transaction_happens() {
    within(|| async {
        let mut world = World::open();
        let mut desired = everything();
        world.settle(&desired).await;
        let before = generation();
        desired.nics.clear();
        let stale = world.plan(&desired).await;
        world.settle(&desired).await;
        // What is gone already cannot be deleted again.
        let between = generation();
        let report = world.apply(&stale).await;
        assert!(report.steps.iter().all(|(_, outcome)| matches!(outcome, Outcome::Failed(_))), "{report:#?}");
        let causes: std::collections::BTreeSet<String> = report.steps.iter().map(|(_, o)| format!("{o:?}")).collect();
        assert_eq!(causes.len(), 1, "the same cause for all");
        assert!(before < between && generation() == between);
        assert!(world.plan(&desired).await.is_empty());
    });
}

/// Whatever somebody else may have, with what no reading of ours could understand.
const FOREIGN: &[&str] = &[
    "add table ip bulkhead",
    "add chain ip bulkhead forward { type filter hook forward priority 0; policy accept; }",
    "add rule ip bulkhead forward ip saddr 10.0.0.0/8 counter packets 5000000000 bytes 700000000000 accept",
    "add table bridge docker",
    "add map bridge docker m { type ifname . ether_type : verdict; elements = { virbr0 . ip : accept } }",
    "add chain bridge docker c { type filter hook forward priority -250; policy accept; }",
    "add rule bridge docker c meta ibrname . ether type vmap @m",
    "add table inet firewall",
    "add set inet firewall s { typeof ip saddr . tcp dport; flags interval,timeout; }",
    "add quota inet firewall q { over 5000 mbytes }",
    "add ct helper inet firewall ftp { type \"ftp\" protocol tcp; }",
    "add limit inet firewall l { rate 400/minute; }",
    "add chain inet firewall forward { type filter hook forward priority 0; policy accept; }",
    "add rule inet firewall forward meta hour 08:00-17:00 tcp flags syn / syn,ack limit name \"l\" quota name \"q\" log prefix \"x\"",
    "add table netdev dev",
    "add table arp other",
    // Read by nft 1.0.6 in JSON, it would break the heap of whoever reads.
    "add table ip asleep { flags dormant; }",
];

#[test]
fn foreign_tables_are_equal_before_and_after_apply_change_and_teardown() {
    within(|| async {
        for line in FOREIGN {
            run(&format!("nft {line}"));
        }
        let before = run("nft list ruleset");
        let mut world = World::open();
        let mut desired = everything();
        world.settle(&desired).await;
        desired.allows.truncate(5);
        desired.nics.remove(0);
        world.settle(&desired).await;
        world.settle(&Desired::default()).await;
        assert_eq!(run("nft list ruleset"), before);
    });
}

/// A table whose chains are not hooked.
const DORMANT: &str = "add table bridge bulkhead { flags dormant; }";

#[test]
fn whatever_is_done_to_a_table_that_nobody_holds_is_undone() {
    within(|| async {
        let desired = everything();
        for line in [
            "delete table bridge bulkhead",
            "delete table inet bulkhead",
            "flush table bridge bulkhead",
            "flush chain bridge bulkhead allowed",
            "insert rule bridge bulkhead forward accept",
            "add rule bridge bulkhead allowed counter",
            "insert rule inet bulkhead forward accept",
            "delete element bridge bulkhead nic_mac { \"bh-1\" . 52:54:00:00:00:01 }",
            "add element bridge bulkhead nic_ipv4 { \"bh-1\" . 10.0.0.66 }",
            "flush set bridge bulkhead reserved_mac",
            "add element bridge bulkhead pair { \"a\" . \"b\" : accept }",
            "delete element bridge bulkhead pair { \"bh-1\" . \"bh-2\" ; }",
            "add chain bridge bulkhead early { type filter hook forward priority -300; policy drop; }",
            "add chain bridge bulkhead forward { type filter hook forward priority -200; policy drop; }",
            "add counter bridge bulkhead mine",
            "add quota bridge bulkhead q { over 5 mbytes }",
            "add limit bridge bulkhead l { rate 1/second; }",
            "add set bridge bulkhead s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 } }",
            "add map bridge bulkhead m { type ipv4_addr : verdict; }",
            DORMANT,
        ] {
            if line == DORMANT && can_hold() {
                // The kernel changes no flags of a table whose owner has gone.
                let refused = attempt(&format!("nft {line}")).unwrap_err().to_string();
                assert!(refused.contains("Operation not supported"), "{refused}");
                continue;
            }
            // What holds the table ends, so that the line gets through.
            let mut world = World::open();
            world.settle(&desired).await;
            world.close().await;
            let line = line.replace(" ; }", " }");
            run(&format!("nft {line}"));
            let mut world = World::open();
            let plan = world.settle(&desired).await;
            assert!(!plan.is_empty(), "{line} was seen");
            world.close().await;
        }
    });
}

#[test]
fn a_ruleset_without_one_of_our_tables_as_an_earlier_release_left_it_is_completed_and_flows_go_on() {
    within(|| async {
        let Lan { world, desired, guests, outside } =
            Lan::new(1, false, vec![allow(guest(1), outside(), tcp(&[80]))]).await;
        outside.serves_tcp("0.0.0.0:80");
        let mut flow = guests[0].connects("10.0.0.9:80").unwrap();
        world.close().await;
        run("nft delete table arp bulkhead");
        assert!(alive(&mut flow));
        let mut world = World::open();
        world.settle(&desired).await;
        assert!(run("nft list tables").contains("table arp bulkhead"));
        assert!(alive(&mut flow));
    });
}
