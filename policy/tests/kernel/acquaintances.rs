//! Whom a guest is made known to, and what passes of it without an allow.

use bulkhead_packet::Ether;
use bulkhead_packet::arp::REQUEST;
use bulkhead_packet::ip::Ip;
use bulkhead_packet::neighbour::{ADVERTISEMENT, SOLICITATION, discovery, group, solicited_node};
use bulkhead_policy::counters::*;

use crate::frame::*;
use crate::world::*;

#[test]
fn who_listens_to_a_group_says_so_to_outside_and_is_asked_from_there_alone() {
    within(|| async {
        let lan = Lan::new(2, false, Vec::new()).await;
        let (one, two, outside) = (lan.guests[0].wire(), lan.guests[1].wire(), lan.outside.wire());
        let (own, all) = ("fe80::5054:ff:fe00:1", "ff02::16");
        let mld = |source: &str, to: &str, kind, hops| {
            let message = discovery(ends(source, to), kind, &[0; 20]);
            Ip { hops, ..message }
        };
        let frame =
            |packet: bulkhead_packet::ip::Ip, from: u8, to: &str| packet.frame(mac(from), group(to.parse().unwrap()));
        for kind in [131, 132, 143] {
            let report = frame(mld(own, all, kind, 1), 1, all);
            assert!(arrives(&one, &outside, &report).await, "{kind}");
            assert!(!arrives(&one, &two, &report).await, "{kind}");
            let routed = frame(mld(own, all, kind, 64), 1, all);
            assert!(!arrives(&one, &outside, &routed).await, "{kind} is never routed");
            let elsewhere = frame(mld("2001:db8::1", all, kind, 1), 1, all);
            assert!(!arrives(&one, &outside, &elsewhere).await, "{kind} comes from a link-local address");
        }
        let query = |from: u8, source: &str| frame(mld(source, "ff02::1", 130, 1), from, "ff02::1");
        assert!(arrives(&outside, &two, &query(OUTSIDE_MAC, "fe80::9")).await);
        assert!(!arrives(&one, &two, &query(1, own)).await && !arrives(&one, &outside, &query(1, own)).await);
        let unicast = mld(own, "2001:db8::9", 143, 1).frame(mac(1), mac(OUTSIDE_MAC));
        assert!(!arrives(&one, &outside, &unicast).await, "to a group, and to nobody");
        let igmp = |kind: u8, from: &str, to: &str, hops| {
            let message = [&[kind, 0, 0, 0, 224, 1, 2, 3], MARK.bytes()].concat();
            Ip { hops, ..Ip::new(ends(from, to), 2, message) }
        };
        let to_group = Ether([1, 0, 0x5e, 0, 0, 0x16]);
        for kind in 0..=0xff {
            let report = [0x12, 0x16, 0x17, 0x22].contains(&kind);
            let out = igmp(kind, "10.0.0.1", "224.0.0.22", 1).frame(mac(1), to_group);
            let back = igmp(kind, "10.0.0.9", "224.0.0.1", 1).frame(mac(OUTSIDE_MAC), Ether([1, 0, 0x5e, 0, 0, 1]));
            one.send(&out);
            outside.send(&back);
            pause(20).await;
            assert_eq!((outside.marked(), two.marked()), (usize::from(report), usize::from(kind == 0x11)), "{kind:#x}");
        }
        let routed = igmp(0x16, "10.0.0.1", "224.0.0.22", 2).frame(mac(1), to_group);
        assert!(!arrives(&one, &outside, &routed).await, "it is never routed");
        let unicast = igmp(0x16, "10.0.0.1", "10.0.0.9", 1).frame(mac(1), mac(OUTSIDE_MAC));
        assert!(!arrives(&one, &outside, &unicast).await);
    });
}

