//! Routes, as `RTM_NEWROUTE` tells of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::DecodeError;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::RouteHeader;

use super::address::ip;
use super::attributes::Attributes;
use crate::model::{PROTOCOL, Route, Unread};

/// Bytes of `struct rtmsg`.
const HEADER: usize = 12;
/// `RTA_*` of `include/uapi/linux/rtnetlink.h`.
const DESTINATION: u16 = 1;
const LINK: u16 = 4;
const GATEWAY: u16 = 5;
const METRIC: u16 = 6;
const TABLE: u16 = 15;

/// A message of a route dump; passes over what is neither ours nor a default route of the main table.
pub(super) fn route(bytes: &[u8]) -> Result<Option<Route>, Unread> {
    let header = RouteHeader::parse(bytes).map_err(|error| Unread::new("route", None, &error))?;
    let ours = u8::from(header.protocol) == PROTOCOL;
    let default = header.destination_prefix_length == 0 && header.table == RouteHeader::RT_TABLE_MAIN;
    if !(ours || default) || !matches!(header.address_family, AddressFamily::Inet | AddressFamily::Inet6) {
        return Ok(None);
    }
    let attributes = Attributes::read(bytes.get(HEADER..).unwrap_or_default());
    let unread = |error: DecodeError| Unread::new("route", attributes.u32(LINK).unwrap_or(None), &error);
    decode(&header, &attributes).map(Some).map_err(unread)
}

fn decode(header: &RouteHeader, attributes: &Attributes<'_>) -> Result<Route, DecodeError> {
    attributes.whole()?;
    let family = header.address_family;
    let any: IpAddr =
        if family == AddressFamily::Inet { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let destination = ip(family, attributes, DESTINATION)?.unwrap_or(any);
    let destination = IpNet::new(destination, header.destination_prefix_length);
    Ok(Route {
        table: attributes.u32(TABLE)?.unwrap_or_else(|| u32::from(header.table)),
        destination: destination.map_err(|error| DecodeError::from(error.to_string()))?,
        gateway: ip(family, attributes, GATEWAY)?,
        index: attributes.u32(LINK)?,
        metric: attributes.u32(METRIC)?.unwrap_or(0),
        protocol: u8::from(header.protocol),
    })
}

#[cfg(test)]
mod tests {
    use super::super::attributes::tests::bytes;
    use super::*;

    /// `RTA_METRICS`: another one than `METRIC`, and a list of attributes of its own.
    const METRICS: u16 = 8;

    fn message(family: u8, length: u8, protocol: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = vec![family, length, 0, 0, 254, protocol, 0, 1, 0, 0, 0, 0];
        message.extend(bytes(attributes));
        message
    }

    #[test]
    fn a_foreign_default_route_with_attributes_of_an_unknown_form_is_read() {
        let link = 7_u32.to_ne_bytes();
        let odd = message(2, 0, 3, &[(GATEWAY, &[10, 0, 0, 1]), (METRICS, &[9, 0, 1]), (LINK, &link), (999, &[1])]);
        let odd = route(&odd).unwrap().unwrap();
        assert_eq!((odd.gateway, odd.index, odd.destination.prefix_len()), (Some([10, 0, 0, 1].into()), Some(7), 0));
    }

    #[test]
    fn a_route_that_cannot_be_read_is_one_unread_object_of_its_link_and_others_are_not_looked_at() {
        let (link, broken) = (7_u32.to_ne_bytes(), [1_u8, 2]);
        let attributes: [(u16, &[u8]); 2] = [(LINK, &link), (GATEWAY, &broken)];
        assert_eq!(route(&message(2, 0, 3, &attributes)).unwrap_err().index, Some(7));
        assert_eq!(route(&message(10, 64, PROTOCOL, &attributes)).unwrap_err().index, Some(7));
        assert_eq!(route(&message(2, 24, 3, &attributes)).unwrap(), None);
    }
}
