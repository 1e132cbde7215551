//! Ports on our bridges.

use bulkhead_netlink::model::Desired;
use bulkhead_netlink::state;
use bulkhead_packet::{Ether, Frame, Sender, Tag};
use bulkhead_types::{Cause, Mac};

use crate::world::*;

fn with_taps() -> Desired {
    run("ip link add tap0 type veth peer name guest0");
    run("ip link add tap1 type veth peer name guest1");
    let desired = manifest([hidden(20), hidden(30)]);
    with_port(with_port(desired, "tap0", "br20", mac(0, 1)), "tap1", "br30", mac(0, 2))
}

/// The first tap on its bridge, as it is made.
async fn plugged() -> (World, Desired) {
    trunk();
    let desired = with_taps();
    let mut world = World::open();
    world.converge(&desired).await;
    run("ip link set tap0 master br20 up");
    world.converge(&desired).await;
    (world, desired)
}

#[test]
fn a_declared_port_is_locked_to_its_address_and_learns_nothing() {
    within(|| async {
        let (mut world, desired) = plugged().await;
        let link = run("ip -d -o link show tap0");
        for word in ["learning off", "flood off", "locked on", "isolated off", "mcast_flood on", "bcast_flood on"] {
            assert!(link.contains(word), "{word}: {link}");
        }
        let entries = run("bridge fdb show dev tap0");
        assert!(entries.contains("52:54:00:42:00:01 sticky master br20 static"), "{entries}");
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
        assert!(run("bridge fdb show dev tap0").contains("52:54:00:42:00:01 sticky master br20 static"));
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

/// The port on which the address of the first NIC stands, its copy for the VLAN 1 left out.
fn stands() -> String {
    let entries = run("bridge fdb show br br20");
    let of_bridge = |line: &&str| {
        line.starts_with("52:54:00:42:00:01 ") && line.contains("master br20") && !line.contains(" vlan ")
    };
    let line = entries.lines().find(of_bridge).unwrap_or_else(|| panic!("no entry: {entries}"));
    line.split_whitespace().nth(2).unwrap().to_owned()
}

#[test]
fn nothing_from_outside_moves_a_guests_address_or_fills_the_table_and_each_layer_holds_alone() {
    within(|| async {
        let (mut world, desired) = plugged().await;
        let far = Sender::open("far0").unwrap();
        let send = async |source: Mac, to: [u8; 6]| {
            far.send(&Frame::new(source, Ether(to), 0x88b5, vec![0; 46]).tagged(Tag::dot1q(20))).unwrap();
            pause(50).await;
        };
        let group = |last| [1, 0x80, 0xc2, 0, 0, last];
        for to in [group(0), group(2), group(3), group(0xe), [0xff; 6], mac(0, 20).octets()] {
            send(mac(0, 1), to).await;
            assert_eq!(stands(), "tap0", "as it is made, {to:x?}");
        }
        for last in 100..200 {
            send(mac(9, last), [0xff; 6]).await;
        }
        assert!(!run("bridge fdb show dev vlan20").contains("52:54:00:42:09"), "outside teaches it nothing");
        let plain = "bridge fdb replace 52:54:00:42:00:01 dev tap0 master static";
        let sticky = "bridge fdb replace 52:54:00:42:00:01 dev tap0 master static sticky";
        let (learning, silent) = ("bridge link set dev vlan20 learning on", "bridge link set dev vlan20 learning off");
        // With the groups forwarded they are taught like any other frame, so that this layer is one where they are not.
        let options = |on: u8| format!("ip link set br20 type bridge group_fwd_mask 0 no_linklocal_learn {on}");
        for (layer, lines, holds) in [
            ("the entry is sticky", [sticky, learning, &options(0)], true),
            ("the uplink learns nothing", [plain, silent, &options(0)], true),
            ("link-local groups teach nothing", [plain, learning, &options(1)], true),
            ("none", [plain, learning, &options(0)], false),
        ] {
            for line in lines {
                run(line);
            }
            for last in [3, 0xe] {
                send(mac(0, 1), group(last)).await;
            }
            assert_eq!(stands() == "tap0", holds, "{layer}");
        }
        let plan = world.converge(&desired).await;
        assert_eq!(plan.steps.len(), 3, "{:#?}", plan.steps);
        assert_eq!(stands(), "tap0");
        assert!(run("bridge fdb show dev tap0").contains("52:54:00:42:00:01 sticky master br20 static"));
    });
}
