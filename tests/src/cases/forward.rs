//! What is allowed passes and is answered; everything else, and every lie, is dropped and counted.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bulkhead_packet::arp::Arp;
use bulkhead_packet::dhcp::{CLIENT_PORT, Message, SERVER_PORT};
use bulkhead_packet::{
    Answer, Ether, Frame, Marker, Namespace, Tag, TcpServer, UdpServer, neighbour, send_counted, tcp, transport, udp,
};

use super::counters::Counters;
use super::stand_in::{FAR, LINK, Outside, StandIn, far_side_up, station, under, while_silent};
use super::watchers::{PATIENCE, Watchers};
use super::{Case, SEED};
use crate::inside::Lab;
use crate::suite::Suite;

/// Case 3, its conversations.
pub(super) const ONLY_WHAT_IS_ALLOWED: Case = Case {
    number: 3,
    name: "allowed TCP ports connect and get their replies, and no others do",
    on: Suite::ALL,
    boot: &SEED,
    run: only_what_is_allowed,
};

/// Case 3, its lies.
pub(super) const NO_LIE_ARRIVES: Case = Case {
    number: 3,
    name: "of 1000 frames with a false source or a tag of their own 0 arrive, and the counters say 1000",
    on: Suite::ALL,
    boot: &SEED,
    run: no_lie_arrives,
};

const FOLDER: &str = "forward";
const LIES: u64 = 1000;
const SILENCE: Duration = Duration::from_secs(2);
/// The first answer also waits for ARP, and for software emulation.
const REPLY: Duration = Duration::from_secs(10);

const WEB: Ipv4Addr = Ipv4Addr::new(10, 13, 37, 41);
const WEB_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, 0x41);
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 13, 37, 99);
const STRANGER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, 0x99);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 13, 37, 1);
const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, 1);

fn only_what_is_allowed(lab: &Lab) -> Result<(), String> {
    under(lab, FOLDER, || {
        let (web, peer) = (StandIn::plug(lab, "web", "lan")?, StandIn::plug(lab, "peer", "lan")?);
        let outside = Outside::on(20, &["10.13.37.1/24", "fd00:20::1/64"])?;
        web.speak()?;
        peer.speak()?;
        let host = Namespace::here()?;
        let (web, peer, outside) = (&web.namespace, &peer.namespace, &outside.namespace);
        let allowed = [
            (web, outside, "tcp 10.13.37.1:80"),
            (web, outside, "tcp 10.13.37.1:443"),
            (web, outside, "tcp [fd00:20::1]:80"),
            (web, outside, "udp 10.13.37.1:5000"),
            (outside, web, "tcp 10.13.37.41:22"),
            (web, peer, "tcp 10.13.37.42:5432"),
            (outside, &host, "tcp 10.13.37.30:2222"),
        ];
        let forbidden = [
            (web, outside, "tcp 10.13.37.1:8443"),
            (web, outside, "tcp [fd00:20::1]:8443"),
            (web, outside, "udp 10.13.37.1:53"),
            (outside, web, "tcp 10.13.37.41:80"),
            (web, peer, "tcp 10.13.37.42:22"),
            (peer, web, "tcp 10.13.37.41:22"),
            (peer, outside, "tcp 10.13.37.1:80"),
            (web, &host, "tcp 10.13.37.30:2222"),
            (&host, web, "tcp 10.13.37.41:22"),
        ];
        let mut servers = Servers::default();
        allowed.iter().chain(&forbidden).try_for_each(|(_, to, at)| servers.serve(to, at))?;
        // One after another, so that the first has the answer of ARP for the others.
        allowed.iter().try_for_each(|(from, _, at)| expect(from, at, Answer::Reply, REPLY))?;
        std::thread::scope(|scope| {
            let ask = |(from, _, at)| scope.spawn(move || expect(from, at, Answer::Silence, SILENCE));
            let asked: Vec<_> = forbidden.into_iter().map(ask).collect();
            asked.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a question panicked".into())))
        })
    })
}

