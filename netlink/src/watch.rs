//! Telling when links, addresses, routes or static FDB entries may have changed.

use std::io;

use netlink_packet_core::NetlinkBuffer;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{NeighbourHeader, NeighbourState};
use netlink_packet_route::route::RouteHeader;
use netlink_sys::{AsyncSocket, AsyncSocketExt, TokioSocket, protocols::NETLINK_ROUTE};

use crate::error::Error;
use crate::model::PROTOCOL;
use crate::socket::{Messages, set_receive_buffer};

/// `RTNLGRP_*` (`include/uapi/linux/rtnetlink.h`): LINK, NEIGH (of the FDB too), IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR,
/// IPV6_ROUTE, IPV6_IFINFO (`disable_ipv6` of a link that is up).
const GROUPS: [u32; 7] = [1, 3, 5, 7, 9, 11, 12];
/// `RTM_NEWROUTE`, `RTM_DELROUTE`, `RTM_NEWNEIGH`, `RTM_DELNEIGH`.
const ROUTES: std::ops::RangeInclusive<u16> = 24..=25;
const NEIGHBOURS: std::ops::RangeInclusive<u16> = 28..=29;
/// One event is at most a page or two; a torn one is a wake like any other.
const DATAGRAM: usize = 32 << 10;
/// Receive buffer in bytes: room for what making a thousand segments tells. Where a burst overflows it nothing is lost: that
/// is a wake as well.
const RECEIVE_BUFFER: usize = 8 << 20;
/// At most so many datagrams are taken along with one that wakes. Somebody outside may bring about events, such as learned
/// addresses, faster than they are read; the next wake takes the rest.
const TAKEN_ALONG: usize = 1024;

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
        set_receive_buffer(inner, RECEIVE_BUFFER)?;
        for group in GROUPS {
            inner.add_membership(group).map_err(|e| Error::Open("NETLINK_ADD_MEMBERSHIP", e))?;
        }
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Waits for a change that may matter, and takes what is there already along with it. May be dropped while it waits; our
    /// own writes wake too.
    ///
    /// # Errors
    /// [`Error::Receive`] if the socket is broken: open another.
    pub async fn wake(&mut self) -> Result<(), Error> {
        loop {
            self.buffer.clear();
            match self.socket.recv_from(&mut self.buffer).await {
                Ok(_) if datagram_matters(&self.buffer) => break,
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Receive(error)),
            }
        }
        let (socket, buffer) = (self.socket.socket_ref(), &mut self.buffer);
        drain(|| {
            buffer.clear();
            socket.recv(buffer, libc::MSG_DONTWAIT).map(|_| ())
        })
        .map_err(Error::Receive)
    }
}

/// Takes datagrams until there is none, or [`TAKEN_ALONG`] of them.
fn drain(mut receive: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for _ in 0..TAKEN_ALONG {
        match receive() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether an event of the datagram may matter; one that cannot be read may.
fn datagram_matters(bytes: &[u8]) -> bool {
    Messages(bytes).any(|event| event.as_ref().map_or(true, matters))
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
    fn a_link_with_a_name_that_is_not_utf_8_and_a_torn_datagram_wake_like_any_other() {
        let mut link = vec![0; 16];
        link.extend([11, 0, 3, 0, b's', b'e', b'c', 0xff, 0xfe, 0, 0, 0]);
        assert!(event(16, &link));
        assert!(datagram_matters(&[1, 2, 3]));
    }

    #[test]
    fn events_that_never_end_are_left_for_the_next_wake() {
        let mut taken = 0;
        drain(|| {
            taken += 1;
            if taken % 3 == 0 { Err(io::Error::from_raw_os_error(libc::ENOBUFS)) } else { Ok(()) }
        })
        .unwrap();
        assert_eq!(taken, TAKEN_ALONG);
        let mut left = vec![Err(io::Error::from(io::ErrorKind::WouldBlock)), Ok(()), Ok(())];
        drain(|| left.pop().unwrap()).unwrap();
        assert!(left.is_empty());
        assert!(drain(|| Err(io::Error::from_raw_os_error(libc::EBADF))).is_err());
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
