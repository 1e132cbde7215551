//! Neighbour discovery, router advertisements and DHCP.

use std::net::Ipv6Addr;

use bulkhead_packet::dhcp::{CLIENT_PORT, Message, SERVER_PORT};
use bulkhead_packet::ip::{FRAGMENT, Ip};
use bulkhead_packet::neighbour::{ADVERTISEMENT, ALL_NODES, SOLICITATION, discovery, group, router_advertisement};
use bulkhead_packet::{Ether, transport};
use bulkhead_policy::counters::*;
use bulkhead_policy::model::*;
use bulkhead_types::Mac;

use crate::frame::*;
use crate::world::*;

/// Guests 1 and 2 with IPv6 on `br20`, nothing allowed or everything.
async fn lan(allows: Vec<Allow>) -> (Lan, Wire, Wire, Wire) {
    let lan = Lan::new(2, false, allows).await;
    let wires = (lan.guests[0].wire(), lan.guests[1].wire(), lan.outside.wire());
    (lan, wires.0, wires.1, wires.2)
}

fn everything() -> Vec<Allow> {
    let (lan, outside) = (crate::world::lan, outside);
    vec![allow(lan(), lan(), any()), allow(lan(), outside(), any()), allow(outside(), lan(), any())]
}

/// ICMPv6 type of the question for a router.
const ROUTER_SOLICITATION: u8 = 133;
/// ICMPv6 type of a router's word that another way is shorter.
const REDIRECT: u8 = 137;
/// Number of the header with options for the destination.
const OPTIONS: u8 = 60;

#[test]
fn neighbours_are_solicited_and_advertised_only_for_pinned_addresses() {
    within(|| async {
        let acquainted = vec![allow(crate::world::lan(), crate::world::lan(), tcp(&[80]))];
        let (mut lan, one, two, outside) = lan(acquainted).await;
        let of_two = Ether([0x33, 0x33, 0xff, 0, 0, 2]);
        let ask =
            |from: Mac, source, target| about(source, "ff02::1:ff00:2", SOLICITATION, target, &[]).frame(from, of_two);
        assert!(arrives(&outside, &two, &ask(mac(OUTSIDE_MAC), "2001:db8::9", "2001:db8::2")).await);
        assert!(!arrives(&outside, &one, &ask(mac(OUTSIDE_MAC), "2001:db8::9", "2001:db8::2")).await, "not its group");
        assert!(arrives(&one, &two, &ask(mac(1), "2001:db8::1", "2001:db8::2")).await);
        assert!(arrives(&one, &outside, &ask(mac(1), "2001:db8::1", "2001:db8::2")).await);
        assert!(!arrives(&one, &two, &ask(mac(1), "::", "2001:db8::2")).await, "a probe for what is not its own");
        let advert = |source, target| about(source, "2001:db8::1", ADVERTISEMENT, target, &[]);
        let tell = |from: Mac, source, target| advert(source, target).frame(from, mac(1));
        assert!(arrives(&two, &one, &tell(mac(2), "2001:db8::2", "2001:db8::2")).await);
        assert!(arrives(&two, &one, &tell(mac(2), "2001:db8::2", "fe80::5054:ff:fe00:2")).await);
        assert!(arrives(&outside, &one, &tell(mac(OUTSIDE_MAC), "2001:db8::9", "2001:db8::9")).await);
        let before = lan.world.counted(SPOOFED_IPV6).await;
        for (from, frame) in [
            (&two, tell(mac(2), "2001:db8::2", "2001:db8::9")),
            (&two, tell(mac(2), "2001:db8::2", "2001:db8::1")),
            (&outside, tell(mac(OUTSIDE_MAC), "2001:db8::9", "2001:db8::2")),
            (&two, Ip { hops: 64, ..advert("2001:db8::2", "2001:db8::2") }.frame(mac(2), mac(1))),
        ] {
            assert!(!arrives(from, &one, &frame).await, "{frame:x?}");
        }
        assert_eq!(lan.world.counted(SPOOFED_IPV6).await - before, 4);
        let ping = discovery(ends("2001:db8::1", "2001:db8::2"), 128, &[0, 1, 0, 1]).frame(mac(1), mac(2));
        assert!(!arrives(&one, &two, &ping).await, "a ping is no discovery");
    });
}

