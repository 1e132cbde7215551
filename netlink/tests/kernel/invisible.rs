//! The promise of silence, seen from the far side of the trunk.

use std::time::Duration;

use bulkhead_netlink::model::Desired;
use bulkhead_packet::{Captured, ethernet};

use crate::world::*;

/// Longer than what IPv6 and IGMP send after a link comes up: detection of duplicates, MLD twice, router solicitation.
const LISTEN: u64 = 8000;

fn tagged(seen: &[Captured], vlan: u16) -> Vec<&Captured> {
    seen.iter().filter(|seen| seen.frame.vlan() == Some(vlan)).collect()
}

#[test]
fn an_invisible_bridge_sends_no_frame_from_its_making_to_its_end() {
    within(|| async {
        trunk();
        let far = far_side();
        let desired = manifest([hidden(30), hidden(31), visible(20, &["10.0.0.1/24"], &["10.0.0.254"])]);
        let mut world = World::open();
        world.converge(&desired).await;
        assert_eq!(run("ip -o address show br30") + &run("ip -o address show vlan30"), "");
        pause(LISTEN).await;
        for (link, drift) in [("br30", "down"), ("vlan30", "down"), ("eth0", "down")] {
            run(&format!("ip link set {link} {drift}"));
            let plan = world.plan(&desired).await;
            world.apply(&plan).await;
        }
        world.converge(&desired).await;
        pause(LISTEN).await;
        world.converge(&Desired::default()).await;
        let seen = far.during(Duration::ZERO).unwrap();
        assert!(tagged(&seen, 30).is_empty() && tagged(&seen, 31).is_empty(), "{seen:x?}");
        // The capture does see tags, and the host does speak where it should: an ARP for its gateway, nothing of IPv6.
        assert!(tagged(&seen, 20).iter().all(|seen| seen.frame.ether_type != ethernet::IPV6), "{seen:x?}");
    });
}

#[test]
fn the_capture_would_have_seen_a_bridge_that_speaks() {
    within(|| async {
        trunk();
        let far = far_side();
        World::open().converge(&manifest([hidden(30)])).await;
        sysctl("ipv6/conf/br30/disable_ipv6", "0");
        pause(3000).await;
        assert!(!tagged(&far.during(Duration::ZERO).unwrap(), 30).is_empty());
    });
}

#[test]
fn an_address_given_to_an_invisible_bridge_by_hand_is_taken_away_and_named() {
    within(|| async {
        trunk();
        let desired = manifest([hidden(30)]);
        let mut world = World::open();
        world.converge(&desired).await;
        run("ip address add 10.0.0.1/24 dev br30");
        run("ip address add 10.0.0.2/24 dev br30");
        run("ip address add 10.0.0.3/24 dev vlan30");
        sysctl("ipv6/conf/br30/disable_ipv6", "0");
        sysctl("ipv6/conf/vlan30/disable_ipv6", "0");
        run("ip address add 2001:db8::1/64 dev br30");
        let plan = world.converge(&desired).await;
        assert_eq!(plan.notices.len(), 3, "{:#?}", plan.notices);
        assert_eq!(run("ip -o address show br30") + &run("ip -o address show vlan30"), "");
    });
}
