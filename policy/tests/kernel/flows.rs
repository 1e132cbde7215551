//! What an allow lets through, and what it does not: real connections.

use std::io::ErrorKind;

use bulkhead_packet::ip::{ICMP, Ip};
use bulkhead_packet::{Frame, ethernet::IPV4, transport};
use bulkhead_policy::counter;
use bulkhead_policy::counters::FORBIDDEN;
use bulkhead_policy::model::*;

use crate::frame::*;
use crate::talk::alive;
use crate::world::*;

#[test]
fn allowed_ports_connect_and_get_their_replies_and_others_do_not() {
    within(|| async {
        let web = allow(guest(1), outside(), tcp(&[80, 443]));
        let mut lan = Lan::new(2, false, vec![web.clone(), allow(guest(1), guest(2), tcp(&[22]))]).await;
        for port in [80, 443, 81] {
            lan.outside.serves_tcp(&format!("[::]:{port}"));
        }
        lan.guests[1].serves_tcp("[::]:22");
        lan.guests[1].serves_tcp("[::]:80");
        lan.guests[0].serves_tcp("[::]:80");
        for address in ["10.0.0.9:80", "10.0.0.9:443", "[2001:db8::9]:80"] {
            let mut stream = lan.guests[0].connects(address).unwrap_or_else(|| panic!("{address}"));
            assert!(alive(&mut stream), "{address}");
        }
        assert_eq!(lan.world.counted(&counter(&web)).await, 3, "one packet a flow");
        assert!(lan.guests[0].connects("10.0.0.2:22").is_some());
        assert!(lan.guests[0].connects("[2001:db8::2]:22").is_some());
        let before = lan.world.counted(FORBIDDEN).await;
        for (from, address) in [
            (&lan.guests[0], "10.0.0.9:81"),
            (&lan.guests[0], "10.0.0.2:80"),
            (&lan.guests[1], "10.0.0.9:80"),
            (&lan.guests[1], "10.0.0.1:80"),
            (&lan.outside, "10.0.0.1:80"),
            (&lan.outside, "[2001:db8::1]:80"),
        ] {
            assert!(from.connects(address).is_none(), "{address}");
        }
        assert!(lan.world.counted(FORBIDDEN).await >= before + 6);
    });
}

#[test]
fn a_flow_that_runs_is_cut_when_its_allow_goes_and_runs_on_when_it_comes_back() {
    within(|| async {
        let web = || vec![allow(guest(1), outside(), tcp(&[80])), allow(guest(1), outside(), tcp(&[443]))];
        let mut lan = Lan::new(1, false, web()).await;
        lan.outside.serves_tcp("0.0.0.0:80");
        lan.outside.serves_tcp("0.0.0.0:443");
        let mut http = lan.guests[0].connects("10.0.0.9:80").unwrap();
        let mut https = lan.guests[0].connects("10.0.0.9:443").unwrap();
        assert!(alive(&mut http) && alive(&mut https));
        lan.allow(web().split_off(1)).await;
        assert!(!alive(&mut http) && alive(&mut https), "only the flow of the allow that went");
        lan.allow(Vec::new()).await;
        assert!(!alive(&mut https));
        lan.allow(web()).await;
        pause(3000).await;
        assert!(lan.guests[0].connects("10.0.0.9:80").is_some());
        assert!(alive(&mut https), "what TCP sends again gets through");
    });
}

#[test]
fn udp_is_answered_and_nobody_else_speaks_first() {
    within(|| async {
        let lan = Lan::new(2, false, vec![allow(guest(1), outside(), udp_ports(&[53]))]).await;
        for station in [&lan.outside, &lan.guests[0], &lan.guests[1]] {
            station.serves_udp("[::]:53");
            station.serves_udp("[::]:54");
        }
        assert_eq!(lan.guests[0].asks("10.0.0.1:0", "10.0.0.9:53", 10), Ok(true));
        assert_eq!(lan.guests[0].asks("[2001:db8::1]:0", "[2001:db8::9]:53", 10), Ok(true));
        assert_eq!(lan.guests[0].asks("10.0.0.1:0", "10.0.0.9:54", 10), Ok(false));
        assert_eq!(lan.guests[1].asks("10.0.0.2:0", "10.0.0.9:53", 10), Ok(false));
        assert_eq!(lan.outside.asks("10.0.0.9:0", "10.0.0.1:53", 10), Ok(false));
        assert_eq!(lan.guests[0].asks("10.0.0.1:0", "10.0.0.2:53", 10), Ok(false));
    });
}

