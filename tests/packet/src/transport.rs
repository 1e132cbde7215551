//! UDP, TCP and ICMP, with their checksums over either family.

use crate::ethernet::word;
use crate::ip::{self, Ends, Ip};

/// TCP's flag that opens a connection.
pub const SYN: u8 = 0x02;
/// TCP's flag that cuts a connection.
pub const RST: u8 = 0x04;
/// TCP's flag of every segment but the first.
pub const ACK: u8 = 0x10;

/// A UDP datagram in a packet.
#[must_use]
pub fn udp(ends: impl Into<Ends>, from: u16, to: u16, data: &[u8]) -> Ip {
    let ends = ends.into();
    let mut bytes = [from.to_be_bytes(), to.to_be_bytes(), (8 + data.len() as u16).to_be_bytes(), [0, 0]].concat();
    bytes.extend(data);
    // A sum of 0 is written as all ones: 0 says that there is none (RFC 768).
    let sum = match ends.pseudo(ip::UDP, bytes.len()).add(&bytes).finish() {
        0 => 0xffff,
        sum => sum,
    };
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    Ip::new(ends, ip::UDP, bytes)
}

/// A TCP segment without options in a packet, the first of its connection.
#[must_use]
pub fn tcp(ends: impl Into<Ends>, from: u16, to: u16, flags: u8, data: &[u8]) -> Ip {
    tcp_segment(ends, (from, to), flags, (1, 0), data)
}

/// A TCP segment without options in a packet: source and destination port, flags, sequence and acknowledgement number. Its
/// window is the largest that there is without scaling.
#[must_use]
pub fn tcp_segment(ends: impl Into<Ends>, ports: (u16, u16), flags: u8, numbers: (u32, u32), data: &[u8]) -> Ip {
    const WINDOW: [u8; 2] = [0xff, 0xff];
    let ends = ends.into();
    let mut bytes = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    bytes.extend([numbers.0.to_be_bytes(), numbers.1.to_be_bytes()].concat());
    bytes.extend([5 << 4, flags]);
    bytes.extend(WINDOW);
    bytes.extend([0; 4]);
    bytes.extend(data);
    let sum = ends.pseudo(ip::TCP, bytes.len()).add(&bytes).finish();
    bytes[16..18].copy_from_slice(&sum.to_be_bytes());
    Ip::new(ends, ip::TCP, bytes)
}

/// An ICMP or ICMPv6 message, by the family of its ends: type, code and what follows the checksum.
#[must_use]
pub fn icmp(ends: impl Into<Ends>, kind: u8, code: u8, body: &[u8]) -> Ip {
    let ends = ends.into();
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(body);
    let (protocol, sum) = match ends {
        // ICMP of IPv4 covers no pseudo header (RFC 792), ICMPv6 does (RFC 4443).
        Ends::V4(..) => (ip::ICMP, crate::checksum::Sum::default()),
        Ends::V6(..) => (ip::ICMPV6, ends.pseudo(ip::ICMPV6, bytes.len())),
    };
    let sum = sum.add(&bytes).finish();
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    Ip::new(ends, protocol, bytes)
}

/// A ping.
#[must_use]
pub fn echo_request(ends: impl Into<Ends>, identifier: u16, data: &[u8]) -> Ip {
    let ends = ends.into();
    let kind = match ends {
        Ends::V4(..) => 8,
        Ends::V6(..) => 128,
    };
    icmp(ends, kind, 0, &[&identifier.to_be_bytes(), &[0, 1], data].concat())
}

/// Source and destination port of a UDP or TCP packet.
#[must_use]
pub fn ports(packet: &Ip) -> Option<(u16, u16)> {
    let carries = matches!(packet.protocol, ip::UDP | ip::TCP) && packet.fragment.0 == 0;
    let (from, rest) = word(&packet.payload).filter(|_| carries)?;
    let (to, _) = word(rest)?;
    Some((from, to))
}

/// What a UDP packet carries.
#[must_use]
pub fn udp_data(packet: &Ip) -> Option<&[u8]> {
    (packet.protocol == ip::UDP).then(|| packet.payload.get(8..)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    proptest! {
        #[test]
        fn every_checksum_covers_pseudo_header_and_data(v6: bool, source: [u8; 16], destination: [u8; 16], data: Vec<u8>) {
            let short = |bytes: [u8; 16]| Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]);
            let ends = if v6 { Ends::V6(source.into(), destination.into()) } else { Ends::V4(short(source), short(destination)) };
            for packet in [udp(ends, 1, 2, &data), tcp(ends, 1, 2, SYN, &data)] {
                prop_assert_eq!(ports(&packet), Some((1, 2)));
                prop_assert_eq!(ends.pseudo(packet.protocol, packet.payload.len()).add(&packet.payload).finish(), 0);
            }
            let ping = echo_request(ends, 9, &data);
            let sum = if v6 { ends.pseudo(ip::ICMPV6, ping.payload.len()) } else { crate::checksum::Sum::default() };
            prop_assert_eq!(sum.add(&ping.payload).finish(), 0);
        }
    }

    #[test]
    fn a_datagram_gives_its_data_back() {
        let ends = Ends::V6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        assert_eq!(udp_data(&udp(ends, 68, 67, b"hello")), Some(&b"hello"[..]));
        assert_eq!(udp_data(&tcp(ends, 68, 67, ACK, b"hello")), None);
    }
}
