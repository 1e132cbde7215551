//! Clients have their answers, and what they conclude from none is so.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bulkhead_packet::dhcp::{CLIENT_PORT, Kind, Message, SERVER_PORT};
use bulkhead_packet::lease::{Offer, message, serve};
use bulkhead_packet::{Answer, Direction, Ether, Namespace, Tag, TcpServer, UdpServer, line, run, tcp, transport, udp};

use crate::world::{FAR, WEB, add_forward_chain, guest, within};

/// An answer comes at once, but on a machine that has just begun to boot.
const ANSWER: Duration = Duration::from_secs(5);
/// Nothing more comes after this.
const SILENCE: Duration = Duration::from_millis(1500);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Somebody beyond the trunk, on VLAN 20.
fn outside(name: &str) -> Namespace {
    let mut outside = Namespace::new(name).unwrap();
    outside.vlan("far0", 20, "far20").unwrap();
    outside
}

#[test]
fn replies_refusals_and_silence_are_told_apart_over_both_families() {
    within("answers", || {
        let (web, far) = (guest("web-answers", WEB), outside("far-answers"));
        for (namespace, link, tail) in [(&web, "eth0", "40"), (&far, "far20", "1")] {
            namespace.address(link, &format!("10.13.37.{tail}/24")).unwrap();
            namespace.address(link, &format!("fd00:20::{tail}/64")).unwrap();
        }
        for host in ["10.13.37.1", "[fd00:20::1]"] {
            let (open, shut, dropped) = (format!("{host}:80"), format!("{host}:81"), format!("{host}:82"));
            let (over_tcp, over_udp) = far
                .within(|| (TcpServer::listen(address(&open)).unwrap(), UdpServer::listen(address(&open)).unwrap()))
                .unwrap();
            let ask = |to: &str, deadline| {
                web.within(|| [tcp(address(to), deadline).unwrap(), udp(address(to), deadline).unwrap()]).unwrap()
            };
            assert_eq!(ask(&open, ANSWER), [Answer::Reply; 2], "{open}");
            assert_eq!(ask(&shut, ANSWER), [Answer::Refused; 2], "{shut}");
            add_forward_chain("accept");
            run("nft add rule bridge lab forward th dport 82 drop").unwrap();
            assert_eq!(ask(&dropped, SILENCE), [Answer::Silence; 2], "{dropped}");
            assert_eq!((over_tcp.answered(), over_udp.answered()), (1, 1));
            run("nft delete table bridge lab").unwrap();
        }
        let nobody = web.within(|| tcp(address("10.13.37.99:80"), ANSWER).unwrap()).unwrap();
        assert_eq!(nobody, Answer::Unreachable);
    });
}

#[test]
fn a_client_gets_its_lease_over_the_trunk() {
    within("lease", || {
        let web = guest("web-lease", WEB);
        let offer = Offer {
            vlan: 20,
            station: FAR,
            server: Ipv4Addr::new(10, 13, 37, 1),
            client: WEB,
            yours: Ipv4Addr::new(10, 13, 37, 40),
        };
        let frames = std::thread::scope(|scope| {
            let client = scope.spawn(|| ask_for_a_lease(&web));
            // The test's own namespace has the far side, and a thread of a scope is born in the namespace of its parent.
            let frames = serve("far0", &offer, Instant::now() + Duration::from_secs(5)).unwrap();
            client.join().unwrap();
            frames
        });
        frames.iter().for_each(|captured| println!("{}", line(captured)));
        let kinds: Vec<Kind> = frames.iter().filter_map(|captured| Some(message(&captured.frame)?.kind)).collect();
        assert_eq!(kinds, [Kind::Discover, Kind::Offer, Kind::Request, Kind::Ack]);
        assert!(frames.iter().all(|captured| captured.frame.tags == [Tag::dot1q(20)]));
    });
}

fn ask_for_a_lease(web: &Namespace) {
    let (sender, capture) = (web.sender("eth0").unwrap(), web.capture("eth0", Direction::Arriving).unwrap());
    let everybody = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    let say = |said: &Message| {
        let packet = transport::udp(everybody, CLIENT_PORT, SERVER_PORT, &said.bytes());
        sender.send(&packet.frame(WEB, Ether::BROADCAST)).unwrap();
    };
    let hear = |kind: Kind| {
        let deadline = Instant::now() + Duration::from_secs(2);
        let wanted = |frame: &_| message(frame).is_some_and(|said| said.kind == kind);
        capture.first(deadline, wanted).unwrap().and_then(|captured| message(&captured.frame))
    };
    let discover = Message::discover(WEB, 7);
    let offer = std::iter::repeat_with(|| {
        say(&discover);
        hear(Kind::Offer)
    });
    let offer = offer.take(3).flatten().next().expect("an offer");
    say(&Message { kind: Kind::Request, requested: Some(offer.yours), server: offer.server, ..discover });
    assert_eq!(hear(Kind::Ack).expect("an ack").yours, Ipv4Addr::new(10, 13, 37, 40));
}
