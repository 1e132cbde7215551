//! What somebody changed by hand is set back.

use bulkhead_netlink::model::Desired;
use bulkhead_types::Cause;

use crate::world::*;

fn seed() -> Desired {
    manifest([
        visible(20, &["10.0.0.1/24", "10.0.0.2/24", "2001:db8::1/64"], &["10.0.0.254", "2001:db8::2"]),
        hidden(30),
    ])
}

#[test]
fn drift_of_every_kind_is_set_back_in_one_round() {
    within(|| async {
        trunk();
        let mut world = World::open();
        world.converge(&seed()).await;
        for line in [
            "ip link delete vlan20",
            "ip link delete br20",
            "ip link delete br30",
            "ip link set br20 down",
            "ip link set br30 down",
            "ip link set vlan20 down",
            "ip link set eth0 down",
            "ip link set vlan20 nomaster",
            "ip link set vlan30 master br20",
            "ip link set br20 address 52:54:00:00:00:99",
            "ip link set br20 type bridge mcast_snooping 1",
            "ip link set br30 type bridge stp_state 1",
            "ip link set br30 type bridge vlan_filtering 1",
            "ip link set br30 type bridge group_fwd_mask 8",
            "ip link set vlan20 mtu 1400",
            "ip link set br20 mtu 1300",
            // Linux renames a link that is up only from 6.2 on.
            "ip link set vlan20 down; ip link set vlan20 name vlan99",
            "ip link set br30 down; ip link set br30 name br99",
            "ip link set br30 group 25193",
            "bridge link set dev vlan20 learning off flood off",
            "bridge link set dev vlan30 isolated on",
            "ip address delete 10.0.0.1/24 dev br20",
            "ip address flush dev br20",
            "ip address delete 2001:db8::1/64 dev br20",
            "ip route delete default via 10.0.0.254",
            "ip -6 route delete default via 2001:db8::2",
            "ip route add 10.9.0.0/16 via 10.0.0.254 proto 98",
            "ip route add default via 10.0.0.254 metric 7 proto 98",
        ] {
            line.split("; ").for_each(|line| _ = run(line));
            let plan = world.plan(&seed()).await;
            assert!(!plan.is_empty(), "{line}");
            println!("{line}");
            plan.steps.iter().for_each(|step| println!("    {step}"));
            world.converge(&seed()).await;
        }
        // Not by iproute2, which on Debian 12 gives no address a protocol.
        let more = manifest([visible(20, &["10.0.0.1/24", "10.0.0.9/24"], &[]), hidden(30)]);
        let plan = world.plan(&more).await;
        world.apply(&plan).await;
        world.converge(&seed()).await;
        assert!(!run("ip -o address show br20").contains("10.0.0.9"));
        for (key, value) in [("br30", "0"), ("vlan20", "0"), ("br20", "1")] {
            sysctl(&format!("ipv6/conf/{key}/disable_ipv6"), value);
            world.converge(&seed()).await;
        }
    });
}

#[test]
fn a_vlan_link_of_ours_with_another_tag_is_made_anew() {
    within(|| async {
        trunk();
        let mut world = World::open();
        world.converge(&seed()).await;
        run("ip link delete vlan20");
        run("ip link add link eth0 name vlan20 group 25192 type vlan id 21");
        world.converge(&seed()).await;
        assert!(run("ip -d -o link show vlan20").contains("id 20"));
    });
}

#[test]
fn an_address_that_leaves_takes_no_other_along() {
    within(|| async {
        for promote in ["0", "1"] {
            trunk();
            let both = manifest([visible(20, &["10.0.0.1/24", "10.0.0.2/24"], &["10.0.0.254"])]);
            let second = manifest([visible(20, &["10.0.0.2/24"], &["10.0.0.254"])]);
            let mut world = World::open();
            world.converge(&both).await;
            sysctl("ipv4/conf/br20/promote_secondaries", promote);
            world.converge(&second).await;
            world.converge(&both).await;
            world.converge(&Desired::default()).await;
            run("ip link delete eth0");
        }
    });
}

#[test]
fn an_address_of_ours_stays_while_a_foreign_one_would_go_with_it() {
    within(|| async {
        trunk();
        let mut world = World::open();
        world.converge(&manifest([visible(20, &["10.0.0.1/24", "10.1.0.1/24"], &[])])).await;
        run("ip address add 10.0.0.9/24 dev br20");
        let plan = world.converge(&manifest([visible(20, &["10.1.0.1/24"], &[])])).await;
        assert!(
            plan.notices.iter().any(|n| n.cause == Cause::Held && n.text.contains("10.0.0.9")),
            "{:#?}",
            plan.notices
        );
        assert!(run("ip -o address show br20").contains("10.0.0.9/24"));
    });
}

#[test]
fn a_bridge_known_by_its_group_alone_is_mended_while_its_trunk_is_away() {
    within(|| async {
        run("ip link add br20 group 25192 mtu 1400 type bridge stp_state 1");
        run("ip link add tap0 type veth peer name guest0");
        run("ip link set tap0 master br20 up");
        run("ip link set guest0 up");
        run("bridge fdb add 52:54:00:42:00:99 dev tap0 master static");
        let desired =
            manifest([visible(20, &["10.0.0.1/24", "10.0.0.2/24", "2001:db8::1/64"], &["10.0.0.254", "2001:db8::2"])]);
        let desired = with_port(desired, "tap0", "br20", mac(0, 1));
        let mut world = World::open();
        let plan = world.converge(&desired).await;
        plan.steps.iter().for_each(|step| println!("{step}"));
        for line in [
            "ip link set br20 down",
            "ip address flush dev br20",
            "ip link set br20 type bridge mcast_snooping 1",
            "ip route delete default via 10.0.0.254",
            "ip -6 route delete default via 2001:db8::2",
            "ip route add 10.9.0.0/16 via 10.0.0.254 proto 98",
            "bridge link set dev tap0 learning on locked off",
            "bridge fdb delete 52:54:00:42:00:01 dev tap0 master static",
            "ip link set tap0 mtu 1300",
        ] {
            run(line);
            world.converge(&desired).await;
        }
        world.converge(&manifest([visible(20, &["10.0.0.2/24"], &["10.0.0.254"])])).await;
        assert_eq!(read_sysctl("ipv6/conf/br20/disable_ipv6"), "1");
        world.converge(&Desired::default()).await;
        assert_eq!(run("ip -o link show group 25192"), "");
    });
}
