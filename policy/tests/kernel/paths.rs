//! Every way that a frame could take around the rules, counted where it would arrive.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use bulkhead_packet::arp::{REPLY, REQUEST};
use bulkhead_packet::ethernet::ARP;
use bulkhead_packet::ip::{ICMPV6, Ip};
use bulkhead_packet::neighbour::{ADVERTISEMENT, SOLICITATION, group, solicited_node};
use bulkhead_packet::{Ether, Frame, Tag};
use bulkhead_policy::counters::*;
use bulkhead_policy::model::*;

use crate::frame::*;
use crate::talk::{connects, serve_tcp};
use crate::world::*;

const BRIDGE_MAC: u8 = 0x80 + 20;
/// An address of the host that it has on no segment.
const ELSEWHERE: &str = "10.9.9.9";
/// Where the host listens.
const PORT: u16 = 9;

/// The host with an address on another link, and a socket for all of its addresses.
fn host_listens() -> UdpSocket {
    run("ip link set lo up");
    run(&format!("ip address add {ELSEWHERE}/32 dev lo"));
    for key in ["all", "default", "br20", "bh-1", "vlan20"] {
        sysctl(&format!("ipv4/conf/{key}/rp_filter"), "0");
    }
    let socket = UdpSocket::bind(("0.0.0.0", PORT)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// How many datagrams came to it since the last call.
async fn received(socket: &UdpSocket) -> usize {
    pause(100).await;
    let mut buffer = [0; 2048];
    let mut count = 0;
    loop {
        match socket.recv(&mut buffer) {
            Ok(_) => count += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return count,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Whether some ARP answer came since the last call.
fn answered(wire: &Wire) -> bool {
    wire.frames().iter().any(|frame| frame.ether_type == ARP && frame.payload.get(7) == Some(&2))
}

/// What would tell somebody about the host, or get something to it, for one destination.
fn intrusions(from: u8, to: Ether) -> [Frame; 3] {
    [
        arp(to, REQUEST, mac(from), ("0.0.0.0", ELSEWHERE)),
        arp(to, REQUEST, mac(from), ("10.77.0.1", ELSEWHERE)),
        udp("10.77.0.1", ELSEWHERE, (7, PORT)).frame(mac(from), to),
    ]
}

#[test]
fn no_link_local_group_leads_to_the_host_past_the_bridge_whether_or_not_the_bridge_forwards_it() {
    within(|| async {
        for host in [false, true] {
            let everything = vec![allow(lan(), outside(), any()), allow(lan(), Endpoint::Host, any())];
            let lan = Lan::new(1, host, if host { everything } else { everything[..1].to_vec() }).await;
            let socket = host_listens();
            let stations = [(&lan.guests[0], 1), (&lan.outside, OUTSIDE_MAC)];
            let wires: Vec<(Wire, u8)> = stations.iter().map(|(station, mac)| (station.wire(), *mac)).collect();
            for mask in ["0", "0xfff8"] {
                run(&format!("ip link set br20 type bridge group_fwd_mask {mask}"));
                for last in 0..16 {
                    for (wire, from) in &wires {
                        for frame in intrusions(*from, Ether([1, 0x80, 0xc2, 0, 0, last])) {
                            wire.send(&frame);
                        }
                    }
                }
                assert_eq!(received(&socket).await, 0, "host {host}, mask {mask}");
                for (wire, from) in &wires {
                    assert!(!answered(wire), "host {host}, mask {mask}: the host answers {from}");
                }
            }
            run("ip link set br20 type bridge group_fwd_mask 0");
            // Without the rules the same frames arrive: the test can see them.
            lan.world.close().await;
            for family in ["bridge", "inet", "arp"] {
                run(&format!("nft delete table {family} bulkhead"));
            }
            for frame in intrusions(1, Ether([1, 0x80, 0xc2, 0, 0, 0xe])) {
                wires[0].0.send(&frame);
            }
            assert_eq!(received(&socket).await, 1);
            assert!(answered(&wires[0].0));
            drop((wires, lan.guests, lan.outside));
            run("ip link delete br20");
            run(&format!("ip address delete {ELSEWHERE}/32 dev lo"));
        }
    });
}

#[test]
fn a_tag_from_outside_hides_nothing_from_the_rules_whatever_its_vlan() {
    within(|| async {
        let mut lan = Lan::new(1, true, vec![allow(guest(1), Endpoint::Host, any())]).await;
        run("ip address add 10.0.0.254/24 dev br20");
        let socket = host_listens();
        let wire = lan.outside.wire();
        let plain = udp("10.0.0.9", "10.0.0.254", (7, PORT)).frame(mac(OUTSIDE_MAC), mac(BRIDGE_MAC));
        wire.send(&plain);
        assert_eq!(received(&socket).await, 1, "outside speaks with the host");
        let as_guest = udp("10.0.0.1", "10.0.0.254", (7, PORT)).frame(mac(OUTSIDE_MAC), mac(BRIDGE_MAC));
        let claim = arp(mac(BRIDGE_MAC), REPLY, mac(OUTSIDE_MAC), ("10.0.0.1", "10.0.0.254"));
        run("ip neighbour replace 10.0.0.1 lladdr 52:54:00:00:00:01 dev br20 nud stale");
        let before = lan.world.counted(VLAN_TAG).await;
        for tag in [Tag::dot1q(0), Tag::dot1ad(0), Tag::dot1q(20), Tag::dot1q(0x2000)] {
            for frame in [&plain, &as_guest, &claim] {
                wire.send(&frame.clone().tagged(tag));
                wire.send(&frame.clone().tagged(tag).tagged(Tag::dot1q(0)));
            }
        }
        assert_eq!(received(&socket).await, 0);
        let neighbour = run("ip neighbour show 10.0.0.1 dev br20");
        assert!(neighbour.contains("52:54:00:00:00:01"), "{neighbour}");
        assert!(lan.world.counted(VLAN_TAG).await >= before + 24);
    });
}

#[test]
fn nobody_probes_for_an_address_that_is_not_his_own() {
    within(|| async {
        let everything = vec![
            allow(lan(), lan(), any()),
            allow(lan(), outside(), any()),
            allow(outside(), lan(), any()),
            allow(lan(), Endpoint::Host, any()),
        ];
        let mut lan = Lan::new(2, true, everything).await;
        let (one, two, outside) = (lan.guests[0].wire(), lan.guests[1].wire(), lan.outside.wire());
        let probe = |from: u8, target| arp(Ether::BROADCAST, REQUEST, mac(from), ("0.0.0.0", target));
        let detect = |from: u8, target: &str| {
            let to = solicited_node(target.parse().unwrap());
            about("::", &to.to_string(), SOLICITATION, target, &[]).frame(mac(from), group(to))
        };
        let before = (lan.world.counted(SPOOFED_ARP).await, lan.world.counted(SPOOFED_IPV6).await);
        for (v4, v6) in [("10.0.0.2", "2001:db8::2"), ("10.0.0.9", "2001:db8::9"), ("10.0.0.254", "2001:db8::254")] {
            for to in [&two, &outside] {
                assert!(!arrives(&one, to, &probe(1, v4)).await, "a guest probes for {v4}");
                assert!(!arrives(&one, to, &detect(1, v6)).await, "a guest probes for {v6}");
            }
        }
        for (v4, v6) in [("10.0.0.1", "2001:db8::1"), ("10.0.0.2", "2001:db8::2")] {
            for to in [&one, &two] {
                assert!(!arrives(&outside, to, &probe(OUTSIDE_MAC, v4)).await, "outside probes for {v4}");
                assert!(!arrives(&outside, to, &detect(OUTSIDE_MAC, v6)).await, "outside probes for {v6}");
            }
        }
        // A group is shared by addresses that end alike: it is the target that is looked at.
        let other = about("::", "ff02::1:ff00:1", SOLICITATION, "2001:db8:1::1", &[]);
        let other = other.frame(mac(1), group("ff02::1:ff00:1".parse().unwrap()));
        assert!(!arrives(&one, &outside, &other).await);
        let counted = (lan.world.counted(SPOOFED_ARP).await, lan.world.counted(SPOOFED_IPV6).await);
        assert!(counted.0 >= before.0 + 10 && counted.1 >= before.1 + 11, "{before:?}, {counted:?}");
        assert!(arrives(&one, &outside, &probe(1, "10.0.0.1")).await, "one's own");
        assert!(arrives(&one, &outside, &detect(1, "2001:db8::1")).await, "one's own");
        assert!(
            arrives(&outside, &one, &arp(Ether::BROADCAST, REQUEST, mac(OUTSIDE_MAC), ("10.0.0.9", "10.0.0.1"))).await
        );
    });
}

#[test]
fn nobody_makes_an_address_of_the_host_look_taken() {
    within(|| async {
        let lan = Lan::new(1, true, vec![allow(guest(1), Endpoint::Host, any())]).await;
        sysctl("ipv6/conf/br20/disable_ipv6", "0");
        sysctl("ipv6/conf/br20/accept_dad", "1");
        sysctl("ipv6/conf/br20/dad_transmits", "3");
        let wires = [(lan.guests[0].wire(), 1), (lan.outside.wire(), OUTSIDE_MAC)];
        // In one piece; or in two, of which the first has an option alone, so that nothing of the message is seen before it is whole.
        let options = |packet: Ip| {
            let payload = [&[ICMPV6, 0, 1, 4, 0, 0, 0, 0], packet.payload.as_slice()].concat();
            Ip { protocol: 60, payload, ..packet }
        };
        let pieces = |packet: Ip, cut: bool| {
            if cut {
                let hidden = options(packet.clone()).fragments(7, 8);
                packet.fragments(8, 8).into_iter().chain(hidden).collect()
            } else {
                vec![packet]
            }
        };
        let flood = |address: &'static str, cut: bool| {
            let began = Instant::now();
            let to = solicited_node(address.parse().unwrap());
            // The kernel waits up to a second, and then a second after each of the three questions.
            while began.elapsed() < Duration::from_secs(6) {
                for (wire, from) in &wires {
                    let detect = about("::", &to.to_string(), SOLICITATION, address, &[]);
                    let all = "ff02::1";
                    let tell = about(
                        if *from == 1 { "2001:db8::1" } else { "2001:db8::9" },
                        all,
                        ADVERTISEMENT,
                        address,
                        &[2, 1, 0x52, 0x54, 0, 0, 0, *from],
                    );
                    for (packet, to) in [(detect, group(to)), (tell, group(all.parse().unwrap()))] {
                        for piece in pieces(packet, cut) {
                            wire.send(&piece.frame(mac(*from), to));
                        }
                    }
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            run(&format!("ip -6 address show dev br20 to {address}"))
        };
        run("ip address add 2001:db8::254/64 dev br20");
        let seen = flood("2001:db8::254", false);
        assert!(seen.contains("2001:db8::254") && !seen.contains("dadfailed") && !seen.contains("tentative"), "{seen}");
        run("ip address delete 2001:db8::254/64 dev br20");
        run("ip address add 2001:db8::254/64 dev br20");
        let seen = flood("2001:db8::254", true);
        assert!(seen.contains("2001:db8::254") && !seen.contains("dadfailed") && !seen.contains("tentative"), "{seen}");
        // One that is not declared is not watched over: the test can see a failure.
        run("ip address add 2001:db8::77/64 dev br20");
        let seen = flood("2001:db8::77", false);
        assert!(seen.contains("dadfailed"), "{seen}");
    });
}

#[test]
fn a_guest_speaks_with_the_host_at_its_addresses_on_that_segment_alone() {
    within(|| async {
        let mut lan = Lan::new(1, true, vec![allow(guest(1), Endpoint::Host, any())]).await;
        run("ip address add 10.0.0.254/24 dev br20");
        let socket = host_listens();
        serve_tcp(std::net::TcpListener::bind("0.0.0.0:22").unwrap());
        lan.guests[0].run(|| {
            run("ip route add default via 10.0.0.254");
        });
        assert!(lan.guests[0].connects("10.0.0.254:22").is_some());
        let wire = lan.guests[0].wire();
        assert!(lan.guests[0].connects(&format!("{ELSEWHERE}:22")).is_none());
        let to = |address| udp("10.0.0.1", address, (7, PORT)).frame(mac(1), mac(BRIDGE_MAC));
        let before = lan.world.counted(HOST).await;
        wire.send(&to(ELSEWHERE));
        assert_eq!(received(&socket).await, 0);
        assert!(lan.world.counted(HOST).await > before);
        for address in ["10.0.0.254", "10.0.0.255", "255.255.255.255"] {
            let broadcast = address != "10.0.0.254";
            let frame = to(address);
            wire.send(&if broadcast { Frame { destination: Ether::BROADCAST, ..frame } } else { frame });
            assert_eq!(received(&socket).await, 1, "{address}");
        }
        wire.frames();
        wire.send(&arp(Ether::BROADCAST, REQUEST, mac(1), ("10.0.0.1", ELSEWHERE)));
        pause(100).await;
        assert!(!answered(&wire), "nor does it learn of the others");
        wire.send(&arp(Ether::BROADCAST, REQUEST, mac(1), ("10.0.0.1", "10.0.0.254")));
        pause(100).await;
        assert!(answered(&wire));
    });
}

#[test]
fn the_host_is_answered_at_whatever_address_it_opened_a_flow_from() {
    within(|| async {
        let lan = Lan::new(1, true, vec![allow(Endpoint::Host, guest(1), tcp(&[80]))]).await;
        sysctl("ipv6/conf/br20/disable_ipv6", "0");
        run("ip address add 2001:db8::254/64 dev br20 nodad");
        // As a router gives one.
        run("ip address add 2001:db8::beef/64 dev br20 nodad");
        lan.guests[0].serves_tcp("[::]:80");
        let from = "[2001:db8::beef]:0".parse().unwrap();
        let socket = tokio::net::TcpSocket::new_v6().unwrap();
        socket.bind(from).unwrap();
        let connected = socket.connect("[2001:db8::1]:80".parse().unwrap());
        tokio::time::timeout(Duration::from_secs(5), connected).await.expect("an answer").unwrap();
        serve_tcp(std::net::TcpListener::bind("[::]:22").unwrap());
        assert!(lan.guests[0].connects("[2001:db8::beef]:22").is_none(), "and nobody opens one to it");
    });
}

#[test]
fn what_somebody_else_made_under_the_name_of_an_uplink_goes_on() {
    within(|| async {
        let mut lan = Lan::new(1, true, Vec::new()).await;
        run("ip link set vlan20 nomaster");
        run("ip address add 10.77.0.254/24 dev vlan20");
        let socket = host_listens();
        let wire = lan.outside.wire();
        let ping = udp("10.77.0.1", "10.77.0.254", (7, PORT)).frame(mac(OUTSIDE_MAC), Ether::BROADCAST);
        wire.send(&ping);
        assert_eq!(received(&socket).await, 0, "a declared uplink says nothing to the host itself");
        lan.desired.foreign.insert(name("vlan20"));
        lan.world.settle(&lan.desired).await;
        wire.send(&ping);
        assert_eq!(received(&socket).await, 1);
        wire.frames();
        wire.send(&arp(Ether::BROADCAST, REQUEST, mac(OUTSIDE_MAC), ("10.77.0.1", "10.77.0.254")));
        pause(100).await;
        assert!(answered(&wire));
    });
}

#[test]
fn nothing_passes_a_declared_port_on_somebody_else_s_bridge_and_its_other_ports_go_on() {
    within(|| async {
        let everything = vec![allow(lan(), outside(), any()), allow(outside(), lan(), any())];
        let mut lan = Lan::new(1, false, everything).await;
        run("ip link add virbr0 type bridge mcast_snooping 0 stp_state 0");
        run("ip address add 10.0.0.200/24 dev virbr0");
        run("ip link set virbr0 up");
        let (a, b) = (Station::behind("vnet1", "virbr0", mac(0x61)), Station::behind("vnet2", "virbr0", mac(0x62)));
        let (a, b) = (a.wire(), b.wire());
        let wire = lan.guests[0].wire();
        let socket = host_listens();
        run("ip link set virbr0 address 52:54:00:00:00:60");
        let to_host = Ether::from(mac(0x60));
        let between = udp("10.0.0.61", "10.0.0.62", (1, 2)).frame(mac(0x61), mac(0x62));
        let stranger = udp("10.0.0.61", "10.0.0.1", (1, 2)).frame(mac(0x61), Ether::BROADCAST);
        for port in ["bh-1", "vlan20"] {
            let wire = if port == "bh-1" { &wire } else { &lan.outside.wire() };
            run(&format!("ip link set {port} nomaster"));
            run(&format!("ip link set {port} master virbr0"));
            let from = if port == "bh-1" { ("10.0.0.1", mac(1)) } else { ("10.0.0.9", mac(OUTSIDE_MAC)) };
            let own = udp(from.0, "10.0.0.61", (1, 2)).frame(from.1, Ether::BROADCAST);
            let before = lan.world.counted(UNDECLARED).await;
            assert!(!arrives(wire, &a, &own).await, "{port}");
            assert!(!arrives(&a, wire, &stranger).await, "{port}");
            wire.send(&udp(from.0, "10.0.0.200", (7, PORT)).frame(from.1, to_host));
            assert_eq!(received(&socket).await, 0, "{port}");
            wire.frames();
            run("ip neighbour flush dev virbr0 nud all");
            assert!(connects("10.0.0.1:80").is_none());
            assert!(wire.frames().iter().all(|frame| frame.source != to_host), "the host is not heard on {port}");
            assert!(lan.world.counted(UNDECLARED).await >= before + 3);
            assert!(arrives(&a, &b, &between).await, "strangers among themselves");
        }
    });
}

#[test]
fn a_link_that_is_stacked_on_the_bridge_sends_nothing_with_addresses_or_tags_of_its_own() {
    within(|| async {
        let mut lan = Lan::new(1, true, vec![allow(Endpoint::Host, guest(1), any())]).await;
        run("ip address add 10.0.0.254/24 dev br20");
        lan.outside.serves_tcp("0.0.0.0:80");
        let (inside, outside) = (lan.guests[0].wire(), lan.outside.wire());
        assert!(connects("10.0.0.9:80").is_some(), "the host itself");
        run("ip link add link br20 name stacked address 52:54:00:00:00:77 type macvlan mode bridge");
        run("ip link add link br20 name br20.5 type vlan id 5");
        let before = (lan.world.counted(SPOOFED_MAC).await, lan.world.counted(VLAN_TAG).await);
        for (link, source) in [("stacked", mac(0x77)), ("stacked", mac(1)), ("br20.5", mac(BRIDGE_MAC))] {
            run(&format!("ip link set {link} up"));
            let sender = bulkhead_packet::Sender::open(link).unwrap();
            outside.frames();
            inside.frames();
            for to in [Ether::BROADCAST, mac(OUTSIDE_MAC).into(), mac(1).into()] {
                sender.send(&udp("10.0.0.254", "10.0.0.9", (1, 2)).frame(source, to)).unwrap();
            }
            pause(100).await;
            assert_eq!((outside.marked(), inside.marked()), (0, 0), "{link} as {source}");
        }
        let counted = (lan.world.counted(SPOOFED_MAC).await, lan.world.counted(VLAN_TAG).await);
        assert!(counted.0 >= before.0 + 4 && counted.1 > before.1, "{before:?}, {counted:?}");
    });
}
