//! FDB entries, as `RTM_NEWNEIGH` of the family `AF_BRIDGE` tells of them.

use std::collections::BTreeSet;

use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourHeader, NeighbourState};

use super::attributes::{Attributes, station};
use crate::model::{FdbEntry, Unread};

/// Bytes of `struct ndmsg`.
const HEADER: usize = 12;
/// `NDA_*` of `include/uapi/linux/neighbour.h`.
const LINK_ADDRESS: u16 = 2;
const VLAN: u16 = 5;

/// A message of an FDB dump; passes over what is not a static entry of these ports, the ports' own addresses too
/// (`NUD_PERMANENT`), and the copies for the VLAN 1 that every port has.
pub(super) fn entry(bytes: &[u8], ports: &BTreeSet<u32>) -> Result<Option<FdbEntry>, Unread> {
    let header = NeighbourHeader::parse(bytes).map_err(|error| Unread::new("FDB entry", None, &error))?;
    // The same address may stand in the device's own filter as well (`self`): that is not the bridge's table.
    let of_bridge = !header.flags.contains(NeighbourFlags::Own);
    if header.state != NeighbourState::Noarp || !of_bridge || !ports.contains(&header.ifindex) {
        return Ok(None);
    }
    let attributes = Attributes::read(bytes.get(HEADER..).unwrap_or_default());
    attributes.whole().map_err(|error| Unread::new("FDB entry", Some(header.ifindex), &error))?;
    let mac = attributes.get(LINK_ADDRESS).and_then(station).filter(|_| attributes.get(VLAN).is_none());
    let sticky = header.flags.contains(NeighbourFlags::Sticky);
    Ok(mac.map(|mac| FdbEntry { index: header.ifindex, mac, sticky }))
}
