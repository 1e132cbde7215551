//! Foreign objects that nobody can read, or that have what nobody expects.

use std::time::Duration;

use bulkhead_netlink::Watch;
use bulkhead_netlink::model::Desired;
use tokio::time::timeout;

use crate::world::*;

#[test]
fn links_and_addresses_with_names_that_are_not_utf_8_stop_nothing() {
    within(|| async {
        trunk();
        run("ip link add odd type veth peer name pair");
        run("ip address add 192.0.2.1/24 dev odd label odd:label");
        run("ip link set odd up");
        run("ip route add default via 192.0.2.254 dev odd metric 7");
        let (odd, pair) = (index("odd"), index("pair"));
        run("ip link set odd down");
        run("ip link set pair down");
        set_name(odd, b"sec\xff\xfe").unwrap();
        // Bytes that are UTF-8 but nobody's idea of a name.
        set_name(pair, b"\x1b[2J\"'`;").unwrap();
        let desired = manifest([visible(20, &["10.0.0.1/24"], &["10.0.0.254"]), hidden(30)]);
        let mut world = World::open();
        world.converge(&desired).await;
        let observed = world.observe(&desired).await;
        assert_eq!(observed.links.get(odd).map(|link| link.name.as_str()), Some("sec\u{fffd}\u{fffd}"));
        assert_eq!(observed.unread, []);
        let mut watch = Watch::open().unwrap();
        set_name(odd, b"third\xff").unwrap();
        timeout(Duration::from_secs(5), watch.wake()).await.expect("such a name wakes like any other").unwrap();
        run("ip link delete vlan20");
        timeout(Duration::from_secs(5), watch.wake()).await.expect("the watch goes on").unwrap();
        world.converge(&desired).await;
        world.converge(&Desired::default()).await;
        assert!(world.observe(&desired).await.links.get(odd).is_some(), "it is left alone");
    });
}
