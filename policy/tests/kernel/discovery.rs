//! Neighbour discovery, router advertisements and DHCP.

use bulkhead_policy::counters::*;
use bulkhead_policy::model::*;
use bulkhead_types::Mac;

use crate::frame::*;
use crate::sys::Wire;
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

async fn arrives(from: &Wire, to: &Wire, frame: &[u8]) -> bool {
    to.frames();
    from.send(frame);
    pause(60).await;
    to.frames().iter().any(|got| got == frame)
}

fn nd(to: impl Into<Target>, from: Mac, source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    ethernet(to, from, IPV6, &ipv6(source, destination, 58, 255, payload))
}

const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const GROUP_OF_2: [u8; 6] = [0x33, 0x33, 0xff, 0, 0, 2];

#[test]
fn neighbours_are_solicited_and_advertised_without_any_allow_but_only_for_pinned_addresses() {
    within(|| async {
        let (mut lan, one, two, outside) = lan(Vec::new()).await;
        let ask = |from: Mac, source, target| nd(GROUP_OF_2, from, source, "ff02::1:ff00:2", &neighbour(135, target));
        assert!(arrives(&outside, &two, &ask(mac(OUTSIDE_MAC), "2001:db8::9", "2001:db8::2")).await);
        assert!(!arrives(&outside, &one, &ask(mac(OUTSIDE_MAC), "2001:db8::9", "2001:db8::2")).await, "not its group");
        assert!(arrives(&one, &two, &ask(mac(1), "2001:db8::1", "2001:db8::2")).await);
        assert!(arrives(&one, &outside, &ask(mac(1), "2001:db8::1", "2001:db8::2")).await);
        assert!(arrives(&one, &two, &ask(mac(1), "::", "2001:db8::2")).await, "detection of duplicates");
        let tell = |from: Mac, source, target| nd(mac(1), from, source, "2001:db8::1", &neighbour(136, target));
        assert!(arrives(&two, &one, &tell(mac(2), "2001:db8::2", "2001:db8::2")).await);
        assert!(arrives(&two, &one, &tell(mac(2), "2001:db8::2", "fe80::5054:ff:fe00:2")).await);
        assert!(arrives(&outside, &one, &tell(mac(OUTSIDE_MAC), "2001:db8::9", "2001:db8::9")).await);
        let before = lan.world.counted(SPOOFED_IPV6).await;
        for (from, frame) in [
            (&two, tell(mac(2), "2001:db8::2", "2001:db8::9")),
            (&two, tell(mac(2), "2001:db8::2", "2001:db8::1")),
            (&outside, tell(mac(OUTSIDE_MAC), "2001:db8::9", "2001:db8::2")),
            (
                &two,
                ethernet(
                    mac(1),
                    mac(2),
                    IPV6,
                    &ipv6("2001:db8::2", "2001:db8::1", 58, 64, &neighbour(136, "2001:db8::2")),
                ),
            ),
        ] {
            assert!(!arrives(from, &one, &frame).await, "{frame:x?}");
        }
        assert_eq!(lan.world.counted(SPOOFED_IPV6).await - before, 4);
        let echo = nd(mac(2), mac(1), "2001:db8::1", "2001:db8::2", &[128, 0, 0, 0, 0, 1, 0, 1]);
        assert!(!arrives(&one, &two, &echo).await, "a ping is no discovery");
    });
}

#[test]
fn a_guest_is_no_router_whatever_is_allowed() {
    within(|| async {
        let (mut lan, one, two, outside) = lan(everything()).await;
        let link_local = "fe80::5054:ff:fe00:1";
        let advert = |from, source| nd(ALL_NODES, from, source, "ff02::1", &router_advertisement());
        assert!(arrives(&outside, &two, &advert(mac(OUTSIDE_MAC), "fe80::9")).await, "the router outside is heard");
        let before = lan.world.counted(ROGUE).await;
        let mut redirect = neighbour(137, "2001:db8::9");
        redirect.extend("2001:db8::9".parse::<std::net::Ipv6Addr>().unwrap().octets());
        for frame in [advert(mac(1), link_local), nd(mac(2), mac(1), link_local, "2001:db8::2", &redirect)] {
            assert!(!arrives(&one, &two, &frame).await, "{frame:x?}");
        }
        assert!(lan.world.counted(ROGUE).await >= before + 2);
        // In fragments, as one fragment that is whole, and behind an extension header.
        let advertisement = router_advertisement();
        let options = [&[58, 0, 1, 4, 0, 0, 0, 0], advertisement.as_slice()].concat();
        let fragments = [
            ipv6_fragments(link_local, "ff02::1", 58, 255, &advertisement, 8),
            ipv6_fragments(link_local, "ff02::1", 60, 255, &options, 8),
            ipv6_fragments(link_local, "ff02::1", 60, 255, &options, 16),
        ];
        let atomic = [58, 0, 0, 0, 9, 9, 9, 9].iter().chain(&advertisement).copied().collect::<Vec<u8>>();
        for packet in fragments
            .iter()
            .flatten()
            .chain(&[ipv6(link_local, "ff02::1", 44, 255, &atomic), ipv6(link_local, "ff02::1", 60, 255, &options)])
        {
            one.send(&ethernet(ALL_NODES, mac(1), IPV6, packet));
        }
        pause(200).await;
        // Its kernel reports its multicast groups, to other groups than this one.
        let heard: Vec<_> = two.frames().into_iter().filter(|frame| frame[..6] == ALL_NODES).collect();
        assert!(heard.iter().all(|frame| frame[6..12] != mac(1).octets()), "{heard:x?}");
        let solicit = nd([0x33, 0x33, 0, 0, 0, 2], mac(1), link_local, "ff02::2", &[133, 0, 0, 0, 0, 0, 0, 0]);
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
        let discover = |from| ethernet(BROADCAST, from, IPV4, &ipv4("0.0.0.0", "255.255.255.255", 17, &udp(68, 67)));
        let offer = |from, source| ethernet(BROADCAST, from, IPV4, &ipv4(source, "255.255.255.255", 17, &udp(67, 68)));
        let renew = ethernet(mac(OUTSIDE_MAC), mac(1), IPV4, &ipv4("10.0.0.1", "10.0.0.9", 17, &udp(68, 67)));
        assert!(arrives(&one, &outside, &discover(mac(1))).await);
        assert!(arrives(&one, &outside, &renew).await);
        assert!(arrives(&outside, &one, &offer(mac(OUTSIDE_MAC), "10.0.0.9")).await);
        assert!(!arrives(&one, &two, &discover(mac(1))).await, "not to other guests");
        assert!(!arrives(&outside, &two, &offer(mac(OUTSIDE_MAC), "10.0.0.9")).await, "its NIC may not");
        assert!(!arrives(&two, &outside, &discover(mac(2))).await, "its NIC may not");
        lan.desired.allows = everything();
        lan.world.settle(&lan.desired).await;
        let before = lan.world.counted(ROGUE).await;
        assert!(!arrives(&two, &one, &offer(mac(2), "10.0.0.2")).await, "a guest is no server");
        let six = ethernet(mac(1), mac(2), IPV6, &ipv6("2001:db8::2", "2001:db8::1", 17, 64, &udp(547, 546)));
        assert!(!arrives(&two, &one, &six).await, "nor with IPv6");
        assert!(lan.world.counted(ROGUE).await >= before + 2);
    });
}
