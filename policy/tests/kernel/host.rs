//! Between a bridge and the host: seen where it is wanted, invisible elsewhere.

use std::net::{TcpListener, UdpSocket};

use bulkhead_packet::{Ether, neighbour};
use bulkhead_policy::counters::*;
use bulkhead_policy::model::*;

use crate::frame::*;
use crate::talk::{alive, asks, connects, serve_tcp, serve_udp};
use crate::world::*;

const BRIDGE_MAC: u8 = 0x80 + 20;

fn host_speaks() {
    run("ip address add 10.0.0.254/24 dev br20");
    run("ip link set lo up");
    for port in [22, 80] {
        serve_tcp(TcpListener::bind(("0.0.0.0", port)).unwrap());
        serve_udp(UdpSocket::bind(("0.0.0.0", port)).unwrap());
    }
}

#[test]
fn where_the_host_is_invisible_nothing_answers_even_with_a_static_neighbour() {
    within(|| async {
        let everything =
            vec![allow(lan(), outside(), any()), allow(outside(), lan(), any()), allow(lan(), Endpoint::Host, any())];
        let mut lan = Lan::new(1, false, everything).await;
        host_speaks();
        for station in [&lan.guests[0], &lan.outside] {
            assert!(station.connects("10.0.0.254:22").is_none(), "no ARP");
            station.neighbour("10.0.0.254", mac(BRIDGE_MAC));
        }
        let before = lan.world.counted(HOST).await;
        let (inside, outside) = (lan.guests[0].wire(), lan.outside.wire());
        for (station, own) in [(&lan.guests[0], "10.0.0.1:0"), (&lan.outside, "10.0.0.9:0")] {
            assert!(station.connects("10.0.0.254:22").is_none());
            assert_eq!(station.asks(own, "10.0.0.254:22", 10), Ok(false));
        }
        inside.send(&echo("10.0.0.1", "10.0.0.254", 8).frame(mac(1), mac(BRIDGE_MAC)));
        inside.send(&arp(Ether::BROADCAST, 1, mac(1), ("10.0.0.1", "10.0.0.254")));
        pause(200).await;
        assert!(lan.world.counted(HOST).await >= before + 5);
        // Nor does the host get anything out.
        run("ip neighbour replace 10.0.0.1 lladdr 52:54:00:00:00:01 dev br20 nud permanent");
        inside.frames();
        outside.frames();
        assert!(connects("10.0.0.1:80").is_none() && connects("10.0.0.9:80").is_none());
        let told = [inside.frames(), outside.frames()].concat();
        assert!(told.iter().all(|frame| frame.source != mac(BRIDGE_MAC).into()), "{told:x?}");
    });
}

#[test]
fn where_the_host_is_seen_outside_speaks_with_it_as_before_and_a_guest_only_by_an_allow() {
    within(|| async {
        let mut lan = Lan::new(2, true, Vec::new()).await;
        host_speaks();
        lan.outside.serves_tcp("0.0.0.0:80");
        lan.guests[0].serves_tcp("0.0.0.0:80");
        assert!(lan.outside.connects("10.0.0.254:22").is_some());
        assert!(connects("10.0.0.9:80").is_some());
        assert_eq!(lan.outside.asks("10.0.0.9:0", "10.0.0.254:80", 4000), Ok(true));
        assert!(lan.guests[0].connects("10.0.0.254:22").is_none() && connects("10.0.0.1:80").is_none());
        let before = lan.world.counted(FORBIDDEN).await;
        lan.guests[0].neighbour("10.0.0.254", mac(BRIDGE_MAC));
        assert!(lan.guests[0].connects("10.0.0.254:22").is_none());
        assert!(lan.world.counted(FORBIDDEN).await > before);
        lan.allow(vec![allow(guest(1), Endpoint::Host, tcp(&[22]))]).await;
        // A neighbour that did not answer is asked again only after a second.
        run("ip neighbour flush dev br20 nud all");
        let mut ssh = lan.guests[0].connects("10.0.0.254:22").unwrap();
        assert!(alive(&mut ssh));
        assert!(lan.guests[0].connects("10.0.0.254:80").is_none() && connects("10.0.0.1:80").is_none());
        assert!(lan.guests[1].connects("10.0.0.254:22").is_none());
        lan.allow(vec![allow(Endpoint::Host, lan_of(20), tcp(&[80]))]).await;
        assert!(!alive(&mut ssh), "what runs is cut");
        assert!(connects("10.0.0.1:80").is_some());
        assert!(lan.guests[0].connects("10.0.0.254:80").is_none());
        lan.allow(vec![allow(lan_of(20), Endpoint::Host, udp_ports(&[80]))]).await;
        assert_eq!(lan.guests[1].asks("10.0.0.2:0", "10.0.0.254:80", 4000), Ok(true), "in fragments too");
        assert_eq!(asks("10.0.0.254:0", "10.0.0.2:80", 10), Ok(false));
    });
}

fn lan_of(number: u8) -> Endpoint {
    Endpoint::Segment(segment_of(&format!("br{number}")))
}

#[test]
fn the_hosts_own_stateful_firewall_knows_the_answers_to_the_hosts_flows() {
    within(|| async {
        let lan = Lan::new(
            1,
            true,
            vec![allow(Endpoint::Host, guest(1), tcp(&[80])), allow(guest(1), Endpoint::Host, tcp(&[22]))],
        )
        .await;
        host_speaks();
        lan.outside.serves_tcp("0.0.0.0:80");
        lan.guests[0].serves_tcp("0.0.0.0:80");
        run("nft add table inet firewall");
        run("nft add chain inet firewall input { type filter hook input priority 0; policy drop; }");
        for rule in ["iifname lo accept", "ct state established,related accept", "tcp dport 22 accept"] {
            run(&format!("nft add rule inet firewall input {rule}"));
        }
        for address in ["10.0.0.9:80", "10.0.0.1:80"] {
            let mut stream =
                connects(address).unwrap_or_else(|| panic!("{address}: the answer is new to the firewall"));
            assert!(alive(&mut stream), "{address}");
        }
        assert_eq!(lan.guests[0].connects("10.0.0.254:22").as_mut().map(alive), Some(true));
        assert!(lan.outside.connects("10.0.0.254:80").is_none(), "the firewall stands");
    });
}

#[test]
fn neighbours_of_ipv6_pass_between_host_and_guest_where_an_allow_is() {
    within(|| async {
        let mut lan = Lan::new(2, true, vec![allow(guest(1), Endpoint::Host, tcp(&[22]))]).await;
        sysctl("ipv6/conf/br20/disable_ipv6", "0");
        run("ip address add 2001:db8::254/64 dev br20 nodad");
        serve_tcp(TcpListener::bind("[::]:22").unwrap());
        serve_tcp(TcpListener::bind("[::]:23").unwrap());
        let mut stream = lan.guests[0].connects("[2001:db8::254]:22").expect("discovery and flow");
        assert!(alive(&mut stream));
        assert!(lan.guests[0].connects("[2001:db8::254]:23").is_none());
        assert!(lan.guests[1].connects("[2001:db8::254]:22").is_none());
        let wire = lan.guests[0].wire();
        let before = lan.world.counted(SPOOFED_IPV6).await;
        let lie = about("2001:db8::1", "2001:db8::254", neighbour::ADVERTISEMENT, "2001:db8::2", &[]);
        wire.send(&lie.frame(mac(1), mac(BRIDGE_MAC)));
        pause(100).await;
        assert_eq!(lan.world.counted(SPOOFED_IPV6).await - before, 1);
    });
}