/// The servers of a case, each once.
#[derive(Default)]
struct Servers {
    at: Vec<String>,
    tcp: Vec<TcpServer>,
    udp: Vec<UdpServer>,
}

impl Servers {
    fn serve(&mut self, namespace: &Namespace, at: &str) -> Result<(), String> {
        if self.at.iter().any(|known| known == at) {
            return Ok(());
        }
        match parse(at)? {
            (true, address) => self.tcp.push(namespace.within(|| TcpServer::listen(address))??),
            (false, address) => self.udp.push(namespace.within(|| UdpServer::listen(address))??),
        }
        self.at.push(at.to_owned());
        Ok(())
    }
}

fn expect(from: &Namespace, at: &str, wanted: Answer, deadline: Duration) -> Result<(), String> {
    let (over_tcp, address) = parse(at)?;
    let answer = from.within(|| if over_tcp { tcp(address, deadline) } else { udp(address, deadline) })??;
    if answer == wanted { Ok(()) } else { Err(format!("{} to {at}: {answer:?} instead of {wanted:?}", from.name())) }
}

/// Whether it is TCP, and the address: of `tcp 10.13.37.1:80`.
fn parse(at: &str) -> Result<(bool, SocketAddr), String> {
    let (protocol, address) = at.split_once(' ').ok_or_else(|| format!("{at}: no protocol"))?;
    Ok((protocol == "tcp", address.parse().map_err(|error| format!("{at}: {error}"))?))
}

/// A frame of the guest `web` that must not arrive, and the counter that must count it.
struct Lie {
    what: &'static str,
    frame: Frame,
    counter: &'static str,
}

fn no_lie_arrives(lab: &Lab) -> Result<(), String> {
    under(lab, FOLDER, || {
        let (web, peer) = (StandIn::plug(lab, "web", "lan")?, StandIn::plug(lab, "peer", "lan")?);
        far_side_up()?;
        let station = station(FAR)?;
        while_silent(lab, || {
            let marker = Marker::unique();
            for (what, frame) in honest(web.nic.mac, station, &marker) {
                arrives(&web, what, &frame, marker)?;
            }
            // One marker for all: a frame that came late would count against the next lie.
            let marker = Marker::unique();
            let all = Watchers::start(marker, &["br20"], &[&peer])?;
            let mut counters = Counters::read(lab)?;
            for lie in lies(web.nic.mac, peer.nic.mac, station, &marker) {
                let Lie { what, frame, counter } = lie;
                never_arrives(&web, &peer, what, &frame, marker)?;
                counters.grew(lab, counter, LIES).map_err(|error| format!("{what}: {error}"))?;
                lab.measured(format!("{what}: 0 of {LIES} arrived, {counter} says {LIES}"));
            }
            all.nothing("all lies together", PATIENCE)
        })
    })
}

fn arrives(web: &StandIn, what: &str, frame: &Frame, marker: Marker) -> Result<(), String> {
    let there = Watchers::start(marker, &[], &[])?;
    send_counted(&web.namespace.sender(LINK)?, frame, LIES)?;
    let arrived = there.finish(PATIENCE)?;
    let all = arrived.iter().all(|(_, frames)| *frames == LIES);
    if all { Ok(()) } else { Err(format!("{what}: of {LIES} arrived {arrived:?}")) }
}

fn never_arrives(web: &StandIn, peer: &StandIn, what: &str, frame: &Frame, marker: Marker) -> Result<(), String> {
    /// Whatever comes later than this, the watchers of all lies still see.
    const SHORT: Duration = Duration::from_millis(50);
    let watchers = Watchers::start(marker, &["br20"], &[peer])?;
    send_counted(&web.namespace.sender(LINK)?, frame, LIES)?;
    watchers.nothing(what, SHORT)
}

