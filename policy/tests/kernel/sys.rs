//! The calls that have no safe wrapper: a network namespace of one's own, and frames as they are on the wire.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Puts the calling thread, and every thread and process that it starts, in a new network namespace.
pub(crate) fn new_network() -> io::Result<()> {
    // SAFETY: no pointers; the thread keeps its files and memory.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The calling thread, as `ip link set ... netns` knows it.
pub(crate) fn thread_id() -> i32 {
    // SAFETY: no arguments, no failure.
    unsafe { libc::gettid() }
}

/// A link as the wire sees it: whole frames in and out.
#[derive(Debug)]
pub(crate) struct Wire(OwnedFd);

impl Wire {
    pub(crate) fn open(index: u32) -> io::Result<Self> {
        let all = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: no pointers; the result is checked before it is owned.
        let fd = unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, i32::from(all))
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor just made, owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: a plain C structure, for which all zeros is a value.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        (address.sll_family, address.sll_protocol) = (libc::AF_PACKET as u16, all);
        address.sll_ifindex = index as i32;
        let buffer: libc::c_int = 8 << 20;
        // SAFETY: each pointer is to a live value of the length given beside it.
        let done = unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVBUFFORCE,
                (&raw const buffer).cast(),
                size_of::<libc::c_int>() as u32,
            ) | libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as u32)
        };
        if done == 0 { Ok(Self(fd)) } else { Err(io::Error::last_os_error()) }
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        loop {
            // SAFETY: the pointer is to a live buffer of the length beside it.
            let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
            if sent >= 0 {
                return;
            }
            let error = io::Error::last_os_error();
            assert!(matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN)), "send: {error}");
            std::thread::yield_now();
        }
    }

    /// Everything that has arrived since the last call; not what was sent from here.
    pub(crate) fn frames(&self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.next()).flatten().collect()
    }

    /// The next frame, or what came was outgoing; the outer `None` is the end.
    fn next(&self) -> Option<Option<Vec<u8>>> {
        let mut bytes = vec![0_u8; 2048];
        // SAFETY: a plain C structure, for which all zeros is a value.
        let mut from: libc::sockaddr_ll = unsafe { zeroed() };
        let mut length = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: every pointer is to a live value of the length beside it.
        let received = unsafe {
            libc::recvfrom(
                self.0.as_raw_fd(),
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                0,
                (&raw mut from).cast(),
                &raw mut length,
            )
        };
        bytes.truncate(usize::try_from(received).ok()?);
        Some((from.sll_pkttype != libc::PACKET_OUTGOING).then_some(bytes))
    }
}

/// The generation id of the ruleset of the calling thread's namespace (`NFT_MSG_GETGEN`).
pub(crate) fn generation() -> u32 {
    use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};
    let mut socket = Socket::new(NETLINK_NETFILTER).unwrap();
    socket.bind_auto().unwrap();
    let mut request = 20_u32.to_ne_bytes().to_vec();
    request.extend((10_u16 << 8 | 16).to_ne_bytes());
    request.extend(1_u16.to_ne_bytes());
    request.extend([0; 12]);
    socket.send(&request, 0).unwrap();
    let mut reply = Vec::with_capacity(4096);
    socket.recv(&mut reply, 0).unwrap();
    // Header of 16 bytes, nfgenmsg of 4, attribute header of 4: NFTA_GEN_ID.
    u32::from_be_bytes(*reply[24..].first_chunk().unwrap())
}
