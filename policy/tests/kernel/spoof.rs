//! Who may call itself what: nothing but pinning stands in the way of the frames here, since everything is allowed.

use bulkhead_packet::ip::Ip;
use bulkhead_packet::{Ether, Frame, Tag, neighbour, send_counted, unknown};
use bulkhead_policy::counters::*;
use bulkhead_policy::model::*;

use crate::frame::*;
use crate::world::*;

const EACH: u64 = 100;

/// `br20` with guests 1, 2 (with IPv6) and 3 (without), and somebody outside; everybody may speak to everybody.
struct Scene {
    world: World,
    desired: Desired,
    guests: Vec<Wire>,
    outside: Wire,
    _stations: Vec<Station>,
}

impl Scene {
    async fn new() -> Self {
        let bridge = segment(20, true);
        make_bridge(&bridge);
        let mut stations: Vec<Station> = (1..=3).map(|i| Station::behind(&format!("bh-{i}"), "br20", mac(i))).collect();
        stations.push(Station::behind("vlan20", "br20", mac(0x50)));
        let lan = || Endpoint::Segment(segment_of("br20"));
        let outside = || Endpoint::Outside(segment_of("br20"));
        let desired = Desired {
            bridges: vec![bridge],
            nics: vec![
                nic(1, "br20", &["10.0.0.1", "2001:db8::1"]),
                nic(2, "br20", &["10.0.0.2", "2001:db8::2"]),
                nic(3, "br20", &["10.0.0.3"]),
            ],
            allows: vec![
                allow(lan(), lan(), any()),
                allow(lan(), outside(), any()),
                allow(outside(), lan(), any()),
                allow(lan(), Endpoint::Host, any()),
            ],
            ..Desired::default()
        };
        let mut world = World::open();
        world.settle(&desired).await;
        let mut guests: Vec<Wire> = stations.iter().map(Station::wire).collect();
        let outside = guests.pop().unwrap();
        Self { world, desired, guests, outside, _stations: stations }
    }

    /// How many marked frames arrived anywhere but where they were sent.
    fn arrived(&self) -> usize {
        self.guests.iter().chain([&self.outside]).map(Wire::marked).sum()
    }

    /// Sends a frame often; it must not arrive anywhere, and the counter must say how often.
    async fn never(&mut self, from: usize, counter: &str, what: &str, frame: &Frame) {
        self.arrived();
        let before = self.world.counted(counter).await;
        let wire = self.guests.get(from).unwrap_or(&self.outside);
        send_counted(&wire.sender, frame, EACH).unwrap();
        pause(50).await;
        assert_eq!(self.arrived(), 0, "{what} arrived");
        assert_eq!(self.world.counted(counter).await - before, EACH, "{what} is counted as {counter}");
    }

    async fn arrives(&mut self, from: usize, what: &str, frame: &Frame) {
        self.arrived();
        let wire = self.guests.get(from).unwrap_or(&self.outside);
        send_counted(&wire.sender, frame, EACH).unwrap();
        pause(50).await;
        assert_eq!(self.arrived() as u64, EACH, "{what} arrives");
    }
}

const OUTSIDE: usize = 9;

fn packet(from: &str, to: &str) -> Ip {
    udp(from, to, (1000, 2000))
}

