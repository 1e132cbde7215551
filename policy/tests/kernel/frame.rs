//! Frames as they are on the wire, good and bad.

use std::net::{Ipv4Addr, Ipv6Addr};

use bulkhead_types::Mac;

pub(crate) const BROADCAST: [u8; 6] = [0xff; 6];
pub(crate) const ARP: u16 = 0x0806;
pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;

/// What frames of a test carry, so that they are told from whatever else passes.
pub(crate) const MARK: &[u8] = b"bulkhead-under-test";

pub(crate) fn ethernet(to: impl Into<Target>, from: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = to.into().0.to_vec();
    frame.extend(from.octets());
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A destination address, of one or of all.
pub(crate) struct Target([u8; 6]);

impl From<Mac> for Target {
    fn from(mac: Mac) -> Self {
        Self(mac.octets())
    }
}

impl From<[u8; 6]> for Target {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

/// Puts a VLAN tag into a frame, outside of those that it has.
pub(crate) fn tagged(frame: &[u8], kind: u16, vlan: u16) -> Vec<u8> {
    let mut tagged = frame[..12].to_vec();
    tagged.extend(kind.to_be_bytes());
    tagged.extend(vlan.to_be_bytes());
    tagged.extend(&frame[12..]);
    tagged
}

pub(crate) fn arp(operation: u16, sender: Mac, sender_ip: &str, target_ip: &str) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4];
    packet.extend(operation.to_be_bytes());
    packet.extend(sender.octets());
    packet.extend(sender_ip.parse::<Ipv4Addr>().unwrap().octets());
    packet.extend([0; 6]);
    packet.extend(target_ip.parse::<Ipv4Addr>().unwrap().octets());
    packet.extend(MARK);
    packet
}

pub(crate) fn udp(from: u16, to: u16) -> Vec<u8> {
    udp_with(from, to, MARK)
}

pub(crate) fn udp_with(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = from.to_be_bytes().to_vec();
    packet.extend(to.to_be_bytes());
    packet.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;

/// A segment of TCP with the largest window that there is without scaling.
pub(crate) fn tcp_segment(ports: (u16, u16), flags: u8, numbers: (u32, u32), payload: &[u8]) -> Vec<u8> {
    let mut packet = ports.0.to_be_bytes().to_vec();
    packet.extend(ports.1.to_be_bytes());
    packet.extend(numbers.0.to_be_bytes());
    packet.extend(numbers.1.to_be_bytes());
    packet.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    packet.extend(payload);
    packet
}

pub(crate) fn icmp(kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind, code, 0, 0];
    packet.extend(rest);
    let sum = checksum(&packet);
    packet[2..4].copy_from_slice(&sum);
    packet
}

pub(crate) fn echo(kind: u8) -> Vec<u8> {
    let mut rest = vec![0, 7, 0, 1];
    rest.extend(MARK);
    icmp(kind, 0, &rest)
}

/// A fragment of an IPv4 packet: `offset` in bytes, and whether more follow.
pub(crate) fn ipv4_fragment(from: &str, to: &str, protocol: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend(u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
    packet.extend([0x12, 0x34]);
    packet.extend(((offset / 8) | (u16::from(more) << 13)).to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(from.parse::<Ipv4Addr>().unwrap().octets());
    packet.extend(to.parse::<Ipv4Addr>().unwrap().octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum);
    packet.extend(payload);
    packet
}

pub(crate) fn ipv4(from: &str, to: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let payload = with_checksum(&pseudo4(from, to, protocol, payload.len()), protocol, payload);
    ipv4_fragment(from, to, protocol, 0, false, &payload)
}

pub(crate) fn ipv6(from: &str, to: &str, next: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet.extend([next, hops]);
    packet.extend(from.parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(to.parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(with_checksum(&pseudo6(from, to, next, payload.len()), next, payload));
    packet
}

/// The payload of an IPv6 packet in two fragments, each a whole IPv6 packet.
pub(crate) fn ipv6_fragments(from: &str, to: &str, next: u8, hops: u8, payload: &[u8], first: usize) -> [Vec<u8>; 2] {
    let payload = with_checksum(&pseudo6(from, to, next, payload.len()), next, payload);
    let fragment = |offset: usize, more: bool, part: &[u8]| {
        let mut body = vec![next, 0];
        body.extend((u16::try_from(offset).unwrap() | u16::from(more)).to_be_bytes());
        body.extend([1, 2, 3, 4]);
        body.extend(part);
        // 44: the fragment header, which has no checksum.
        ipv6(from, to, 44, hops, &body)
    };
    [fragment(0, true, &payload[..first]), fragment(first, false, &payload[first..])]
}

/// A neighbour solicitation (135) or advertisement (136), or what else has a target there.
pub(crate) fn neighbour(kind: u8, target: &str) -> Vec<u8> {
    let mut packet = vec![kind, 0, 0, 0, 0x60, 0, 0, 0];
    packet.extend(target.parse::<Ipv6Addr>().unwrap().octets());
    packet
}

pub(crate) fn router_advertisement() -> Vec<u8> {
    vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]
}

fn pseudo4(from: &str, to: &str, protocol: u8, length: usize) -> Vec<u8> {
    let mut pseudo = from.parse::<Ipv4Addr>().unwrap().octets().to_vec();
    pseudo.extend(to.parse::<Ipv4Addr>().unwrap().octets());
    pseudo.extend([0, protocol]);
    pseudo.extend(u16::try_from(length).unwrap().to_be_bytes());
    pseudo
}

fn pseudo6(from: &str, to: &str, next: u8, length: usize) -> Vec<u8> {
    let mut pseudo = from.parse::<Ipv6Addr>().unwrap().octets().to_vec();
    pseudo.extend(to.parse::<Ipv6Addr>().unwrap().octets());
    pseudo.extend(u32::try_from(length).unwrap().to_be_bytes());
    pseudo.extend([0, 0, 0, next]);
    pseudo
}

/// Fills in the checksum of TCP, UDP or ICMPv6.
fn with_checksum(pseudo: &[u8], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let at = match protocol {
        6 => 16,
        17 => 6,
        58 => 2,
        _ => return payload.to_vec(),
    };
    let mut payload = payload.to_vec();
    payload[at..at + 2].fill(0);
    let sum = checksum(&[pseudo, &payload].concat());
    payload[at..at + 2].copy_from_slice(&sum);
    payload
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}
