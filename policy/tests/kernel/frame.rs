//! What the frames of these tests are made of.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::LazyLock;

use bulkhead_packet::arp::Arp;
use bulkhead_packet::ip::{Ends, Ip};
use bulkhead_packet::{Ether, Frame, Marker, neighbour, transport};

/// What frames of a test carry, so that they are told from whatever else passes.
pub(crate) static MARK: LazyLock<Marker> = LazyLock::new(Marker::unique);

/// Two addresses of one family.
pub(crate) fn ends(from: &str, to: &str) -> Ends {
    match (from.parse().unwrap(), to.parse().unwrap()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Ends::V4(from, to),
        (IpAddr::V6(from), IpAddr::V6(to)) => Ends::V6(from, to),
        (from, to) => panic!("{from} and {to} are of two families"),
    }
}

/// A marked datagram.
pub(crate) fn udp(from: &str, to: &str, ports: (u16, u16)) -> Ip {
    transport::udp(ends(from, to), ports.0, ports.1, MARK.bytes())
}

/// A marked datagram that is long enough to be cut at any multiple of 8 up to 160.
pub(crate) fn long_udp(from: &str, to: &str, ports: (u16, u16)) -> Ip {
    transport::udp(ends(from, to), ports.0, ports.1, &MARK.bytes().repeat(20))
}

/// A marked message of ICMP that asks for an echo (8), answers it (0) or what else has a number and a count there.
pub(crate) fn echo(from: &str, to: &str, kind: u8) -> Ip {
    transport::icmp(ends(from, to), kind, 0, &[&[0, 7, 0, 1], MARK.bytes()].concat())
}

/// A marked frame of ARP, from the station that it names as the sender.
pub(crate) fn arp(to: impl Into<Ether>, operation: u16, sender: impl Into<Ether>, addresses: (&str, &str)) -> Frame {
    let sender = sender.into();
    arp_from(sender, to, operation, sender, addresses)
}

/// A marked frame of ARP from a station, which may name another one as the sender.
pub(crate) fn arp_from(
    from: impl Into<Ether>,
    to: impl Into<Ether>,
    operation: u16,
    sender: impl Into<Ether>,
    (sender_ip, target_ip): (&str, &str),
) -> Frame {
    let (sender_ip, target_ip) = (sender_ip.parse().unwrap(), target_ip.parse().unwrap());
    let arp = Arp { operation, sender: sender.into(), sender_ip, target: Ether::UNKNOWN, target_ip };
    MARK.behind(Frame { destination: to.into(), ..arp.frame(from.into()) })
}

/// A neighbour solicitation (135) or advertisement (136), or what else has a target there, with what follows it.
pub(crate) fn about(from: &str, to: &str, kind: u8, target: &str, rest: &[u8]) -> Ip {
    let target: Ipv6Addr = target.parse().unwrap();
    neighbour::discovery(ends(from, to), kind, &[&[0x60, 0, 0, 0], &target.octets()[..], rest].concat())
}