#[test]
fn a_guests_frame_with_somebody_elses_name_on_it_never_arrives_and_is_counted() {
    within(|| async {
        let mut scene = Scene::new().await;
        let (v4, v6) = (packet("10.0.0.1", "10.0.0.2"), packet("2001:db8::1", "2001:db8::2"));
        let (one, two) = (mac(1), mac(2));
        let from = |address| packet(address, "10.0.0.2").frame(one, two);
        let from_v6 = |address| packet(address, "2001:db8::2").frame(one, two);
        let tagged = |tag| v4.frame(one, two).tagged(tag);
        // The bridge learns where the peer is, so that what passes arrives once.
        scene.guests[1].send(&arp(Ether::BROADCAST, 1, two, ("10.0.0.2", "10.0.0.9")));
        pause(50).await;
        scene.arrives(0, "IPv4", &v4.frame(one, two)).await;
        scene.arrives(0, "IPv6", &v6.frame(one, two)).await;
        for (counter, what, frame) in [
            (SPOOFED_MAC, "a stranger's MAC", v4.frame(mac(0x66), two)),
            (SPOOFED_MAC, "a neighbour's MAC", v4.frame(two, Ether::BROADCAST)),
            (SPOOFED_MAC, "the bridge's MAC", v4.frame(mac(0x94), Ether::BROADCAST)),
            (SPOOFED_ARP, "a stranger's address in ARP", arp(two, 2, one, ("10.0.0.66", "10.0.0.2"))),
            (SPOOFED_ARP, "a neighbour's address in ARP", arp(Ether::BROADCAST, 1, one, ("10.0.0.2", "10.0.0.2"))),
            (SPOOFED_ARP, "a neighbour's MAC in ARP", arp_from(one, two, 2, two, ("10.0.0.1", "10.0.0.2"))),
            (SPOOFED_ARP, "an unknown operation of ARP", arp(two, 9, one, ("10.0.0.1", "10.0.0.2"))),
            (SPOOFED_IPV4, "a stranger's IPv4", from("10.0.0.66")),
            (SPOOFED_IPV4, "a neighbour's IPv4", from("10.0.0.3")),
            (SPOOFED_IPV4, "no IPv4", from("0.0.0.0")),
            (SPOOFED_IPV6, "a stranger's IPv6", from_v6("2001:db8::66")),
            (SPOOFED_IPV6, "a neighbour's IPv6", from_v6("2001:db8::3")),
            (SPOOFED_IPV6, "no IPv6", from_v6("::")),
            (SPOOFED_IPV6, "another link-local address", from_v6("fe80::1")),
            (VLAN_TAG, "802.1Q", tagged(Tag::dot1q(30))),
            (VLAN_TAG, "priority tag", tagged(Tag::dot1q(0))),
            (VLAN_TAG, "802.1ad", v6.frame(one, two).tagged(Tag::dot1ad(30))),
            (VLAN_TAG, "802.1Q twice", tagged(Tag::dot1q(30)).tagged(Tag::dot1q(20))),
            (VLAN_TAG, "802.1Q in 802.1ad", tagged(Tag::dot1q(30)).tagged(Tag::dot1ad(20))),
            (ETHERTYPE, "another type", unknown(one.into(), two.into(), &MARK)),
            (ETHERTYPE, "an old tag", tagged(Tag { ether_type: 0x9100, control: 30 })),
            (ETHERTYPE, "LLC", Frame::new(one, two, 30, [&[0xaa, 0xaa, 3], MARK.bytes()].concat())),
        ] {
            scene.never(0, counter, what, &frame).await;
        }
        let own = packet("fe80::5054:ff:fe00:3", "2001:db8::2").frame(mac(3), two);
        scene.never(2, SPOOFED_IPV6, "IPv6 of a NIC that has none", &own).await;
        scene.arrives(0, "IPv6 from the link-local address", &from_v6("fe80::5054:ff:fe00:1")).await;
        let rest = scene.world.plan(&scene.desired).await;
        assert!(rest.is_empty());
    });
}

#[test]
fn nobody_outside_passes_for_a_guest_or_for_the_host() {
    within(|| async {
        let mut scene = Scene::new().await;
        scene.guests[1].send(&arp(Ether::BROADCAST, 1, mac(2), ("10.0.0.2", "10.0.0.9")));
        pause(50).await;
        let (outside, two) = (mac(0x50), mac(2));
        let own = packet("10.0.0.9", "10.0.0.2");
        scene.arrives(OUTSIDE, "IPv4", &own.frame(outside, two)).await;
        let advert = |target| {
            let packet = about("2001:db8::9", "2001:db8::2", neighbour::ADVERTISEMENT, target, MARK.bytes());
            packet.frame(outside, two)
        };
        for (counter, what, frame) in [
            (SPOOFED_MAC, "a guest's MAC", own.frame(mac(1), two)),
            (SPOOFED_MAC, "the bridge's MAC", own.frame(mac(0x94), two)),
            (SPOOFED_ARP, "a guest's address in ARP", arp(two, 2, outside, ("10.0.0.1", "10.0.0.2"))),
            (SPOOFED_ARP, "a guest's MAC in ARP", arp_from(outside, two, 2, mac(1), ("10.0.0.9", "10.0.0.2"))),
            (SPOOFED_IPV4, "a guest's IPv4", packet("10.0.0.1", "10.0.0.2").frame(outside, two)),
            (SPOOFED_IPV6, "a guest's IPv6", packet("2001:db8::1", "2001:db8::2").frame(outside, two)),
            (SPOOFED_IPV6, "a guest's IPv6, advertised", advert("2001:db8::1")),
            (SPOOFED_IPV6, "a guest's link-local address, advertised", advert("fe80::5054:ff:fe00:1")),
            (VLAN_TAG, "a tag", own.frame(outside, two).tagged(Tag::dot1q(7))),
            (ETHERTYPE, "another type", unknown(outside.into(), two.into(), &MARK)),
        ] {
            scene.never(OUTSIDE, counter, what, &frame).await;
        }
        scene.arrives(OUTSIDE, "an advertisement of its own", &advert("2001:db8::9")).await;
    });
}

