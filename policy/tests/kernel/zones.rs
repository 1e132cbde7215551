//! Two bridges with the same addresses: conntrack is one table, and must not take one for the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bulkhead_packet::ip::{self, Ip};
use bulkhead_packet::transport::{ACK, SYN, tcp_segment};
use bulkhead_packet::{Frame, transport};
use bulkhead_policy::model::*;

use crate::frame::*;
use crate::world::*;

/// `br20` and `br30`, alike but for their NICs' MACs: a guest 10.0.0.1 and 10.0.0.9 outside, to which it may speak.
async fn twins() -> (World, [(Wire, Wire, Station, Station); 2]) {
    let mut desired = Desired::default();
    let mut sides = Vec::new();
    for (number, port) in [(20, 1), (30, 4)] {
        let bridge = segment(number, false);
        make_bridge(&bridge);
        let inside = Station::behind(&format!("bh-{port}"), bridge.name.as_str(), mac(port));
        let far = Station::behind(bridge.outside.as_str(), bridge.name.as_str(), mac(OUTSIDE_MAC));
        desired.allows.push(allow(guest(port), Endpoint::Outside(segment_of(bridge.name.as_str())), udp_ports(&[53])));
        desired.nics.push(nic(port, bridge.name.as_str(), &["10.0.0.1", "2001:db8::1"]));
        desired.bridges.push(bridge);
        sides.push((inside.wire(), far.wire(), inside, far));
    }
    let mut world = World::open();
    world.settle(&desired).await;
    (world, sides.try_into().unwrap_or_else(|_| panic!()))
}

#[test]
fn a_flow_on_one_bridge_lets_no_reply_in_on_the_other() {
    within(|| async {
        let (_world, sides) = twins().await;
        let [(in20, out20, ..), (in30, out30, ..)] = &sides;
        for (here, there) in [("10.0.0.1", "10.0.0.9"), ("2001:db8::1", "2001:db8::9")] {
            let ask = |from| udp(here, there, (5000, 53)).frame(mac(from), mac(OUTSIDE_MAC));
            let reply = |to| udp(there, here, (53, 5000)).frame(mac(OUTSIDE_MAC), mac(to));
            assert!(arrives(in20, out20, &ask(1)).await);
            assert!(!arrives(out30, in30, &reply(4)).await, "the answer to the other bridge's flow");
            assert!(arrives(out20, in20, &reply(1)).await);
            assert!(arrives(in30, out30, &ask(4)).await);
            assert!(arrives(out30, in30, &reply(4)).await, "now it has asked, too");
        }
    });
}

#[test]
fn a_fragment_on_one_bridge_completes_nothing_on_the_other() {
    within(|| async {
        let (_world, sides) = twins().await;
        let [(in20, out20, ..), (in30, out30, ..)] = &sides;
        for (from, to) in [("10.0.0.1", "10.0.0.9"), ("2001:db8::1", "2001:db8::9")] {
            let [first, last] = long_udp(from, to, (5000, 53)).fragments(7, 80);
            let sent_from = |part: &Ip, number| part.frame(mac(number), mac(OUTSIDE_MAC));
            in20.send(&sent_from(&first, 1));
            in30.send(&sent_from(&last, 4));
            pause(200).await;
            assert_eq!((out20.marked(), out30.marked()), (0, 0), "{from}");
            in20.send(&sent_from(&last, 1));
            pause(200).await;
            assert!(out20.marked() > 0 && out30.marked() == 0, "{from}: on its own bridge it is whole");
        }
    });
}

/// What the far side of a flow sends, with a number in it.
fn reply(protocol: u8, number: u32) -> Frame {
    let (ends, payload) = (ends("10.0.0.9", "10.0.0.1"), [MARK.bytes(), &number.to_be_bytes()].concat());
    let packet = match protocol {
        // The same numbers each time: to TCP it is the first segment sent again.
        ip::TCP => tcp_segment(ends, (53, 5000), ACK, (701, 101), &payload),
        _ => transport::udp(ends, 53, 5000, &payload),
    };
    packet.frame(mac(OUTSIDE_MAC), mac(1))
}

/// Opens a flow of UDP and one of TCP from the guest.
async fn open_flows(inside: &Wire, far: &Wire) {
    let there = |flags, numbers| {
        let packet = tcp_segment(ends("10.0.0.1", "10.0.0.9"), (5000, 53), flags, numbers, &[]);
        packet.frame(mac(1), mac(OUTSIDE_MAC))
    };
    let answer = tcp_segment(ends("10.0.0.9", "10.0.0.1"), (53, 5000), SYN | ACK, (700, 101), &[]);
    let datagram = udp("10.0.0.1", "10.0.0.9", (5000, 53));
    assert!(arrives(inside, far, &datagram.frame(mac(1), mac(OUTSIDE_MAC))).await);
    assert!(arrives(inside, far, &there(SYN, (100, 0))).await);
    assert!(arrives(far, inside, &answer.frame(mac(OUTSIDE_MAC), mac(1))).await);
    assert!(arrives(inside, far, &there(ACK, (101, 701))).await);
}

#[test]
fn a_flow_goes_on_without_a_lost_reply_over_an_upgrade_and_while_segments_come_and_go() {
    within(|| async {
        let bridge = segment(20, false);
        make_bridge(&bridge);
        let guest_side = Station::behind("bh-1", "br20", mac(1));
        let far_side = Station::behind("vlan20", "br20", mac(OUTSIDE_MAC));
        let (inside, far) = (guest_side.wire(), far_side.wire());
        // What an earlier release left, as far as zones go: `br20` on the second of its trunks.
        run("nft add table bridge bulkhead");
        run("nft add chain bridge bulkhead zone { type filter hook prerouting priority -300; policy accept; }");
        run("nft add rule bridge bulkhead zone ether type { ip, ip6 } ct zone set meta ibrname map { br20 : 4116 }");
        open_flows(&inside, &far).await;

        let what = Traffic { udp: vec![53..=53], ..tcp(&[53]) };
        let allows = vec![allow(guest(1), Endpoint::Outside(segment_of("br20")), what)];
        let mut desired =
            Desired { bridges: vec![bridge], nics: vec![nic(1, "br20", &["10.0.0.1"])], allows, ..Desired::default() };
        let mut world = World::open();
        world.settle(&desired).await;
        for protocol in [ip::UDP, ip::TCP] {
            assert!(arrives(&far, &inside, &reply(protocol, 0)).await, "protocol {protocol}, after the upgrade");
        }

        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let sender = std::thread::spawn(move || {
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                number += 1;
                for protocol in [ip::UDP, ip::TCP] {
                    far.send(&reply(protocol, number));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            number
        });
        // Both sort before it, by the names of bridge and segment.
        for number in [10, 15] {
            make_bridge(&segment(number, false));
            desired.bridges.push(segment(number, false));
            world.settle(&desired).await;
        }
        for _ in 0..2 {
            desired.bridges.pop();
            world.settle(&desired).await;
        }
        stop.store(true, Ordering::Relaxed);
        let sent = sender.join().unwrap();
        pause(500).await;
        let arrived = inside.frames();
        for protocol in [ip::UDP, ip::TCP] {
            let lost: Vec<u32> = (1..=sent).filter(|number| !arrived.contains(&reply(protocol, *number))).collect();
            assert!(sent > 100 && lost.is_empty(), "of {sent} replies of protocol {protocol} were lost {lost:?}");
        }
    });
}
