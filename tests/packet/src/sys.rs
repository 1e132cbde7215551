//! The calls that have no safe wrapper: packet sockets (packet(7)) and entering a network namespace (setns(2)).
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// What a socket shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shows {
    /// Nothing: it only sends.
    Nothing,
    /// What the interface takes, which is left as it is.
    Taken,
    /// Every frame of the wire: the interface is made to take all.
    Everything,
}

/// One frame as the kernel hands it out.
pub(crate) struct Received {
    /// How many bytes of the buffer it fills; more than the buffer has where it was cut.
    pub(crate) length: usize,
    /// Whether this machine sent it out through the interface.
    pub(crate) outgoing: bool,
    /// EtherType and control of the outermost tag, which the kernel takes out of the bytes.
    pub(crate) tag: Option<(u16, u16)>,
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The index of an interface in the calling thread's namespace.
pub(crate) fn index(interface: &str) -> io::Result<i32> {
    let name = CString::new(interface)?;
    // SAFETY: a string with its final NUL that lives through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => i32::try_from(index).map_err(io::Error::other),
    }
}

/// A packet socket on one interface of the calling thread's namespace, where it stays.
pub(crate) fn open(interface: i32, shows: Shows) -> io::Result<OwnedFd> {
    // Protocol 0 shows nothing until bind names another, so no frame of another interface slips in between.
    // SAFETY: no pointers; the result is checked before it is owned.
    let fd = checked(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: a descriptor just made, owned by nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if shows != Shows::Nothing {
        const BUFFER: libc::c_int = 64 << 20;
        set(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_AUXDATA, &1)?;
        set(fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &BUFFER)?;
    }
    if shows == Shows::Everything {
        // A NIC hands out only frames to its own address unless it is asked for all.
        // SAFETY: a plain C structure, for which all zeros is a value.
        let mut all: libc::packet_mreq = unsafe { zeroed() };
        (all.mr_ifindex, all.mr_type) = (interface, libc::PACKET_MR_PROMISC as u16);
        set(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &all)?;
    }
    // SAFETY: a plain C structure, for which all zeros is a value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = interface;
    address.sll_protocol = if shows == Shows::Nothing { 0 } else { (libc::ETH_P_ALL as u16).to_be() };
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer is to a live value of the length given beside it.
    checked(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(fd)
}

fn set<T>(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer is to a live value of the length given beside it.
    checked(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const *value).cast(), length) }).map(drop)
}

/// Makes a socket that shows everything leave out what this machine sends.
pub(crate) fn ignore_outgoing(fd: BorrowedFd<'_>) -> io::Result<()> {
    // linux/if_packet.h, since Linux 4.20.
    const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
    set::<libc::c_int>(fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1)
}

/// Sends one frame.
pub(crate) fn send(fd: BorrowedFd<'_>, frame: &[u8]) -> io::Result<()> {
    // SAFETY: the pointer is to a live slice of the length given beside it.
    let sent = unsafe { libc::send(fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits until there is a frame to read; whether there is one.
pub(crate) fn wait(fd: BorrowedFd<'_>, longest: Duration) -> io::Result<bool> {
    let mut asked = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let milliseconds = longest.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(libc::c_int::MAX);
    // SAFETY: one live pollfd, as the count says.
    match checked(unsafe { libc::poll(&raw mut asked, 1, milliseconds) }) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        other => other.map(|ready| ready > 0),
    }
}

/// Reads one frame without waiting; `None` when there is none.
pub(crate) fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    let mut control = [0_u64; 16];
    // SAFETY: a plain C structure, for which all zeros is a value.
    let mut from: libc::sockaddr_ll = unsafe { zeroed() };
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: as above.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control));
    // SAFETY: every pointer in `message` is to a live buffer of the length beside it.
    let length = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT | libc::MSG_TRUNC) };
    let Ok(length) = usize::try_from(length) else {
        let error = io::Error::last_os_error();
        let nothing = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
        return if nothing { Ok(None) } else { Err(error) };
    };
    Ok(Some(Received { length, outgoing: from.sll_pkttype == libc::PACKET_OUTGOING, tag: tag(&message) }))
}

fn tag(message: &libc::msghdr) -> Option<(u16, u16)> {
    // SAFETY: the kernel filled the control buffer of this message, which the caller still holds.
    let header = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    if (header.cmsg_level, header.cmsg_type) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return None;
    }
    // SAFETY: data of this type is one tpacket_auxdata (packet(7)), not necessarily aligned.
    let data: libc::tpacket_auxdata =
        unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() };
    let has = |flag| data.tp_status & flag != 0;
    let kind = if has(libc::TP_STATUS_VLAN_TPID_VALID) { data.tp_vlan_tpid } else { crate::ethernet::DOT1Q };
    has(libc::TP_STATUS_VLAN_VALID).then_some((kind, data.tp_vlan_tci))
}

/// How many frames the socket could not hold since the last question.
pub(crate) fn lost(fd: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: a plain C structure, for which all zeros is a value.
    let mut statistics: libc::tpacket_stats = unsafe { zeroed() };
    let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    let value = (&raw mut statistics).cast();
    // SAFETY: the pointers are to live values, and the length is that of the value.
    checked(unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, value, &raw mut length)
    })?;
    Ok(u64::from(statistics.tp_drops))
}

/// Moves the calling thread, and whatever it starts and opens from now on, to a network namespace.
pub(crate) fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers; the thread keeps its files and memory.
    checked(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}