#[test]
fn fragments_pass_where_the_whole_would() {
    within(|| async {
        let lan = Lan::new(1, false, vec![allow(guest(1), outside(), udp_ports(&[53]))]).await;
        lan.outside.serves_udp("[::]:53");
        lan.outside.serves_udp("[::]:54");
        assert_eq!(lan.guests[0].asks("10.0.0.1:0", "10.0.0.9:53", 4000), Ok(true));
        assert_eq!(lan.guests[0].asks("[2001:db8::1]:0", "[2001:db8::9]:53", 4000), Ok(true));
        assert_eq!(lan.guests[0].asks("10.0.0.1:0", "10.0.0.9:54", 4000), Ok(false));
        assert_eq!(lan.guests[0].asks("[2001:db8::1]:0", "[2001:db8::9]:54", 4000), Ok(false));
    });
}

#[test]
fn errors_about_an_allowed_flow_come_back_and_others_do_not() {
    within(|| async {
        let dns = || allow(guest(1), outside(), udp_ports(&[53]));
        let mut lan = Lan::new(1, false, vec![dns(), allow(guest(1), outside(), udp_ports(&[54]))]).await;
        let refused = Err(ErrorKind::ConnectionRefused);
        assert_eq!(lan.guests[0].asks("10.0.0.1:5000", "10.0.0.9:53", 10), refused);
        assert_eq!(lan.guests[0].asks("[2001:db8::1]:5000", "[2001:db8::9]:53", 10), refused);
        assert_eq!(lan.guests[0].asks("10.0.0.1:5001", "10.0.0.9:54", 10), refused);
        // An error about the flow from 5000 to 53, and one about a flow that never was.
        let about = |from: u16| {
            let inner = udp("10.0.0.1", "10.0.0.9", (from, 53)).bytes();
            let error = transport::icmp(ends("10.0.0.9", "10.0.0.1"), 3, 3, &[&[0; 4], inner.as_slice()].concat());
            error.frame(mac(OUTSIDE_MAC), mac(1))
        };
        let (outside, inside) = (lan.outside.wire(), lan.guests[0].wire());
        let arrives = async |frame| arrives(&outside, &inside, &frame).await;
        assert!(arrives(about(5000)).await, "an error about a flow that runs");
        assert!(!arrives(about(5999)).await, "an error about no flow");
        lan.allow(vec![allow(guest(1), crate::world::outside(), udp_ports(&[54]))]).await;
        assert!(!arrives(about(5000)).await, "the flow is not allowed any more");
        lan.allow(vec![dns()]).await;
        assert!(arrives(about(5000)).await, "and again it is");
    });
}

#[test]
fn a_ping_passes_by_its_type_and_only_its_own_reply_comes_back() {
    within(|| async {
        let lan = Lan::new(2, false, vec![allow(guest(1), outside(), ping())]).await;
        let (inside, outside, other) = (lan.guests[0].wire(), lan.outside.wire(), lan.guests[1].wire());
        let there = |kind| echo("10.0.0.1", "10.0.0.9", kind).frame(mac(1), mac(OUTSIDE_MAC));
        inside.send(&there(8));
        pause(200).await;
        let icmp = |frame: &Frame| Ip::parse(frame).filter(|packet| packet.protocol == ICMP);
        let replies = inside.frames();
        assert!(replies.iter().filter_map(icmp).any(|packet| packet.payload[0] == 0), "{replies:x?}");
        outside.frames();
        inside.send(&there(13));
        inside.send(&there(0));
        other.send(&echo("10.0.0.2", "10.0.0.9", 8).frame(mac(2), mac(OUTSIDE_MAC)));
        pause(200).await;
        let frames = outside.frames();
        assert!(frames.iter().all(|frame| frame.ether_type != IPV4), "{frames:x?}");
        let ping = echo("10.0.0.9", "10.0.0.1", 8).frame(mac(OUTSIDE_MAC), mac(1));
        inside.frames();
        outside.send(&ping);
        pause(200).await;
        assert!(!inside.frames().contains(&ping), "outside does not ping first");
    });
}

