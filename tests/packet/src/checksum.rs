//! The Internet checksum (RFC 1071), and the pseudo headers that transport checksums cover.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The sum of 16-bit words, not yet folded.
#[derive(Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// The pseudo header of IPv4 (RFC 768, RFC 9293).
    pub(crate) fn over_ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: usize) -> Self {
        Self::default()
            .add(&source.octets())
            .add(&destination.octets())
            .number(u64::from(protocol))
            .number(length as u64)
    }

    /// The pseudo header of IPv6 (RFC 8200, section 8.1).
    pub(crate) fn over_ipv6(source: Ipv6Addr, destination: Ipv6Addr, next: u8, length: usize) -> Self {
        Self::default().add(&source.octets()).add(&destination.octets()).number(u64::from(next)).number(length as u64)
    }

    /// Adds bytes; an odd last one counts as if a zero followed it, so only the last part may be odd.
    pub(crate) fn add(self, bytes: &[u8]) -> Self {
        let words = bytes.chunks(2).map(|word| u64::from(word[0]) << 8 | u64::from(*word.get(1).unwrap_or(&0)));
        Self(self.0 + words.sum::<u64>())
    }

    fn number(self, value: u64) -> Self {
        Self(self.0 + (value >> 16) + (value & 0xffff))
    }

    /// The checksum to write. Over bytes that already hold theirs it is 0.
    pub(crate) fn finish(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !(sum as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_sums_to_its_value() {
        assert_eq!(Sum::default().add(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]).finish(), !0xddf2);
    }
}
