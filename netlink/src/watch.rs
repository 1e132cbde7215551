//! Telling when links, addresses, routes or static FDB entries may have changed.

use std::io;

use netlink_packet_core::NetlinkBuffer;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{NeighbourHeader, NeighbourState};
use netlink_packet_route::route::RouteHeader;
use netlink_sys::{AsyncSocket, AsyncSocketExt, TokioSocket, protocols::NETLINK_ROUTE};

use crate::error::Error;
use crate::model::PROTOCOL;
use crate::socket::Replies;

/// `RTNLGRP_*` (`include/uapi/linux/rtnetlink.h`): LINK, NEIGH (of the FDB too), IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR,
/// IPV6_ROUTE, IPV6_IFINFO (`disable_ipv6` of a link that is up).
const GROUPS: [u32; 7] = [1, 3, 5, 7, 9, 11, 12];
/// `RTM_NEWROUTE`, `RTM_DELROUTE`, `RTM_NEWNEIGH`, `RTM_DELNEIGH`.
const ROUTES: std::ops::RangeInclusive<u16> = 24..=25;
const NEIGHBOURS: std::ops::RangeInclusive<u16> = 28..=29;
/// One event is at most a page or two; a torn one is a wake like any other.
const DATAGRAM: usize = 32 << 10;
/// Wanted receive buffer; the kernel caps it. Where a burst overflows it nothing is lost: that is a wake as well.
const RECEIVE_BUFFER: i32 = 1 << 20;

/// A socket on which the kernel tells of changes.
pub struct Watch {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

impl Watch {
    /// Subscribes, within a tokio runtime. What changes after this returns is told; observe once after it.
    ///
    /// # Errors
    /// [`Error::Open`] if there is no such socket to be had.
    pub fn open() -> Result<Self, Error> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE).map_err(|e| Error::Open("socket", e))?;
        let inner = socket.socket_mut();
        inner.bind_auto().map_err(|e| Error::Open("bind", e))?;
        inner.set_rx_buf_sz(RECEIVE_BUFFER).map_err(|e| Error::Open("SO_RCVBUF", e))?;
        for group in GROUPS {
            inner.add_membership(group).map_err(|e| Error::Open("NETLINK_ADD_MEMBERSHIP", e))?;
        }
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Waits for a change that may matter, and takes all that are there already along with it. May be dropped while it
    /// waits; our own writes wake too.
    ///
    /// # Errors
    /// [`Error::Receive`] if the socket is broken: open another.
    pub async fn wake(&mut self) -> Result<(), Error> {
        loop {
            self.buffer.clear();
            let received = self.socket.recv_from(&mut self.buffer).await.map(|_| ());
            if self.told(received)? {
                break;
            }
        }
        loop {
            self.buffer.clear();
            match self.socket.socket_ref().recv(&mut self.buffer, libc::MSG_DONTWAIT) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                received => self.told(received.map(|_| ()))?,
            };
        }
    }

    fn told(&self, received: io::Result<()>) -> Result<bool, Error> {
        match received {
            Ok(()) => Ok(Replies(&self.buffer).any(|event| event.as_ref().map_or(true, matters))),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(Error::Receive(error)),
        }
    }
}

/// Leaves out what comes all the time and is never looked at: resolved neighbours, learned FDB entries, other routes.
fn matters(event: &NetlinkBuffer<&[u8]>) -> bool {
    let (kind, payload) = (event.message_type(), event.payload());
    if ROUTES.contains(&kind) {
        let ours = |route: &RouteHeader| u8::from(route.protocol) == PROTOCOL || route.destination_prefix_length == 0;
        RouteHeader::parse(payload).as_ref().map_or(true, ours)
    } else if NEIGHBOURS.contains(&kind) {
        let fixed = |n: &NeighbourHeader| n.family == AddressFamily::Bridge && n.state == NeighbourState::Noarp;
        NeighbourHeader::parse(payload).as_ref().map_or(true, fixed)
    } else {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, payload: &[u8]) -> bool {
        let mut bytes = u32::try_from(16 + payload.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(payload);
        matters(&NetlinkBuffer::new_checked(&bytes[..]).unwrap())
    }

    #[test]
    fn links_and_addresses_wake_and_anything_unknown_does() {
        assert!(event(16, &[0; 16]) && event(20, &[0; 8]) && event(999, &[]));
        assert!(event(24, &[1]), "a torn event is no reason to sleep on");
    }

    #[test]
    fn of_routes_only_default_ones_and_ours_wake() {
        let route = |length, protocol| [2, length, 0, 0, 254, protocol, 0, 1, 0, 0, 0, 0];
        assert!(event(24, &route(0, 3)) && event(25, &route(24, PROTOCOL)));
        assert!(!event(24, &route(24, 3)));
    }

    #[test]
    fn of_neighbours_only_static_entries_of_a_bridge_wake() {
        let neighbour = |family, state| [family, 0, 0, 0, 1, 0, 0, 0, state, 0, 0, 0];
        assert!(event(29, &neighbour(7, 0x40)));
        assert!(!event(28, &neighbour(7, 0x04)) && !event(28, &neighbour(2, 0x40)));
    }
}