#[test]
fn networks_narrow_an_allow_on_both_sides() {
    within(|| async {
        let narrow = |from: &[&str], to: &[&str]| Allow {
            from_net: from.iter().map(|net| net.parse().unwrap()).collect(),
            to_net: to.iter().map(|net| net.parse().unwrap()).collect(),
            ..allow(guest(1), outside(), tcp(&[80]))
        };
        let mut lan = Lan::new(1, false, vec![narrow(&[], &["10.0.0.8/31", "192.168.0.0/16"])]).await;
        lan.outside.address("10.0.0.10/24");
        lan.outside.serves_tcp("[::]:80");
        let reaches = |lan: &Lan, address: &str| lan.guests[0].connects(address).is_some();
        assert!(reaches(&lan, "10.0.0.9:80"));
        assert!(!reaches(&lan, "10.0.0.10:80"));
        assert!(!reaches(&lan, "[2001:db8::9]:80"), "no network of IPv6 is named");
        lan.allow(vec![narrow(&["10.0.0.0/31"], &[])]).await;
        assert!(reaches(&lan, "10.0.0.10:80") && !reaches(&lan, "[2001:db8::9]:80"));
        lan.allow(vec![narrow(&["10.0.0.2/31", "::/0"], &[])]).await;
        assert!(!reaches(&lan, "10.0.0.10:80") && reaches(&lan, "[2001:db8::9]:80"));
        lan.allow(vec![narrow(&["10.0.0.0/8"], &["::/0"])]).await;
        assert!(!reaches(&lan, "10.0.0.9:80") && !reaches(&lan, "[2001:db8::9]:80"));
    });
}

#[test]
fn a_segment_is_its_guests_and_not_what_is_outside() {
    within(|| async {
        let mut lan = Lan::new(3, false, vec![allow(lan(), crate::world::lan(), tcp(&[80]))]).await;
        for station in lan.guests.iter().chain([&lan.outside]) {
            station.serves_tcp("0.0.0.0:80");
        }
        let reach = |lan: &Lan| {
            let all = || lan.guests.iter().chain([&lan.outside]);
            let targets = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.9:80"];
            let row = |from: &Station, own: usize| -> String {
                let one = |(i, to): (usize, &&str)| {
                    if i == own {
                        '-'
                    } else if from.connects(to).is_some() {
                        'y'
                    } else {
                        'n'
                    }
                };
                targets.iter().enumerate().map(one).collect()
            };
            all().enumerate().map(|(own, from)| row(from, own)).collect::<Vec<_>>()
        };
        assert_eq!(reach(&lan), ["-yyn", "y-yn", "yy-n", "nnn-"]);
        lan.allow(vec![
            allow(guest(1), crate::world::lan(), tcp(&[80])),
            allow(crate::world::lan(), outside(), tcp(&[80])),
        ])
        .await;
        assert_eq!(reach(&lan), ["-yyy", "n-ny", "nn-y", "nnn-"]);
        lan.allow(vec![
            allow(crate::world::lan(), guest(1), tcp(&[80])),
            allow(outside(), crate::world::lan(), tcp(&[80])),
        ])
        .await;
        assert_eq!(reach(&lan), ["-nnn", "y-nn", "yn-n", "yyy-"]);
    });
}

#[test]
fn any_lets_everything_through_but_no_one_in_from_the_other_side() {
    within(|| async {
        let lan = Lan::new(1, false, vec![allow(guest(1), outside(), any())]).await;
        lan.outside.serves_tcp("0.0.0.0:80");
        lan.outside.serves_udp("0.0.0.0:80");
        lan.guests[0].serves_tcp("0.0.0.0:80");
        assert!(lan.guests[0].connects("10.0.0.9:80").is_some());
        assert_eq!(lan.guests[0].asks("10.0.0.1:0", "10.0.0.9:80", 4000), Ok(true));
        assert!(lan.outside.connects("10.0.0.1:80").is_none());
        let (inside, outside) = (lan.guests[0].wire(), lan.outside.wire());
        // A protocol that conntrack does not know, and a segment out of no flow.
        for protocol in [2, 253] {
            let packet = Ip::new(ends("10.0.0.1", "10.0.0.9"), protocol, MARK.bytes().to_vec());
            let frame = packet.frame(mac(1), mac(OUTSIDE_MAC));
            assert!(arrives(&inside, &outside, &frame).await, "protocol {protocol}");
        }
    });
}
