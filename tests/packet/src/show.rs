//! A frame as one line of text, for people.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;

use crate::arp::{self, Arp};
use crate::ip::{self, Ip};
use crate::{Captured, Frame, ethernet, lease, neighbour, transport};

/// One line, such as `20:36:12.123 tagged 20 52:54:00:ab:cd:ef > ff:ff:ff:ff:ff:ff DHCP discover`; the time is UTC.
#[must_use]
pub fn line(captured: &Captured) -> String {
    let Frame { source, destination, .. } = captured.frame;
    format!("{} {} {source} > {destination} {}", clock(captured.at), tags(&captured.frame), body(&captured.frame))
}

fn clock(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60, since.subsec_millis())
}

fn tags(frame: &Frame) -> String {
    if frame.tags.is_empty() {
        return "untagged".to_owned();
    }
    let each = frame.tags.iter().map(|tag| match tag.ether_type {
        ethernet::DOT1AD => format!("{} (802.1ad)", tag.vlan()),
        _ => tag.vlan().to_string(),
    });
    format!("tagged {}", each.collect::<Vec<_>>().join(", "))
}

fn body(frame: &Frame) -> String {
    match frame.ether_type {
        ethernet::ARP => Arp::parse(&frame.payload).map_or("ARP, malformed".to_owned(), arp),
        ethernet::IPV4 | ethernet::IPV6 => match (lease::message(frame), Ip::parse(frame)) {
            (Some(said), _) if said.yours != Ipv4Addr::UNSPECIFIED => format!("DHCP {} {}", said.kind, said.yours),
            (Some(said), _) => {
                said.requested.map_or(format!("DHCP {}", said.kind), |asked| format!("DHCP {} {asked}", said.kind))
            }
            (None, Some(packet)) => self::packet(&packet),
            (None, None) => "IP, malformed".to_owned(),
        },
        // Below this a length stands there: LLC (IEEE 802.3).
        length @ ..0x0600 => format!("LLC, {length} bytes"),
        other => format!("EtherType {other:04x}"),
    }
}

fn arp(said: Arp) -> String {
    match said.operation {
        arp::REQUEST => format!("ARP who has {}? tell {}", said.target_ip, said.sender_ip),
        arp::REPLY => format!("ARP {} is at {}", said.sender_ip, said.sender),
        other => format!("ARP operation {other}"),
    }
}

fn packet(packet: &Ip) -> String {
    let (from, to) = (packet.ends.source(), packet.ends.destination());
    let mut text = match (packet.protocol, transport::ports(packet)) {
        (ip::TCP, Some(ports)) => format!("TCP {}", between(from, to, ports)),
        (ip::UDP, Some(ports)) => format!("UDP {}", between(from, to, ports)),
        (ip::ICMP, _) => format!("ICMP type {} {from} > {to}", packet.payload.first().copied().unwrap_or_default()),
        (ip::ICMPV6, _) => icmpv6(packet, from, to),
        (other, _) => format!("protocol {other} {from} > {to}"),
    };
    if packet.fragment != (0, false) {
        // Writing to a String cannot fail.
        let _ = write!(text, " fragment at {}", packet.fragment.0);
    }
    text
}

fn between(from: IpAddr, to: IpAddr, (from_port, to_port): (u16, u16)) -> String {
    format!("{} > {}", std::net::SocketAddr::new(from, from_port), std::net::SocketAddr::new(to, to_port))
}

fn icmpv6(packet: &Ip, from: IpAddr, to: IpAddr) -> String {
    match neighbour::target(packet) {
        Some((neighbour::SOLICITATION, target)) => format!("ND who has {target}? tell {from}"),
        Some((_, target)) => format!("ND {target} is at {from}"),
        None => format!("ICMPv6 type {} {from} > {to}", packet.payload.first().copied().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhcp::{CLIENT_PORT, Message, SERVER_PORT};
    use crate::{Ether, Tag};
    use std::time::Duration;

    const GUEST: Ether = Ether([0x52, 0x54, 0, 0xab, 0xcd, 0xef]);

    fn shown(frame: Frame) -> String {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(74_172_123);
        line(&Captured { at, outgoing: false, frame })
    }

    #[test]
    fn a_guests_first_word_reads_as_one_line() {
        let everybody = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        let packet = transport::udp(everybody, CLIENT_PORT, SERVER_PORT, &Message::discover(GUEST, 1).bytes());
        assert_eq!(
            shown(packet.frame(GUEST, Ether::BROADCAST).tagged(Tag::dot1q(20))),
            "20:36:12.123 tagged 20 52:54:00:ab:cd:ef > ff:ff:ff:ff:ff:ff DHCP discover"
        );
    }

    #[test]
    fn each_kind_of_frame_has_its_words() {
        let (here, there) = (Ipv4Addr::new(10, 13, 37, 40), Ipv4Addr::new(10, 13, 37, 1));
        let local = neighbour::link_local(GUEST);
        let asked = Arp::request(GUEST, here, there);
        for (frame, words) in [
            (asked.frame(GUEST), "untagged * ARP who has 10.13.37.1? tell 10.13.37.40"),
            (asked.reply(GUEST).frame(GUEST), "untagged * ARP 10.13.37.1 is at 52:54:00:ab:cd:ef"),
            (
                transport::tcp((here, there), 40000, 443, transport::SYN, &[])
                    .frame(GUEST, GUEST)
                    .tagged(Tag::dot1q(30))
                    .tagged(Tag::dot1ad(20)),
                "tagged 20 (802.1ad), 30 * TCP 10.13.37.40:40000 > 10.13.37.1:443",
            ),
            (
                transport::echo_request((here, there), 1, &[]).frame(GUEST, GUEST),
                "untagged * ICMP type 8 10.13.37.40 > 10.13.37.1",
            ),
            (
                neighbour::solicitation(local, GUEST, local).frame(GUEST, GUEST),
                "untagged * ND who has fe80::5054:ff:feab:cdef? tell fe80::5054:ff:feab:cdef",
            ),
            (Frame::new(GUEST, GUEST, 0x26, vec![0; 38]), "untagged * LLC, 38 bytes"),
            (Frame::new(GUEST, GUEST, ethernet::EXPERIMENT, vec![]), "untagged * EtherType 88b5"),
        ] {
            let text = shown(frame);
            let (start, end) = words.split_once('*').unwrap();
            assert!(text.starts_with(&format!("20:36:12.123 {start}")) && text.ends_with(end), "{text}");
        }
    }
}
