//! Foreign objects stay as they are, whatever we do beside them.

use bulkhead_netlink::model::Desired;
use bulkhead_netlink::{Step, state};
use bulkhead_types::{Cause, Object, Outcome};

use crate::world::*;

/// Other people's things: a bridge with a port and addresses, a VLAN of the trunk, routes, a link in a group beside ours.
fn neighbours() {
    for line in [
        "ip link add docker0 type bridge",
        "ip address add 172.17.0.1/16 dev docker0",
        "ip link set docker0 up",
        "ip link add veth1 type veth peer name veth2",
        "ip link set veth1 master docker0 up",
        "ip link set veth2 up",
        "ip link add link eth0 name eth0.99 type vlan id 99",
        "ip address add 192.0.2.1/24 dev eth0.99",
        "ip link set eth0.99 up",
        "ip route add default via 192.0.2.254 metric 100",
        "ip route add 198.51.100.0/24 via 192.0.2.254",
        "ip link add grouped type veth peer name groupee",
        "ip link set grouped group 25191",
    ] {
        run(line);
    }
}

const OURS: [&str; 4] = ["br20", "vlan20", "br30", "vlan30"];

#[test]
fn foreign_objects_are_equal_before_and_after_apply_drift_and_teardown() {
    within(|| async {
        trunk();
        neighbours();
        pause(2500).await;
        let (before, beside) = (foreign(&[]), foreign(&OURS));
        let desired = manifest([visible(20, &["10.0.0.1/24", "2001:db8::1/64"], &["10.0.0.254"]), hidden(30)]);
        let mut world = World::open();
        world.converge(&desired).await;
        same(&foreign(&OURS), &beside, "after apply");
        run("ip link delete br20");
        world.converge(&desired).await;
        same(&foreign(&OURS), &beside, "after drift");
        world.converge(&Desired::default()).await;
        same(&foreign(&[]), &before, "nothing of ours is left, nothing of theirs is changed");
    });
}

#[test]
fn a_clash_of_names_or_tags_names_both_sides_and_touches_neither() {
    within(|| async {
        trunk();
        run("ip link add br20 type veth peer name peer20");
        run("ip link add link eth0 name theirs type vlan id 30");
        let before = foreign(&[]);
        let mut world = World::open();
        let plan = world.converge(&manifest([hidden(20), hidden(30)])).await;
        assert!(plan.is_empty());
        let texts: Vec<&str> =
            plan.notices.iter().filter(|n| n.cause == Cause::Clash).map(|n| n.text.as_str()).collect();
        assert_eq!(texts.len(), 2, "{texts:#?}");
        assert!(texts[0].contains("br20") && texts[0].contains("veth") && texts[0].contains("group 0"), "{}", texts[0]);
        assert!(texts[1].contains("theirs") && texts[1].contains("VLAN 30 of eth0"), "{}", texts[1]);
        same(&foreign(&[]), &before, "after a plan of nothing");
    });
}

#[test]
fn a_foreign_default_route_stays_and_one_with_our_metric_keeps_ours_out_alone() {
    within(|| async {
        trunk();
        neighbours();
        let desired = manifest([visible(20, &["10.0.0.1/24"], &["10.0.0.254"])]);
        let mut world = World::open();
        world.converge(&desired).await;
        assert!(run("ip route show default").contains("default via 192.0.2.254 dev eth0.99 metric 100"));
        run("ip route delete default via 10.0.0.254");
        run("ip route add default via 192.0.2.253 metric 4242");
        let plan = world.converge(&desired).await;
        assert!(plan.is_empty());
        assert!(
            plan.notices.iter().any(|n| n.cause == Cause::Held && n.text.contains("192.0.2.253")),
            "{:#?}",
            plan.notices
        );
    });
}

