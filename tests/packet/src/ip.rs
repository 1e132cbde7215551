//! IPv4 and IPv6 headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum::Sum;
use crate::ethernet::{self, Ether, Frame, word};

/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Number of IPv6's fragment header.
pub const FRAGMENT: u8 = 44;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

/// Flag of an IPv4 fragment that others follow.
const MORE_FRAGMENTS: u16 = 0x2000;

/// A packet of either family, without options and extension headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ip {
    /// Where it says to come from. The destination is of the same family.
    pub ends: Ends,
    /// What it carries: [`ICMP`], [`TCP`], [`UDP`], [`ICMPV6`].
    pub protocol: u8,
    /// Time to live, or hop limit.
    pub hops: u8,
    /// IPv4's identification, which the fragments of one packet share.
    pub identification: u16,
    /// IPv4's place in the whole packet, in bytes, a multiple of 8, and whether more follows.
    pub fragment: (u16, bool),
    /// What it carries.
    pub payload: Vec<u8>,
}

/// Source and destination of a packet, which are of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// IPv4.
    V4(Ipv4Addr, Ipv4Addr),
    /// IPv6.
    V6(Ipv6Addr, Ipv6Addr),
}

impl Ends {
    /// The source.
    #[must_use]
    pub const fn source(self) -> IpAddr {
        match self {
            Self::V4(source, _) => IpAddr::V4(source),
            Self::V6(source, _) => IpAddr::V6(source),
        }
    }

    /// The destination.
    #[must_use]
    pub const fn destination(self) -> IpAddr {
        match self {
            Self::V4(_, destination) => IpAddr::V4(destination),
            Self::V6(_, destination) => IpAddr::V6(destination),
        }
    }

    /// The sum of the pseudo header that a transport's checksum begins with.
    pub(crate) fn pseudo(self, protocol: u8, length: usize) -> Sum {
        match self {
            Self::V4(source, destination) => Sum::over_ipv4(source, destination, protocol, length),
            Self::V6(source, destination) => Sum::over_ipv6(source, destination, protocol, length),
        }
    }
}

impl From<(Ipv4Addr, Ipv4Addr)> for Ends {
    fn from((source, destination): (Ipv4Addr, Ipv4Addr)) -> Self {
        Self::V4(source, destination)
    }
}

impl From<(Ipv6Addr, Ipv6Addr)> for Ends {
    fn from((source, destination): (Ipv6Addr, Ipv6Addr)) -> Self {
        Self::V6(source, destination)
    }
}

impl Ip {
    /// A whole packet, with 64 hops before it.
    #[must_use]
    pub fn new(ends: impl Into<Ends>, protocol: u8, payload: Vec<u8>) -> Self {
        Self { ends: ends.into(), protocol, hops: 64, identification: 0, fragment: (0, false), payload }
    }

    /// The packet cut in two: the first with the first `at` bytes of the payload, `at` being a multiple of 8.
    #[must_use]
    pub fn fragments(self, identification: u16, at: u16) -> [Self; 2] {
        let (first, second) = self.payload.split_at(usize::from(at).min(self.payload.len()));
        let cut = |offset: u16, more: bool, part: &[u8]| match self.ends {
            Ends::V4(..) => Self { identification, fragment: (offset, more), payload: part.to_vec(), ..self.clone() },
            // A header of its own says it (RFC 8200, 4.5).
            Ends::V6(..) => {
                let place = (offset | u16::from(more)).to_be_bytes();
                let header = [&[self.protocol, 0], &place[..], &u32::from(identification).to_be_bytes()].concat();
                Self { protocol: FRAGMENT, payload: [&header, part].concat(), ..self.clone() }
            }
        };
        [cut(0, true, first), cut(at, false, second)]
    }

    /// In a frame.
    #[must_use]
    pub fn frame(&self, source: impl Into<Ether>, destination: impl Into<Ether>) -> Frame {
        let kind = match self.ends {
            Ends::V4(..) => ethernet::IPV4,
            Ends::V6(..) => ethernet::IPV6,
        };
        Frame::new(source, destination, kind, self.bytes())
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = match self.ends {
            Ends::V4(source, destination) => self.ipv4_header(source, destination),
            Ends::V6(source, destination) => self.ipv6_header(source, destination),
        };
        bytes.extend(&self.payload);
        bytes
    }

