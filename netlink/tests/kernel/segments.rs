//! What is made, and with how few messages.

use std::time::Instant;

use bulkhead_netlink::model::Desired;
use bulkhead_netlink::{LinkState, state};
use bulkhead_types::{Cause, Object};

use crate::world::*;

#[test]
fn a_segment_with_a_host_gets_vlan_bridge_address_and_default_route() {
    within(|| async {
        trunk();
        let desired = manifest([visible(20, &["10.13.37.30/24"], &["10.13.37.1"])]);
        let mut world = World::open();
        let plan = world.converge(&desired).await;
        assert_eq!(plan.notices, []);
        let bridge = run("ip -d -o link show br20");
        for word in ["group 25192", "link/ether 52:54:00:42:00:14", "mcast_snooping 0", "stp_state 0", ",UP"] {
            assert!(bridge.contains(word), "{word}: {bridge}");
        }
        let vlan = run("ip -d -o link show vlan20");
        for word in ["vlan20@eth0", "master br20", "group 25192", "vlan protocol 802.1Q id 20", ",UP"] {
            assert!(vlan.contains(word), "{word}: {vlan}");
        }
        assert!(run("ip -o -4 address show br20").contains("10.13.37.30/24 brd 10.13.37.255"));
        assert!(
            run("ip -d -4 route show default")
                .contains("default via 10.13.37.1 dev br20 proto 98 scope global metric 4242")
        );
        let states = state(&desired, &world.observe(&desired).await);
        assert_eq!(
            (states[0].trunk.1, states[0].vlan.1, states[0].bridge.1),
            (LinkState::Up, LinkState::Up, LinkState::Up)
        );
        assert_eq!(states[0].gateways.len(), 1);
    });
}

#[test]
fn a_host_with_ipv6_gets_its_address_and_default_route_and_the_vlan_port_stays_silent() {
    within(|| async {
        trunk();
        let desired = manifest([visible(20, &["10.0.0.2/24", "2001:db8::2/64"], &["10.0.0.1", "2001:db8::1"])]);
        World::open().converge(&desired).await;
        assert!(
            run("ip -d -6 route show default").contains("via 2001:db8::1 dev br20 proto 98 scope global metric 4242")
        );
        assert_eq!(read_sysctl("ipv6/conf/br20/disable_ipv6"), "0");
        assert_eq!(read_sysctl("ipv6/conf/vlan20/disable_ipv6"), "1");
    });
}

#[test]
fn a_host_of_a_single_address_reaches_its_gateway_on_the_link() {
    within(|| async {
        trunk();
        let addresses = ["203.0.113.5/32", "2001:db8::5/128"];
        let desired = manifest([visible(20, &addresses, &["198.51.100.1", "2001:db8:ffff::1"])]);
        let mut world = World::open();
        assert_eq!(world.converge(&desired).await.notices, []);
        assert!(run("ip -4 route show default").contains("via 198.51.100.1 dev br20 proto 98 metric 4242 onlink"));
        let v6 = run("ip -6 route show default");
        assert!(v6.contains("via 2001:db8:ffff::1 dev br20 proto 98 metric 4242") && v6.contains("onlink"), "{v6}");
        assert!(run("ip route get 192.0.2.1").contains("via 198.51.100.1 dev br20 src 203.0.113.5"));
        assert_eq!(state(&desired, &world.observe(&desired).await)[0].gateways.len(), 2);
    });
}

#[test]
fn a_hundred_segments_take_four_messages_each_in_few_sends_and_afterwards_none() {
    within(|| async {
        trunk();
        let segment = |vlan: u16| visible(vlan, &[&format!("10.{}.{}.1/24", vlan / 250, vlan % 250)], &[]);
        let mut segments: Vec<_> = (100..200).map(segment).collect();
        segments[0].host.as_mut().unwrap().gateways.push("10.0.100.254".parse().unwrap());
        let desired = manifest(segments);
        let mut world = World::open();
        let start = Instant::now();
        world.converge(&desired).await;
        let writes = world.kernel.writes();
        println!("100 segments: {writes:?} in {:?}", start.elapsed());
        // Two links, an alias and an address each; one message sets all up; one default route.
        assert_eq!(writes.messages, 4 * 100 + 1 + 1);
        // 200 links, 100 aliases and 100 addresses in sends of 64.
        assert_eq!(writes.sends, 4 + 2 + 1 + 2 + 1);
        assert_eq!(writes.sysctls, 200);
        let start = Instant::now();
        world.converge(&desired).await;
        println!("reading them twice: {:?}", start.elapsed());
        assert_eq!(world.kernel.writes(), writes);
        let start = Instant::now();
        world.converge(&Desired::default()).await;
        let gone = world.kernel.writes();
        println!("teardown: {:?}", start.elapsed());
        // Each link is moved to the leaving group; VLANs go in 2 sends of at most 64, bridges in 10 of 10.
        assert_eq!((gone.messages - writes.messages, gone.sends - writes.sends), (200 + 12, 12));
    });
}