#[test]
fn what_is_made_between_reading_and_writing_fails_its_own_segment_alone() {
    within(|| async {
        trunk();
        let desired = manifest([visible(20, &["10.0.0.1/24"], &["10.0.0.254"]), hidden(30)]);
        let mut world = World::open();
        let plan = world.plan(&desired).await;
        run("ip link add br20 type veth peer name peer20");
        let report = world.apply(&plan).await;
        let outcome = |bridge: &str, is: fn(&Outcome) -> bool| {
            let of = |step: &Step| bulkhead_types::Step::object(step) == Object::Segment(segment_of(bridge));
            report.steps.iter().filter(|(step, outcome)| of(step) && is(outcome)).count()
        };
        assert_eq!(outcome("br20", |o| matches!(o, Outcome::Failed(_))), 2, "bridge and VLAN link: {report:#?}");
        assert_eq!(outcome("br20", |o| matches!(o, Outcome::Done)), 0);
        assert_eq!(outcome("br30", |o| !matches!(o, Outcome::Done)), 0);
        let Outcome::Failed(why) = &report.steps[0].1 else { panic!("{report:#?}") };
        assert!(why.contains("ip link add br20") && why.contains("File exists"), "{why}");
        run("ip link delete br20");
        world.converge(&desired).await;
    });
}

#[test]
fn a_route_that_the_kernel_refuses_stops_nothing_but_itself() {
    within(|| async {
        trunk();
        neighbours();
        run("ip link add tap0 type veth peer name guest0");
        let desired = manifest([visible(20, &["10.0.0.1/24"], &["10.0.0.254"])]);
        let desired = with_port(desired, "tap0", "br20", mac(0, 1));
        let mut world = World::open();
        world.converge(&desired).await;
        run("ip link set tap0 master br20 up");
        run("ip route delete default via 10.0.0.254");
        let plan = world.plan(&desired).await;
        run("ip route add default via 192.0.2.253 metric 4242");
        let report = world.apply(&plan).await;
        let failed: Vec<&Step> =
            report.steps.iter().filter(|(_, outcome)| *outcome != Outcome::Done).map(|(step, _)| step).collect();
        assert!(matches!(failed.as_slice(), [Step::AddRoute { .. }]), "{report:#?}");
        assert!(run("bridge fdb show dev tap0").contains("52:54:00:42:00:01 sticky master br20 static"));
        assert!(state(&desired, &world.observe(&desired).await)[0].stands());
    });
}

#[test]
fn a_gateway_of_ipv6_where_the_host_has_none_is_named_and_never_tried() {
    within(|| async {
        trunk();
        let desired = manifest([visible(20, &["10.0.0.1/24"], &["10.0.0.254", "fe80::1"])]);
        let mut world = World::open();
        let plan = world.converge(&desired).await;
        assert!(plan.notices.iter().any(|n| n.cause == Cause::Held && n.text.contains("fe80::1")), "{plan:#?}");
        assert!(state(&desired, &world.observe(&desired).await)[0].stands());
        let both = manifest([visible(20, &["10.0.0.1/24", "2001:db8::1/64"], &["10.0.0.254", "fe80::1"])]);
        assert_eq!(world.converge(&both).await.notices, []);
        assert!(run("ip -6 route show default").contains("via fe80::1 dev br20"));
    });
}

#[test]
fn a_stranger_in_the_leaving_group_is_not_deleted_with_it() {
    within(|| async {
        trunk();
        run("ip link add stranger type veth peer name peer");
        run("ip link set stranger group 25193");
        let mut world = World::open();
        world.converge(&manifest([hidden(20), hidden(30)])).await;
        world.converge(&Desired::default()).await;
        run("ip link show stranger");
    });
}

#[test]
fn links_left_in_the_leaving_group_by_a_crash_are_deleted() {
    within(|| async {
        trunk();
        let mut world = World::open();
        world.converge(&manifest([hidden(20), hidden(30), hidden(40)])).await;
        for link in ["vlan20", "br20", "br30"] {
            run(&format!("ip link set {link} group 25193"));
        }
        world.converge(&manifest([hidden(30)])).await;
        assert_eq!(run("ip -o link show group 25193"), "");
        assert_eq!(run("ip -o link show group 25192").lines().count(), 2);
    });
}

#[test]
fn an_own_process_without_the_privilege_is_told_so() {
    within(|| async {
        trunk();
        let desired = manifest([hidden(20)]);
        let mut world = World::open();
        let plan = world.plan(&desired).await;
        drop_net_admin();
        let report = world.apply(&plan).await;
        let Outcome::Failed(why) = &report.steps[0].1 else { panic!("{report:#?}") };
        assert!(why.contains("CAP_NET_ADMIN"), "{why}");
        assert!(world.plan(&desired).await.steps == plan.steps, "reading needs no privilege, and nothing was written");
    });
}
