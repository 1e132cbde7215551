//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use crate::ethernet::{self, Ether, Frame};

/// Who has this address?
pub const REQUEST: u16 = 1;
/// I have it.
pub const REPLY: u16 = 2;

const ETHERNET_AND_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// An ARP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// [`REQUEST`] or [`REPLY`].
    pub operation: u16,
    /// The sender's own address on the segment.
    pub sender: Ether,
    /// The sender's IPv4 address.
    pub sender_ip: Ipv4Addr,
    /// The target's address; unknown in a request.
    pub target: Ether,
    /// The target's IPv4 address.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// The broadcast question who has an address.
    #[must_use]
    pub const fn request(sender: Ether, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Self {
        Self { operation: REQUEST, sender, sender_ip, target: Ether::UNKNOWN, target_ip }
    }

    /// The answer to a question, from the station that has the address.
    #[must_use]
    pub const fn reply(self, station: Ether) -> Self {
        Self {
            operation: REPLY,
            sender: station,
            sender_ip: self.target_ip,
            target: self.sender,
            target_ip: self.sender_ip,
        }
    }

    /// In a frame from `source`, which an honest station writes as the sender's address: to all as a request, to the
    /// target otherwise.
    #[must_use]
    pub fn frame(self, source: Ether) -> Frame {
        let destination = if self.operation == REQUEST { Ether::BROADCAST } else { self.target };
        Frame::new(source, destination, ethernet::ARP, self.bytes())
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = ETHERNET_AND_IPV4.to_vec();
        bytes.extend(self.operation.to_be_bytes());
        bytes.extend(self.sender.0);
        bytes.extend(self.sender_ip.octets());
        bytes.extend(self.target.0);
        bytes.extend(self.target_ip.octets());
        bytes
    }

    /// What these bytes say; padding after it is left out.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&ETHERNET_AND_IPV4)?;
        let (operation, rest) = ethernet::word(rest)?;
        let (sender, rest) = rest.split_first_chunk::<6>()?;
        let (sender_ip, rest) = rest.split_first_chunk::<4>()?;
        let (target, rest) = rest.split_first_chunk::<6>()?;
        let (target_ip, _) = rest.split_first_chunk::<4>()?;
        let (sender_ip, target_ip) = (Ipv4Addr::from(*sender_ip), Ipv4Addr::from(*target_ip));
        Some(Self { operation, sender: Ether(*sender), sender_ip, target: Ether(*target), target_ip })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_built_is_parsed_again(
            operation: u16, sender: [u8; 6], sender_ip: [u8; 4], target: [u8; 6], target_ip: [u8; 4], padding: Vec<u8>,
        ) {
            let (sender_ip, target_ip) = (sender_ip.into(), target_ip.into());
            let arp = Arp { operation, sender: Ether(sender), sender_ip, target: Ether(target), target_ip };
            prop_assert_eq!(Arp::parse(&[arp.bytes(), padding].concat()), Some(arp));
        }

        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Arp::parse(&[ETHERNET_AND_IPV4.to_vec(), bytes].concat());
        }
    }
}
