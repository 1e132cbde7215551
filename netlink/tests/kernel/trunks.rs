//! Trunks that are called otherwise than the manifest says.

use std::time::{Duration, Instant};

use bulkhead_netlink::{Plan, state};
use bulkhead_packet::{Capture, Ether, Marker, Sender, ethernet, unknown};
use bulkhead_types::{Cause, Object};

use crate::world::*;

/// Linux renames a link that is up only from 6.2 on.
fn rename(from: &str, to: &str) {
    let link = index(from);
    if set_name(link, to.as_bytes()).is_err() {
        run(&format!("ip link set {from} down"));
        set_name(link, to.as_bytes()).unwrap();
        run(&format!("ip link set {to} up"));
    }
}

/// Whether a frame of the guest on VLAN 20 leaves by the trunk, tagged.
fn passes(guest: &Sender, far: &Capture) -> bool {
    let marker = Marker::unique();
    guest.send(&unknown(mac(0, 1).into(), Ether::BROADCAST, &marker)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    far.first(deadline, |frame| frame.vlan() == Some(20) && marker.marks(frame)).unwrap().is_some()
}

fn told(plan: &Plan) -> Vec<&str> {
    plan.notices.iter().filter(|n| n.object == Object::Trunk(name("eth0"))).map(|n| n.text.as_str()).collect()
}

#[test]
fn a_trunk_that_is_renamed_keeps_its_vlans_and_their_traffic() {
    within(|| async {
        trunk();
        run("ip link add tap0 type veth peer name guest0");
        run("ip link set guest0 up");
        let desired = manifest([hidden(20), visible(30, &["10.0.0.1/24"], &["10.0.0.254"])]);
        let desired = with_port(desired, "tap0", "br20", mac(0, 1));
        let mut world = World::open();
        world.converge(&desired).await;
        run("ip link set tap0 master br20 up");
        world.converge(&desired).await;
        let (guest, far) = (Sender::open("guest0").unwrap(), far_side());
        let links = ["vlan20", "br20", "vlan30", "br30"];
        let before = links.map(index);
        assert!(passes(&guest, &far));

        rename("eth0", "lan0");
        let plan = world.converge(&desired).await;
        assert!(
            plan.steps.iter().all(|step| step.to_string().starts_with("ip link set lan0 up")
                || step.to_string().starts_with("ip route add")),
            "{plan:#?}"
        );
        let notices = told(&plan);
        assert!(notices.len() == 1 && notices[0].contains("trunk eth0 is now called lan0: its segments go on"));
        assert_eq!(links.map(index), before);
        assert!(passes(&guest, &far));
        let states = state(&desired, &world.observe(&desired).await);
        assert!(states.iter().all(bulkhead_netlink::SegmentState::stands), "{states:#?}");

        run("ip link delete vlan30");
        world.converge(&desired).await;
        assert!(run("ip -o link show vlan30").contains("vlan30@lan0"), "what stood on it is repaired on it");

        run("ip link property add dev lan0 altname eth0");
        assert_eq!(told(&world.converge(&desired).await), [""; 0], "found by its alternative name");
        run("ip link property del dev lan0 altname eth0");
        rename("lan0", "eth0");
        assert_eq!(told(&world.converge(&desired).await), [""; 0]);
        assert_eq!(index("vlan20"), before[0]);
        assert!(passes(&guest, &far));
    });
}

#[test]
fn a_trunk_that_comes_under_another_name_is_looked_for_and_found_by_an_alternative_one() {
    within(|| async {
        trunk();
        rename("eth0", "lan0");
        run("ip link property add dev lan0 altname enp7s0");
        let desired = manifest([hidden(20)]);
        let mut world = World::open();
        let plan = world.converge(&desired).await;
        assert!(plan.notices.iter().any(|n| n.cause == Cause::Pending && n.text.contains("lan0 (also enp7s0)")));
        run("ip link property add dev lan0 altname eth0");
        assert_eq!(world.converge(&desired).await.notices, []);
        assert!(run("ip -o link show vlan20").contains("vlan20@lan0"));
    });
}

#[test]
fn a_trunk_that_is_a_port_of_somebody_elses_bridge_carries_its_vlans_past_it() {
    within(|| async {
        trunk();
        run("ip link add br0 type bridge mcast_snooping 0");
        run("ip link set eth0 master br0");
        run("ip link set br0 up");
        run("ip link add tap0 type veth peer name guest0");
        run("ip link set guest0 up");
        let desired = with_port(manifest([hidden(20)]), "tap0", "br20", mac(0, 1));
        let mut world = World::open();
        world.converge(&desired).await;
        run("ip link set tap0 master br20 up");
        assert_eq!(world.converge(&desired).await.notices, []);
        let (guest, far) = (Sender::open("guest0").unwrap(), far_side());
        let theirs = Capture::received("br0").unwrap();
        assert!(passes(&guest, &far));
        let seen = theirs.during(Duration::ZERO).unwrap();
        assert!(seen.iter().all(|seen| seen.frame.ether_type != ethernet::EXPERIMENT), "their bridge sees it");
        assert!(run("ip -o link show eth0").contains("master br0"));
    });
}
