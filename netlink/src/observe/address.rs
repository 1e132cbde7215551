//! Addresses, as `RTM_NEWADDR` tells of them.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::DecodeError;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressFlags, AddressHeader};

use super::attributes::Attributes;
use crate::model::{Address, Unread};

/// Bytes of `struct ifaddrmsg`.
const HEADER: usize = 8;
/// `IFA_*` of `include/uapi/linux/if_addr.h`.
const PEER: u16 = 1;
const LOCAL: u16 = 2;
const FLAGS: u16 = 8;
const PROTO: u16 = 11;

/// A message of an address dump; passes over other families than IPv4 and IPv6.
pub(super) fn address(bytes: &[u8]) -> Result<Option<Address>, Unread> {
    let header = AddressHeader::parse(bytes).map_err(|error| Unread::new("address", None, &error))?;
    if !matches!(header.family, AddressFamily::Inet | AddressFamily::Inet6) {
        return Ok(None);
    }
    let attributes = Attributes::read(bytes.get(HEADER..).unwrap_or_default());
    decode(&header, &attributes).map(Some).map_err(|error| Unread::new("address", Some(header.index), &error))
}

fn decode(header: &AddressHeader, attributes: &Attributes<'_>) -> Result<Address, DecodeError> {
    attributes.whole()?;
    // Without a peer, IPv6 has no local address, and both are the same in IPv4.
    let kind = if attributes.get(LOCAL).is_some() { LOCAL } else { PEER };
    let ip = ip(header.family, attributes, kind)?.ok_or("an address message without an address")?;
    let flags = attributes.u32(FLAGS)?.unwrap_or_else(|| u32::from(header.flags.bits()));
    let flags = AddressFlags::from_bits_retain(flags);
    Ok(Address {
        index: header.index,
        address: IpNet::new(ip, header.prefix_len).map_err(|error| DecodeError::from(error.to_string()))?,
        protocol: attributes.u8(PROTO)?.unwrap_or(0),
        secondary: ip.is_ipv4() && flags.contains(AddressFlags::Secondary),
        duplicate: flags.contains(AddressFlags::Dadfailed),
    })
}

/// An address of that family; `None` where there is no attribute of that kind.
pub(super) fn ip(family: AddressFamily, attributes: &Attributes<'_>, kind: u16) -> Result<Option<IpAddr>, DecodeError> {
    if family == AddressFamily::Inet {
        attributes.array::<4>(kind).map(|found| found.map(IpAddr::from))
    } else {
        attributes.array::<16>(kind).map(|found| found.map(IpAddr::from))
    }
}

#[cfg(test)]
mod tests {
    use super::super::attributes::tests::bytes;
    use super::*;

    /// The label of an IPv4 address, which begins with its link's name (`IFA_LABEL`).
    const LABEL: u16 = 3;

    fn message(prefix: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = vec![2, prefix, 0, 0];
        message.extend(7_u32.to_ne_bytes());
        message.extend(bytes(attributes));
        message
    }

    #[test]
    fn an_address_whose_label_is_not_utf_8_is_read_like_any_other() {
        let odd = message(24, &[(LOCAL, &[10, 0, 0, 1]), (LABEL, b"sec\xff\xfe\0"), (PROTO, &[98])]);
        let odd = address(&odd).unwrap().unwrap();
        assert_eq!((odd.index, odd.address.to_string().as_str(), odd.protocol), (7, "10.0.0.1/24", 98));
    }

    #[test]
    fn an_address_that_cannot_be_read_is_one_unread_object_of_its_link() {
        for broken in [
            message(24, &[(LOCAL, &[10, 0, 0])]),
            message(33, &[(LOCAL, &[10, 0, 0, 1])]),
            message(24, &[(LABEL, b"eth0\0")]),
        ] {
            assert_eq!(address(&broken).unwrap_err().index, Some(7));
        }
        assert_eq!(address(&[2, 24, 0]).unwrap_err().index, None);
    }
}