/// What the lies below are made of: it must arrive, or their absence would say nothing.
fn honest(web: Ether, outside: Ether, marker: &Marker) -> [(&'static str, Frame); 4] {
    let local = neighbour::link_local(web);
    let question = neighbour::solicitation(local, web, OUTSIDE_V6);
    let group = neighbour::group(neighbour::solicited_node(OUTSIDE_V6));
    [
        ("an honest UDP packet", transport::udp((WEB, OUTSIDE), 40000, 5000, marker.bytes()).frame(web, outside)),
        (
            "an honest UDP packet of IPv6",
            transport::udp((WEB_V6, OUTSIDE_V6), 40000, 5000, marker.bytes()).frame(web, outside),
        ),
        ("an honest ARP question", marker.behind(Arp::request(web, WEB, OUTSIDE).frame(web))),
        ("an honest ND question", neighbour::with_note(&question, marker.bytes()).frame(web, group)),
    ]
}

/// What is dropped only on its way out is for one station: frames to all leave by each port, and are counted at each.
fn lies(web: Ether, peer: Ether, outside: Ether, marker: &Marker) -> Vec<Lie> {
    const MAC: &str = "spoofed_mac";
    const ARP: &str = "spoofed_arp";
    const IPV4: &str = "spoofed_ipv4";
    const IPV6: &str = "spoofed_ipv6";
    const ROGUE: &str = "rogue";
    const TAG: &str = "vlan_tag";
    let nobody = Ether([0x52, 0x54, 0, 0, 0, 0x99]);
    let datagram = |from| transport::udp((from, OUTSIDE), 40000, 5000, marker.bytes());
    let datagram_v6 = |from| transport::udp((from, OUTSIDE_V6), 40000, 5000, marker.bytes());
    let local = neighbour::link_local(web);
    let broadcast = |packet: bulkhead_packet::ip::Ip| packet.frame(web, Ether::BROADCAST);
    let noted = |message| neighbour::with_note(&message, marker.bytes());
    let tagged = |tag| datagram(WEB).frame(web, outside).tagged(tag);
    let served = Message::discover(peer, 1).answer(STRANGER, STRANGER);
    let served = served.iter().flat_map(Message::bytes).collect::<Vec<u8>>();
    let served = [served, marker.bytes().to_vec()].concat();
    [
        ("a false source MAC", datagram(WEB).frame(nobody, outside), MAC),
        ("the MAC of another guest", datagram(WEB).frame(peer, outside), MAC),
        ("a false source MAC, to all", datagram(WEB).frame(nobody, Ether::BROADCAST), MAC),
        ("a false IPv4 source", datagram(STRANGER).frame(web, outside), IPV4),
        ("a false IPv4 source, to all", broadcast(datagram(STRANGER)), IPV4),
        (
            "an answer of a DHCP server",
            transport::udp((WEB, Ipv4Addr::BROADCAST), SERVER_PORT, CLIENT_PORT, &served).frame(web, peer),
            ROGUE,
        ),
        ("a false IPv6 source", datagram_v6(STRANGER_V6).frame(web, outside), IPV6),
        ("a false IPv6 source, to all", broadcast(datagram_v6(STRANGER_V6)), IPV6),
        ("a false ND target", noted(neighbour::advertisement(local, web, STRANGER_V6)).frame(web, outside), IPV6),
        ("a router's advertisement", noted(neighbour::router_advertisement(local, web)).frame(web, outside), ROGUE),
        ("a false ARP sender", marker.behind(Arp::request(web, STRANGER, OUTSIDE).frame(web)), ARP),
        ("a false station of an ARP sender", marker.behind(Arp::request(nobody, WEB, OUTSIDE).frame(web)), ARP),
        ("the gateway's ARP answer", marker.behind(Arp::request(outside, WEB, OUTSIDE).reply(web).frame(web)), ARP),
        ("a tag of its own", tagged(Tag::dot1q(30)), TAG),
        ("a tag of its own segment", tagged(Tag::dot1q(20)), TAG),
        ("a priority tag", tagged(Tag::dot1q(0)), TAG),
        ("a service tag", tagged(Tag::dot1ad(30)), TAG),
        ("two tags", tagged(Tag::dot1q(30)).tagged(Tag::dot1q(20)), TAG),
    ]
    .map(|(what, frame, counter)| Lie { what, frame, counter })
    .into()
}