    fn ipv4_header(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
        let mut header = vec![0x45, 0];
        header.extend((20 + self.payload.len() as u16).to_be_bytes());
        header.extend(self.identification.to_be_bytes());
        let (offset, more) = self.fragment;
        header.extend(((offset / 8) | if more { MORE_FRAGMENTS } else { 0 }).to_be_bytes());
        header.extend([self.hops, self.protocol, 0, 0]);
        header.extend(source.octets());
        header.extend(destination.octets());
        let sum = Sum::default().add(&header).finish().to_be_bytes();
        header[10..12].copy_from_slice(&sum);
        header
    }

    fn ipv6_header(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend((self.payload.len() as u16).to_be_bytes());
        header.extend([self.protocol, self.hops]);
        header.extend(source.octets());
        header.extend(destination.octets());
        header
    }

    /// The packet that a frame carries; `None` when it carries none, or one with options or extension headers that end
    /// beyond the frame. What follows it is padding and is left out.
    #[must_use]
    pub fn parse(frame: &Frame) -> Option<Self> {
        match frame.ether_type {
            ethernet::IPV4 => Self::parse_ipv4(&frame.payload),
            ethernet::IPV6 => Self::parse_ipv6(&frame.payload),
            _ => None,
        }
    }

    fn parse_ipv4(bytes: &[u8]) -> Option<Self> {
        let (header, _) = bytes.split_first_chunk::<20>()?;
        let (version, words) = (header[0] >> 4, usize::from(header[0] & 15));
        let (whole, _) = word(&header[2..])?;
        let (identification, _) = word(&header[4..])?;
        let (place, _) = word(&header[6..])?;
        let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
        let destination = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
        let payload = bytes.get(words * 4..usize::from(whole))?.to_vec();
        let fragment = ((place & 0x1fff) * 8, place & MORE_FRAGMENTS != 0);
        (version == 4 && words >= 5).then_some(Self {
            ends: Ends::V4(source, destination),
            protocol: header[9],
            hops: header[8],
            identification,
            fragment,
            payload,
        })
    }

    fn parse_ipv6(bytes: &[u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<8>()?;
        let (source, rest) = rest.split_first_chunk::<16>()?;
        let (destination, rest) = rest.split_first_chunk::<16>()?;
        let (length, _) = word(&header[4..])?;
        let payload = rest.get(..usize::from(length))?.to_vec();
        let ends = Ends::V6(Ipv6Addr::from(*source), Ipv6Addr::from(*destination));
        (header[0] >> 4 == 6).then_some(Self { hops: header[7], ..Self::new(ends, header[6], payload) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HERE: Ether = Ether([2; 6]);

    proptest! {
        #[test]
        fn what_is_built_is_parsed_again(
            v6: bool, source: [u8; 16], destination: [u8; 16], protocol: u8, payload in prop::collection::vec(any::<u8>(), 0..1480),
            padding in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let short = |bytes: [u8; 16]| Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]);
            let ends = if v6 { Ends::V6(source.into(), destination.into()) } else { Ends::V4(short(source), short(destination)) };
            let packet = Ip::new(ends, protocol, payload);
            let mut frame = packet.frame(HERE, HERE);
            frame.payload.extend(padding);
            prop_assert_eq!(Ip::parse(&frame), Some(packet));
        }

        #[test]
        fn any_bytes_never_panic(v6: bool, first: u8, bytes: Vec<u8>) {
            let kind = if v6 { ethernet::IPV6 } else { ethernet::IPV4 };
            let _ = Ip::parse(&Frame::new(HERE, HERE, kind, [vec![first], bytes].concat()));
        }
    }

    #[test]
    fn the_header_holds_the_checksum_of_itself() {
        let packet = Ip::new((Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 7)), UDP, vec![1, 2, 3]);
        assert_eq!(Sum::default().add(&packet.bytes()[..20]).finish(), 0);
    }

    #[test]
    fn two_fragments_are_the_whole_payload() {
        let whole = Ip::new((Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST), UDP, (0..24).collect());
        let [first, second] = whole.clone().fragments(7, 16);
        assert_eq!([first.payload.clone(), second.payload.clone()].concat(), whole.payload);
        assert_eq!((first.fragment, second.fragment), ((0, true), (16, false)));
        assert_eq!(Ip::parse(&second.frame(HERE, HERE)), Some(second));
        let whole = Ip::new((Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST), UDP, (0..24).collect());
        let [first, second] = whole.clone().fragments(7, 16);
        assert_eq!(first.payload[..8], [UDP, 0, 0, 1, 0, 0, 0, 7]);
        assert_eq!(second.payload[..8], [UDP, 0, 0, 16, 0, 0, 0, 7]);
        assert_eq!([&first.payload[8..], &second.payload[8..]].concat(), whole.payload);
        assert_eq!((first.protocol, second.protocol), (FRAGMENT, FRAGMENT));
    }
}