#[test]
fn a_guest_is_no_router_whatever_is_allowed() {
    within(|| async {
        let (mut lan, one, two, outside) = lan(everything()).await;
        let link_local = "fe80::5054:ff:fe00:1";
        let advert = |from: Mac, source: &str| router_advertisement(source.parse().unwrap(), from.into());
        let to_all = |packet: Ip, from: Mac| packet.frame(from, group(ALL_NODES));
        let router = to_all(advert(mac(OUTSIDE_MAC), "fe80::9"), mac(OUTSIDE_MAC));
        assert!(arrives(&outside, &two, &router).await, "the router outside is heard");
        let before = lan.world.counted(ROGUE).await;
        let shorter = "2001:db8::9";
        let destination = shorter.parse::<Ipv6Addr>().unwrap().octets();
        let redirect = about(link_local, "2001:db8::2", REDIRECT, shorter, &destination).frame(mac(1), mac(2));
        let whole = advert(mac(1), link_local);
        for frame in [to_all(whole.clone(), mac(1)), redirect] {
            assert!(!arrives(&one, &two, &frame).await, "{frame:x?}");
        }
        assert!(lan.world.counted(ROGUE).await >= before + 2);
        // In fragments, as one fragment that is whole, and behind an extension header.
        let behind = |protocol, header: [u8; 8]| {
            let payload = [&header, whole.payload.as_slice()].concat();
            Ip { protocol, payload, ..whole.clone() }
        };
        let options = behind(OPTIONS, [58, 0, 1, 4, 0, 0, 0, 0]);
        let cut = [whole.clone().fragments(7, 8), options.clone().fragments(8, 8), options.clone().fragments(9, 16)];
        let atomic = behind(FRAGMENT, [58, 0, 0, 0, 9, 9, 9, 9]);
        for packet in cut.into_iter().flatten().chain([atomic, options]) {
            one.send(&to_all(packet, mac(1)));
        }
        pause(200).await;
        // Its kernel reports its multicast groups, to other groups than this one.
        let heard: Vec<_> = two.frames().into_iter().filter(|frame| frame.destination == group(ALL_NODES)).collect();
        assert!(heard.iter().all(|frame| frame.source != mac(1).into()), "{heard:x?}");
        let routers = "ff02::2";
        let solicit = discovery(ends(link_local, routers), ROUTER_SOLICITATION, &[0; 4]);
        let solicit = solicit.frame(mac(1), group(routers.parse().unwrap()));
        assert!(arrives(&one, &outside, &solicit).await, "it may ask for a router");
    });
}

#[test]
fn dhcp_passes_between_a_nic_that_may_and_outside_and_no_guest_is_a_server() {
    within(|| async {
        let (mut lan, one, two, outside) = lan(everything()).await;
        lan.desired.allows.clear();
        lan.desired.nics[0].dhcp = true;
        lan.world.settle(&lan.desired).await;
        let (ask, answer) = ((CLIENT_PORT, SERVER_PORT), (SERVER_PORT, CLIENT_PORT));
        let message = |from: &str, to: &str, ports: (u16, u16), bytes: &[u8]| {
            transport::udp(ends(from, to), ports.0, ports.1, bytes)
        };
        let of = |client: u8| Message::discover(mac(client).into(), 7);
        let discover = |from: u8, client| {
            message("0.0.0.0", "255.255.255.255", ask, &of(client).bytes()).frame(mac(from), Ether::BROADCAST)
        };
        let offered =
            |client| of(client).answer("10.0.0.9".parse().unwrap(), "10.0.0.1".parse().unwrap()).unwrap().bytes();
        let offer = |from: u8, source, client| {
            message(source, "255.255.255.255", answer, &offered(client)).frame(mac(from), Ether::BROADCAST)
        };
        let renew = |client| message("10.0.0.1", "10.0.0.9", ask, &of(client).bytes()).frame(mac(1), mac(OUTSIDE_MAC));
        assert!(arrives(&one, &outside, &discover(1, 1)).await);
        assert!(arrives(&one, &outside, &renew(1)).await);
        assert!(arrives(&outside, &one, &offer(OUTSIDE_MAC, "10.0.0.9", 1)).await);
        assert!(!arrives(&one, &two, &discover(1, 1)).await, "not to other guests");
        assert!(!arrives(&outside, &two, &offer(OUTSIDE_MAC, "10.0.0.9", 2)).await, "its NIC may not");
        assert!(!arrives(&two, &outside, &discover(2, 2)).await, "its NIC may not");
        let before = lan.world.counted(DHCP).await;
        for forged in [discover(1, 2), discover(1, 9), renew(2)] {
            assert!(!arrives(&one, &outside, &forged).await, "in the name of another client");
        }
        let noise = [&[1, 1, 6], &[7; 300][..]].concat();
        assert!(
            !arrives(&one, &outside, &message("10.0.0.1", "10.0.0.9", ask, &noise).frame(mac(1), mac(OUTSIDE_MAC)))
                .await
        );
        assert!(!arrives(&one, &outside, &udp("10.0.0.1", "10.0.0.9", ask).frame(mac(1), mac(OUTSIDE_MAC))).await);
        assert_eq!(lan.world.counted(DHCP).await - before, 5);
        let unicast = message("0.0.0.0", "10.0.0.9", ask, &of(1).bytes()).frame(mac(1), mac(OUTSIDE_MAC));
        assert!(!arrives(&one, &outside, &unicast).await, "without an address only to all");
        assert!(!arrives(&outside, &one, &offer(OUTSIDE_MAC, "10.0.0.9", 2)).await, "for another client");
        assert!(
            !arrives(
                &outside,
                &one,
                &udp("10.0.0.9", "255.255.255.255", answer).frame(mac(OUTSIDE_MAC), Ether::BROADCAST)
            )
            .await
        );
        lan.desired.allows = everything();
        lan.world.settle(&lan.desired).await;
        let before = lan.world.counted(ROGUE).await;
        for port in [SERVER_PORT, 1067] {
            let offer = message("10.0.0.2", "255.255.255.255", (port, CLIENT_PORT), &offered(1))
                .frame(mac(2), Ether::BROADCAST);
            assert!(!arrives(&two, &one, &offer).await, "a guest is no server, whatever port it speaks from");
            let six = udp("2001:db8::2", "2001:db8::1", (port, 546)).frame(mac(2), mac(1));
            assert!(!arrives(&two, &one, &six).await, "nor with IPv6");
        }
        assert!(lan.world.counted(ROGUE).await >= before + 4);
    });
}
