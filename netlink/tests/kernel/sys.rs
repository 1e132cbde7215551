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

/// A frame that arrived on a link.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    /// Its VLAN id, if it had a tag.
    pub(crate) vlan: Option<u16>,
    /// The frame, without the tag.
    pub(crate) bytes: Vec<u8>,
}

/// Everything that arrives on one link, from its opening on.
#[derive(Debug)]
pub(crate) struct Capture(OwnedFd);

impl Capture {
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
        let one: libc::c_int = 1;
        // SAFETY: each pointer is to a live value of the length given beside it.
        let done = unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_AUXDATA,
                (&raw const one).cast(),
                size_of::<libc::c_int>() as u32,
            ) | libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as u32)
        };
        if done == 0 { Ok(Self(fd)) } else { Err(io::Error::last_os_error()) }
    }

    /// What has arrived since the last call; what the link itself sent is left out.
    pub(crate) fn frames(&self) -> Vec<Frame> {
        std::iter::from_fn(|| self.next()).flatten().collect()
    }

    /// Sends a frame out of the link.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the pointer is to a live buffer of the length beside it.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if usize::try_from(sent) == Ok(frame.len()) { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn next(&self) -> Option<Option<Frame>> {
        let mut bytes = vec![0_u8; 2048];
        let mut control = [0_u64; 16];
        // SAFETY: a plain C structure, for which all zeros is a value.
        let mut from: libc::sockaddr_ll = unsafe { zeroed() };
        let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: as above.
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_name = (&raw mut from).cast();
        message.msg_namelen = size_of::<libc::sockaddr_ll>() as u32;
        (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
        (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control));
        // SAFETY: every pointer in `message` is to a live buffer of the length beside it.
        let length = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, 0) };
        bytes.truncate(usize::try_from(length).ok()?);
        let vlan = tag(&message);
        Some((from.sll_pkttype != libc::PACKET_OUTGOING).then_some(Frame { vlan, bytes }))
    }
}

fn tag(message: &libc::msghdr) -> Option<u16> {
    // SAFETY: the kernel filled the control buffer of this message, which the caller still holds.
    let header = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    if (header.cmsg_level, header.cmsg_type) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return None;
    }
    // SAFETY: data of this type is one tpacket_auxdata (packet(7)), not necessarily aligned.
    let data: libc::tpacket_auxdata =
        unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() };
    (data.tp_status & libc::TP_STATUS_VLAN_VALID != 0).then_some(data.tp_vlan_tci & 0xfff)
}

/// Takes `CAP_NET_ADMIN` from the calling thread (and what it starts from now on).
pub(crate) fn drop_net_admin() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    const NET_ADMIN: u32 = 12;
    let mut header = [VERSION_3, 0];
    let mut sets = [[0_u32; 3]; 2];
    // SAFETY: capget(2) and capset(2) take a header of two words and two sets of three words, both alive here.
    unsafe {
        if libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        sets[0].iter_mut().for_each(|set| *set &= !(1 << NET_ADMIN));
        if libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Gives a link a name of any bytes: by a raw message, since iproute2 takes only UTF-8.
pub(crate) fn rename(index: u32, name: &[u8]) -> io::Result<()> {
    let mut message = Vec::new();
    // `struct nlmsghdr`: the length follows, RTM_NEWLINK, NLM_F_REQUEST and NLM_F_ACK, sequence number and port.
    message.extend([0; 4]);
    message.extend(16_u16.to_ne_bytes());
    message.extend(5_u16.to_ne_bytes());
    message.extend([0; 8]);
    // `struct ifinfomsg`.
    message.extend([0; 4]);
    message.extend(index.to_ne_bytes());
    message.extend([0; 8]);
    // `IFLA_IFNAME`, with its final NUL.
    message.extend((5 + name.len() as u16).to_ne_bytes());
    message.extend(3_u16.to_ne_bytes());
    message.extend(name);
    message.push(0);
    message.resize(message.len().next_multiple_of(4), 0);
    let length = (message.len() as u32).to_ne_bytes();
    message[..4].copy_from_slice(&length);
    let mut socket = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.send_to(&message, &netlink_sys::SocketAddr::new(0, 0), 0)?;
    let mut answer = Vec::with_capacity(4096);
    socket.recv(&mut answer, 0)?;
    let code = answer.get(16..20).and_then(|code| code.try_into().ok()).map_or(-libc::EBADMSG, i32::from_ne_bytes);
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
}