#[test]
fn a_segment_added_to_others_touches_no_other() {
    within(|| async {
        trunk();
        let mut world = World::open();
        world.converge(&manifest((20..30).map(hidden))).await;
        let before = world.kernel.writes();
        let plan = world.converge(&manifest((20..31).map(hidden))).await;
        // Bridge, VLAN, its alias, and each set up by itself: a message to the group would touch the other ten.
        assert_eq!(world.kernel.writes().messages - before.messages, 5);
        assert!(
            plan.steps.iter().all(|step| bulkhead_types::Step::object(step) == Object::Segment(segment_of("br30")))
        );
    });
}

#[test]
fn a_missing_trunk_is_waited_for_and_a_trunk_that_is_down_is_set_up() {
    within(|| async {
        let desired = manifest([hidden(30)]);
        let mut world = World::open();
        let plan = world.converge(&desired).await;
        assert!(plan.notices.iter().any(|n| n.object == Object::Trunk(name("eth0")) && n.cause == Cause::Pending));
        trunk();
        run("ip link set eth0 down");
        let plan = world.converge(&desired).await;
        assert_eq!(plan.steps[0].to_string(), "ip link set eth0 up");
        assert_eq!(plan.notices, []);
        run("ip link delete eth0");
        let plan = world.plan(&desired).await;
        assert!(plan.is_empty() && plan.notices.len() == 2, "{plan:#?}");
        trunk();
        world.converge(&desired).await;
    });
}

#[test]
fn the_mtu_follows_the_trunk_to_vlan_bridge_and_port() {
    within(|| async {
        trunk();
        run("ip link add tap0 type veth peer name guest0");
        run("ip link set eth0 mtu 9000");
        let desired = with_port(manifest([hidden(30)]), "tap0", "br30", mac(0, 1));
        let mut world = World::open();
        world.converge(&desired).await;
        run("ip link set tap0 master br30 up");
        world.converge(&desired).await;
        for mtu in [9000, 1600, 8000] {
            run(&format!("ip link set eth0 mtu {mtu}"));
            // The kernel lets a bridge follow its ports, so that one more look may be needed.
            for _ in 0..2 {
                let plan = world.plan(&desired).await;
                world.apply(&plan).await;
            }
            world.converge(&desired).await;
            for link in ["vlan30", "br30", "tap0"] {
                assert!(run(&format!("ip -o link show {link}")).contains(&format!("mtu {mtu} ")), "{link}");
            }
        }
    });
}

#[test]
fn manifests_in_any_order_lead_to_what_each_says() {
    within(|| async {
        trunk();
        run("ip link add eth1 type veth peer name far1");
        let mut world = World::open();
        let other = |mut segment: bulkhead_netlink::model::Segment| {
            segment.trunk = name("eth1");
            segment
        };
        let moved = {
            let mut segment = hidden(20);
            segment.vlan = hidden(21).vlan;
            segment
        };
        let pinned = {
            let mut segment = visible(20, &["10.0.0.3/24"], &[]);
            (segment.mac, segment.mtu) = (mac(9, 9), Some(1400));
            segment
        };
        let manifests = [
            manifest([hidden(20), visible(30, &["10.0.0.1/24"], &["10.0.0.254"])]),
            manifest([visible(20, &["10.0.0.1/24", "10.0.0.2/24"], &["10.0.0.254"]), hidden(30)]),
            manifest([visible(20, &["10.0.0.2/24"], &["10.0.0.254"]), hidden(30)]),
            manifest([moved, other(hidden(22))]),
            manifest([visible(20, &["10.0.0.1/16", "2001:db8::1/64"], &["10.0.0.253", "2001:db8::2"])]),
            manifest([other(visible(20, &["10.0.0.1/24", "2001:db8::1/96"], &["10.0.0.253"])), hidden(21)]),
            manifest([pinned]),
            Desired::default(),
        ];
        for from in &manifests {
            for to in &manifests {
                world.converge(from).await;
                world.converge(to).await;
            }
        }
    });
}

#[test]
fn bridges_come_up_with_one_message_to_their_group_and_go_ten_with_one() {
    within(|| async {
        for vlan in 20..45 {
            run(&format!("ip link add br{vlan} group 25192 type bridge"));
        }
        let desired = manifest((20..45).map(hidden));
        let mut world = World::open();
        world.converge(&desired).await;
        let up = world.kernel.writes();
        // Each has its address and options set; then one message sets them up.
        assert_eq!((up.messages, up.sends, up.sysctls), (25 + 1, 2, 25));
        world.converge(&Desired::default()).await;
        let gone = world.kernel.writes();
        assert_eq!((gone.messages - up.messages, gone.sends - up.sends), (25 + 3, 3));
        assert_eq!(run("ip -o link show type bridge"), "");
    });
}
