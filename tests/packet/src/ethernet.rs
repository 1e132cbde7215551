//! Ethernet frames and their VLAN tags.

use std::fmt;

use bulkhead_types::Mac;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of an 802.1Q tag.
pub const DOT1Q: u16 = 0x8100;
/// EtherType of an 802.1ad (service) tag.
pub const DOT1AD: u16 = 0x88a8;
/// An EtherType that IEEE 802 keeps for experiments: nothing that a host or a bridge knows.
pub const EXPERIMENT: u16 = 0x88b5;

/// An address in a frame: a station's, a group's or all zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ether(pub [u8; 6]);

impl Ether {
    /// Everybody on the segment.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// What ARP writes where the address is not known.
    pub const UNKNOWN: Self = Self([0; 6]);
}

impl From<Mac> for Ether {
    fn from(mac: Mac) -> Self {
        Self(mac.octets())
    }
}

impl fmt::Display for Ether {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Ether {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A VLAN tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// Its EtherType, [`DOT1Q`] or [`DOT1AD`].
    pub ether_type: u16,
    /// Priority, drop bit and VLAN id, as they are on the wire.
    pub control: u16,
}

impl Tag {
    /// An 802.1Q tag of priority 0.
    #[must_use]
    pub const fn dot1q(vlan: u16) -> Self {
        Self { ether_type: DOT1Q, control: vlan & 0xfff }
    }

    /// An 802.1ad tag of priority 0.
    #[must_use]
    pub const fn dot1ad(vlan: u16) -> Self {
        Self { ether_type: DOT1AD, control: vlan & 0xfff }
    }

    /// The VLAN id.
    #[must_use]
    pub const fn vlan(self) -> u16 {
        self.control & 0xfff
    }
}

/// A frame: what is on the wire between preamble and checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Whom it is for.
    pub destination: Ether,
    /// Who says to have sent it.
    pub source: Ether,
    /// Its VLAN tags, outermost first.
    pub tags: Vec<Tag>,
    /// The EtherType of what it carries.
    pub ether_type: u16,
    /// What it carries, with the padding of the wire.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame without tags.
    #[must_use]
    pub fn new(source: impl Into<Ether>, destination: impl Into<Ether>, ether_type: u16, payload: Vec<u8>) -> Self {
        Self { destination: destination.into(), source: source.into(), tags: Vec::new(), ether_type, payload }
    }

    /// The same frame with one more tag, outside those that it has.
    #[must_use]
    pub fn tagged(mut self, tag: Tag) -> Self {
        self.tags.insert(0, tag);
        self
    }

    /// The VLAN id of the outermost tag.
    #[must_use]
    pub fn vlan(&self) -> Option<u16> {
        self.tags.first().map(|tag| tag.vlan())
    }

    /// Its bytes on the wire.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.destination.0, self.source.0].concat();
        for tag in &self.tags {
            bytes.extend(tag.ether_type.to_be_bytes());
            bytes.extend(tag.control.to_be_bytes());
        }
        bytes.extend(self.ether_type.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The frame that these bytes are; `None` when they end within its header.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (destination, rest) = bytes.split_first_chunk::<6>()?;
        let (source, mut rest) = rest.split_first_chunk::<6>()?;
        let mut tags = Vec::new();
        loop {
            let (kind, after) = word(rest)?;
            if kind != DOT1Q && kind != DOT1AD {
                let (destination, source) = (Ether(*destination), Ether(*source));
                return Some(Self { destination, source, tags, ether_type: kind, payload: after.to_vec() });
            }
            let (control, after) = word(after)?;
            tags.push(Tag { ether_type: kind, control });
            rest = after;
        }
    }
}

/// The first two bytes as a number, and what follows.
pub(crate) fn word(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*word), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tags() -> impl Strategy<Value = Vec<Tag>> {
        let tag = (prop_oneof![Just(DOT1Q), Just(DOT1AD)], any::<u16>());
        prop::collection::vec(tag.prop_map(|(ether_type, control)| Tag { ether_type, control }), 0..4)
    }

    proptest! {
        #[test]
        fn what_is_built_is_parsed_again(
            destination: [u8; 6], source: [u8; 6], tags in tags(), kind in 0x0600_u16..0x8100, payload: Vec<u8>,
        ) {
            let (destination, source) = (Ether(destination), Ether(source));
            let frame = Frame { destination, source, tags, ether_type: kind, payload };
            prop_assert_eq!(Frame::parse(&frame.bytes()), Some(frame));
        }

        #[test]
        fn any_bytes_are_a_frame_or_not_but_never_a_panic(bytes: Vec<u8>) {
            if let Some(frame) = Frame::parse(&bytes) {
                prop_assert_eq!(frame.bytes(), bytes);
            }
        }
    }

    #[test]
    fn a_tag_added_later_is_the_outer_one() {
        let frame = Frame::new(Ether([2; 6]), Ether::BROADCAST, ARP, vec![]);
        let frame = frame.tagged(Tag::dot1q(30)).tagged(Tag::dot1ad(20));
        assert_eq!(frame.vlan(), Some(20));
        assert_eq!(&frame.bytes()[12..], [0x88, 0xa8, 0, 20, 0x81, 0, 0, 30, 8, 6]);
    }
}
