//! Neighbour discovery of IPv6 (RFC 4861).

use std::net::Ipv6Addr;

use crate::ethernet::Ether;
use crate::ip::{self, Ends, Ip};
use crate::transport::icmp;

/// ICMPv6 type of a router's advertisement.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// ICMPv6 type of the question who has an address.
pub const SOLICITATION: u8 = 135;
/// ICMPv6 type of its answer.
pub const ADVERTISEMENT: u8 = 136;

/// All stations on the segment.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

const SOURCE_ADDRESS: u8 = 1;
const TARGET_ADDRESS: u8 = 2;

/// The link-local address that a station makes of its MAC (RFC 4291, appendix A).
#[must_use]
pub fn link_local(station: Ether) -> Ipv6Addr {
    let [a, b, c, d, e, f] = station.0;
    let tail = [a ^ 2, b, c, 0xff, 0xfe, d, e, f];
    let mut octets = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    octets[8..].copy_from_slice(&tail);
    octets.into()
}

/// The group that whoever has an address listens to (RFC 4291, 2.7.1).
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from(b) << 8 | u16::from(c))
}

/// The Ethernet address of a group (RFC 2464, section 7).
#[must_use]
pub fn group(address: Ipv6Addr) -> Ether {
    let [.., a, b, c, d] = address.octets();
    Ether([0x33, 0x33, a, b, c, d])
}

/// The question who has `target`, to its group.
#[must_use]
pub fn solicitation(source: Ipv6Addr, station: Ether, target: Ipv6Addr) -> Ip {
    let body = [&[0; 4], &target.octets()[..], &[SOURCE_ADDRESS, 1], &station.0].concat();
    discovery((source, solicited_node(target)), SOLICITATION, &body)
}

/// The unasked word to everybody that `station` has `target`, with the flag that overrides what they knew.
#[must_use]
pub fn advertisement(source: Ipv6Addr, station: Ether, target: Ipv6Addr) -> Ip {
    const OVERRIDE: u8 = 0x20;
    let body = [&[OVERRIDE, 0, 0, 0], &target.octets()[..], &[TARGET_ADDRESS, 1], &station.0].concat();
    discovery((source, ALL_NODES), ADVERTISEMENT, &body)
}

/// The word to everybody that `station` is a router, for half an hour.
#[must_use]
pub fn router_advertisement(source: Ipv6Addr, station: Ether) -> Ip {
    const HOP_LIMIT_FLAGS_LIFETIME: [u8; 4] = [64, 0, 0x07, 0x08];
    let body = [&HOP_LIMIT_FLAGS_LIFETIME[..], &[0; 8], &[SOURCE_ADDRESS, 1], &station.0].concat();
    discovery((source, ALL_NODES), ROUTER_ADVERTISEMENT, &body)
}

/// A message of neighbour discovery: its type, and what follows the checksum.
#[must_use]
pub fn discovery(ends: impl Into<Ends>, kind: u8, body: &[u8]) -> Ip {
    // A hop limit of 255 shows that no router forwarded it (RFC 4861, 7.1).
    Ip { hops: 255, ..icmp(ends, kind, 0, body) }
}

/// The same message with an option more that no station knows (RFC 4727), which holds up to 14 bytes of one's own.
#[must_use]
pub fn with_note(message: &Ip, note: &[u8]) -> Ip {
    const EXPERIMENT: u8 = 253;
    const LENGTH_IN_EIGHTS: u8 = 2;
    const ROOM: usize = 14;
    let (Some(kind), Some(body)) = (message.payload.first(), message.payload.get(4..)) else { return message.clone() };
    let mut option = note[..note.len().min(ROOM)].to_vec();
    option.resize(ROOM, 0);
    discovery(message.ends, *kind, &[body, &[EXPERIMENT, LENGTH_IN_EIGHTS], &option].concat())
}

/// Type and target of a question or an answer.
#[must_use]
pub fn target(packet: &Ip) -> Option<(u8, Ipv6Addr)> {
    let kind = *packet.payload.first()?;
    let found = packet.protocol == ip::ICMPV6 && matches!(kind, SOLICITATION | ADVERTISEMENT);
    let octets: [u8; 16] = packet.payload.get(8..24)?.try_into().ok()?;
    found.then(|| (kind, octets.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATION: Ether = Ether([0x52, 0x54, 0, 0xab, 0xcd, 0xef]);

    #[test]
    fn addresses_of_groups_and_of_the_link_follow_the_rfcs() {
        assert_eq!(link_local(STATION).to_string(), "fe80::5054:ff:feab:cdef");
        let asked = solicited_node(link_local(STATION));
        assert_eq!(asked.to_string(), "ff02::1:ffab:cdef");
        assert_eq!(group(asked).to_string(), "33:33:ff:ab:cd:ef");
    }

    #[test]
    fn a_note_leaves_the_message_valid() {
        let address = link_local(STATION);
        let noted = with_note(&advertisement(address, STATION, address), b"marker");
        assert_eq!(target(&noted), Some((ADVERTISEMENT, address)));
        assert_eq!((noted.payload.len() % 8, noted.hops), (0, 255));
        assert!(noted.payload.ends_with(b"marker\0\0\0\0\0\0\0\0"));
        assert_eq!(noted.ends.pseudo(ip::ICMPV6, noted.payload.len()).add(&noted.payload).finish(), 0);
    }

    #[test]
    fn question_and_answer_name_their_target() {
        let address = link_local(STATION);
        assert_eq!(target(&solicitation(Ipv6Addr::UNSPECIFIED, STATION, address)), Some((SOLICITATION, address)));
        assert_eq!(target(&advertisement(address, STATION, address)), Some((ADVERTISEMENT, address)));
        assert_eq!(target(&router_advertisement(address, STATION)), None);
    }
}