#[test]
fn a_port_that_nobody_declared_gets_nothing_in_and_nothing_out() {
    within(|| async {
        let mut scene = Scene::new().await;
        let stranger = Station::behind("tap9", "br20", mac(9));
        scene.guests.push(stranger.wire());
        let frame = packet("10.0.0.9", "10.0.0.255").frame(mac(9), Ether::BROADCAST);
        scene.never(3, UNDECLARED, "its frame", &frame).await;
        let before = scene.world.counted(UNDECLARED).await;
        let frame = packet("10.0.0.1", "10.0.0.255").frame(mac(1), Ether::BROADCAST);
        send_counted(&scene.guests[0].sender, &frame, EACH).unwrap();
        pause(50).await;
        assert_eq!(scene.guests[3].frames().len(), 0);
        assert!(scene.world.counted(UNDECLARED).await >= before + EACH);
        // A declared port on another bridge is as strange there.
        let other = segment(21, true);
        make_bridge(&other);
        scene.desired.bridges.push(other);
        scene.world.settle(&scene.desired).await;
        run("ip link set bh-1 master br21");
        let _far = Station::behind("vlan21", "br21", mac(0x51));
        scene.never(0, UNDECLARED, "a frame on the wrong bridge", &frame).await;
    });
}

#[test]
fn frames_of_other_bridges_are_not_looked_at() {
    within(|| async {
        let mut scene = Scene::new().await;
        make_bridge(&Bridge { name: name("virbr0"), ..segment(77, true) });
        let (a, b) = (Station::behind("vnet0", "virbr0", mac(7)), Station::behind("vnet1", "virbr0", mac(8)));
        let (a, b) = (a.wire(), b.wire());
        let before: Vec<Counter> = scene.world.observe().await.counters;
        let v4 = packet("1.2.3.4", "10.0.0.2").frame(mac(0x66), Ether::BROADCAST);
        for frame in [
            v4.clone(),
            arp_from(mac(0x66), Ether::BROADCAST, 2, mac(2), ("10.0.0.1", "10.0.0.2")),
            v4.tagged(Tag::dot1q(30)),
            unknown(mac(0x66).into(), Ether::BROADCAST, &MARK),
        ] {
            a.send(&frame);
            pause(50).await;
            assert_eq!(b.frames().len(), 1, "{frame:x?}");
        }
        assert_eq!(scene.world.observe().await.counters, before);
    });
}

#[test]
fn arp_reaches_a_guest_only_for_its_own_addresses() {
    within(|| async {
        let mut scene = Scene::new().await;
        let ask = |target| arp(Ether::BROADCAST, 1, mac(0x50), ("10.0.0.9", target));
        scene.outside.send(&ask("10.0.0.2"));
        pause(50).await;
        let got: Vec<usize> = scene.guests.iter().map(|wire| wire.frames().len()).collect();
        assert_eq!(got, [0, 1, 0], "asked for guest 2");
        let before = scene.world.counted(FLOODED).await;
        scene.outside.send(&ask("10.0.0.66"));
        pause(50).await;
        assert_eq!(scene.arrived(), 0);
        assert_eq!(scene.world.counted(FLOODED).await - before, 3);
        // A guest may probe for its address, and be answered by who has it.
        scene.guests[0].send(&arp(Ether::BROADCAST, 1, mac(1), ("0.0.0.0", "10.0.0.1")));
        pause(50).await;
        assert_eq!(scene.outside.frames().len(), 1, "the probe is heard");
        scene.outside.send(&arp(mac(1), 2, mac(0x50), ("10.0.0.9", "0.0.0.0")));
        pause(50).await;
        assert_eq!(scene.guests[0].frames().len(), 1);
    });
}