#[test]
fn neighbours_are_made_known_to_each_other_only_where_they_have_an_allow() {
    within(|| async {
        let mut lan = Lan::new(3, false, Vec::new()).await;
        let wires: Vec<Wire> = lan.guests.iter().map(Station::wire).collect();
        let ask = |from: u8, to: u8| {
            let (own, target) = (format!("10.0.0.{from}"), format!("10.0.0.{to}"));
            arp(Ether::BROADCAST, REQUEST, mac(from), (&own, &target))
        };
        let solicit = |from: u8, to: u8| {
            let target = format!("2001:db8::{to}");
            let node = solicited_node(target.parse().unwrap());
            let packet = about(&format!("2001:db8::{from}"), &node.to_string(), SOLICITATION, &target, &[]);
            packet.frame(mac(from), group(node))
        };
        let advertise = |from: u8, to: u8| {
            let own = format!("2001:db8::{from}");
            about(&own, &format!("2001:db8::{to}"), ADVERTISEMENT, &own, &[]).frame(mac(from), mac(to))
        };
        let one_way = |from, to| vec![allow(from, to, tcp(&[80]))];
        for (allows, acquainted) in [
            (Vec::new(), vec![]),
            (one_way(guest(1), guest(2)), vec![(1, 2)]),
            (one_way(guest(1), crate::world::lan()), vec![(1, 2), (1, 3)]),
            (one_way(crate::world::lan(), guest(3)), vec![(1, 3), (2, 3)]),
            (one_way(crate::world::lan(), crate::world::lan()), vec![(1, 2), (1, 3), (2, 3)]),
            (one_way(crate::world::lan(), outside()), vec![]),
        ] {
            lan.allow(allows).await;
            for (from, to) in [(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)] {
                let known = acquainted.contains(&(from.min(to), from.max(to)));
                let (a, b) = (&wires[usize::from(from) - 1], &wires[usize::from(to) - 1]);
                for frame in [ask(from, to), solicit(from, to), advertise(from, to)] {
                    assert_eq!(arrives(a, b, &frame).await, known, "{from} to {to} where {acquainted:?}: {frame:x?}");
                }
            }
        }
    });
}

#[test]
fn no_fragment_is_kept_of_a_guest_that_has_nobody_to_send_it_to() {
    within(|| async {
        let mut lan = Lan::new(2, false, vec![allow(guest(1), outside(), any())]).await;
        let (two, outside) = (lan.guests[1].wire(), lan.outside.wire());
        let kept = || {
            let text = std::fs::read_to_string("/proc/thread-self/net/sockstat").unwrap();
            let line = text.lines().find(|line| line.starts_with("FRAG:")).unwrap().to_owned();
            let text = std::fs::read_to_string("/proc/thread-self/net/sockstat6").unwrap();
            let line6 = text.lines().find(|line| line.starts_with("FRAG6:")).unwrap().to_owned();
            (line, line6)
        };
        let half = |from: u8, v4: bool, id| {
            let (own, to) =
                if v4 { (format!("10.0.0.{from}"), "10.0.0.9") } else { (format!("2001:db8::{from}"), "2001:db8::9") };
            let [half, _] = long_udp(&own, to, (1, 2)).fragments(id, 80);
            half.frame(mac(from), mac(OUTSIDE_MAC))
        };
        let nothing = kept();
        let before = lan.world.counted(FRAGMENT).await;
        for id in 0..50 {
            two.send(&half(2, true, id));
            two.send(&half(2, false, id));
        }
        pause(100).await;
        assert_eq!(kept(), nothing, "no memory is taken");
        assert_eq!(lan.world.counted(FRAGMENT).await - before, 100);
        assert_eq!(outside.marked(), 0);
        lan.guests[0].wire().send(&half(1, true, 99));
        pause(100).await;
        assert_ne!(kept().0, nothing.0, "the test sees what is kept");
        lan.outside.serves_udp("[::]:53");
        assert_eq!(
            lan.guests[0].asks("10.0.0.1:0", "10.0.0.9:53", 4000),
            Ok(true),
            "who has somebody sends in parts too"
        );
        assert_eq!(lan.guests[0].asks("[2001:db8::1]:0", "[2001:db8::9]:53", 4000), Ok(true));
    });
}
