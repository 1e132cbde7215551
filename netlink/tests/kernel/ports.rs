//! Ports on our bridges.

use bulkhead_netlink::model::Desired;
use bulkhead_netlink::state;
use bulkhead_types::Cause;

use crate::world::*;

fn with_taps() -> Desired {
    run("ip link add tap0 type veth peer name guest0");
    run("ip link add tap1 type veth peer name guest1");
    let desired = manifest([hidden(20), hidden(30)]);
    with_port(with_port(desired, "tap0", "br20", mac(0, 1)), "tap1", "br30", mac(0, 2))
}

#[test]
fn a_declared_port_is_locked_to_its_address_and_learns_nothing() {
    within(|| async {
        trunk();
        let desired = with_taps();
        let mut world = World::open();
        world.converge(&desired).await;
        run("ip link set tap0 master br20 up");
        world.converge(&desired).await;
        let link = run("ip -d -o link show tap0");
        for word in ["learning off", "flood off", "locked on", "isolated off", "mcast_flood on", "bcast_flood on"] {
            assert!(link.contains(word), "{word}: {link}");
        }
        assert!(run("bridge fdb show dev tap0").contains("52:54:00:42:00:01 master br20 static"));
        sysctl("ipv6/conf/tap0/disable_ipv6", "0");
        assert!(!world.plan(&desired).await.is_empty());
        world.converge(&desired).await;
        assert_eq!(run("ip -o address show dev tap0"), "", "the host speaks on the guest's port");
        for line in [
            "bridge link set dev tap0 locked off",
            "bridge link set dev tap0 learning on flood on isolated on",
            "bridge fdb delete 52:54:00:42:00:01 dev tap0 master static",
            "bridge fdb add 52:54:00:42:00:99 dev tap0 master static",
            "ip link set tap0 mtu 1400",
            "ip link set tap0 down",
        ] {
            run(line);
            assert!(!world.plan(&desired).await.is_empty(), "{line}");
            world.converge(&desired).await;
        }
        assert!(!run("bridge fdb show dev tap0").contains("00:99"));
        let ports = &state(&desired, &world.observe(&desired).await)[0].ports;
        assert!(ports.len() == 1 && ports[0].declared && ports[0].name == "tap0");
    });
}

#[test]
fn an_address_learned_elsewhere_moves_to_its_port_and_stays() {
    within(|| async {
        trunk();
        let desired = with_taps();
        let mut world = World::open();
        world.converge(&desired).await;
        run("bridge fdb add 52:54:00:42:00:01 dev vlan20 master dynamic");
        run("ip link set tap0 master br20 up");
        world.converge(&desired).await;
        assert!(run("bridge fdb show dev tap0").contains("52:54:00:42:00:01 master br20 static"));
        assert!(!run("bridge fdb show dev vlan20").contains("52:54:00:42:00:01"));
    });
}

#[test]
fn a_port_that_nobody_declared_and_one_on_the_wrong_bridge_are_named_and_left() {
    within(|| async {
        trunk();
        let desired = with_taps();
        run("ip link add intruder type veth peer name other");
        let mut world = World::open();
        world.converge(&desired).await;
        run("ip link set intruder master br20");
        run("ip link set tap1 master br20");
        let before = run("ip -d -o link show intruder") + &run("ip -d -o link show tap1");
        let plan = world.converge(&desired).await;
        assert!(plan.is_empty());
        let has = |cause, text: &str| plan.notices.iter().any(|n| n.cause == cause && n.text.contains(text));
        assert!(has(Cause::Foreign, "intruder (veth"), "{:#?}", plan.notices);
        assert!(has(Cause::Held, "tap1 stands on br20 and belongs on br30"), "{:#?}", plan.notices);
        assert_eq!(run("ip -d -o link show intruder") + &run("ip -d -o link show tap1"), before);
    });
}

#[test]
fn ports_on_several_bridges_are_each_known_by_their_own_entries() {
    within(|| async {
        trunk();
        let desired = with_taps();
        // Somebody else's bridge may have any number of entries, those of our guests too.
        run("ip link add docker0 type bridge");
        run("ip link add container type veth peer name inside");
        run("ip link set container master docker0");
        for last in ["01", "02", "77"] {
            run(&format!("bridge fdb add 52:54:00:42:00:{last} dev container master static"));
        }
        let mut world = World::open();
        world.converge(&desired).await;
        run("ip link set tap0 master br20 up");
        run("ip link set tap1 master br30 up");
        run("bridge fdb add 52:54:00:42:00:99 dev tap1 master static");
        world.converge(&desired).await;
        let indexes = [index("tap0"), index("tap1")];
        let found: Vec<_> = world.observe(&desired).await.fdb.iter().map(|entry| (entry.index, entry.mac)).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.contains(&(indexes[0], mac(0, 1))) && found.contains(&(indexes[1], mac(0, 2))), "{found:?}");
        assert!(run("bridge fdb show dev container").contains("00:77 master docker0 static"));
    });
}
