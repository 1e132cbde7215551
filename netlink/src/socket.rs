//! Requests to the routing netlink socket.
//!
//! Many messages go in one send, each asks for an acknowledgement of its own and is matched with it by sequence number.
//! Nothing counts as done without one: a lost answer is an error, never a success. That is why the connection of the
//! `rtnetlink` crate is not used, only its builders: its requests end well when the task behind them is gone, its dumps
//! hide `NLM_F_DUMP_INTR`, and nothing in it has a deadline.

use std::io;
use std::time::Duration;

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer, NetlinkMessage, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{AsyncSocket, AsyncSocketExt, TokioSocket, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use nix::sys::socket::{
    setsockopt,
    sockopt::{RcvBuf, RcvBufForce},
};
use tokio::time::timeout;

use crate::apply::Writes;
use crate::error::{Error, Refused};

/// Messages in one send. Their acknowledgements (about 0.8 KiB of buffer each) then fit the kernel's smallest default
/// receive buffer, 208 KiB; 300 were seen to overflow it.
pub(crate) const CHUNK: usize = 64;
/// Receive buffer in bytes. The acknowledgements of one send take a twentieth of it.
const RECEIVE_BUFFER: usize = 1 << 20;
/// One datagram of a dump is at most 32 KiB (`netlink_dump`).
const DATAGRAM: usize = 64 << 10;
/// The longest silence. The kernel answers at once unless somebody holds the RTNL lock: seconds were seen with udev at work.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// How often a dump is read again when the list changed under it.
const TRIES: u32 = 16;
/// Where the attributes of an acknowledgement are: behind the error and the header of the request, since `NETLINK_CAP_ACK`
/// leaves out its body.
const ACK_TLVS_AT: usize = 4 + 16;
/// `NLMSGERR_ATTR_MSG`.
const ATTRIBUTE_TEXT: u16 = 1;

/// The open routing socket of the current network namespace.
#[derive(Debug)]
pub struct Kernel {
    socket: Option<Socket>,
    pub(crate) writes: Writes,
}

impl Kernel {
    /// Opens the socket; within a tokio runtime. Reading needs no privilege, writing `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// [`Error::Open`] if there is no netlink socket with extended acknowledgements to be had.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { socket: Some(Socket::open()?), writes: Writes::default() })
    }

    /// What was written since [`Kernel::open`].
    #[must_use]
    pub fn writes(&self) -> Writes {
        self.writes
    }

    /// The socket; a new one if the last conversation broke off, since answers of it may still come.
    fn socket(&mut self) -> Result<Socket, Error> {
        self.socket.take().map_or_else(Socket::open, Ok)
    }

    /// Sends up to [`CHUNK`] messages at once and waits for the acknowledgement of each.
    pub(crate) async fn request(&mut self, messages: Vec<Message>) -> Answers {
        let mut answers = Answers { acks: vec![None; messages.len()], broken: None };
        let sent = messages.len() as u64;
        match self.socket() {
            Err(error) => answers.broken = Some(error),
            Ok(mut socket) => match socket.request(messages, &mut answers.acks).await {
                Ok(()) => self.socket = Some(socket),
                Err(error) => answers.broken = Some(error),
            },
        }
        self.writes.sends += 1;
        self.writes.messages += sent;
        answers
    }

    /// Lists all of a kind. `decode` makes something of one message, or passes over it with `None`.
    pub(crate) async fn dump<T>(
        &mut self,
        what: &'static str,
        request: RouteNetlinkMessage,
        decode: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let mut socket = self.socket()?;
        for _ in 0..TRIES {
            if let Some(list) = socket.dump(what, request.clone(), &decode).await? {
                self.socket = Some(socket);
                return Ok(list);
            }
        }
        Err(Error::Interrupted { what, tries: TRIES })
    }
}

/// A message and the flags that make it create, or create only what is not there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) payload: RouteNetlinkMessage,
    pub(crate) flags: u16,
}

/// What the kernel said to the messages of one send.
#[derive(Debug)]
pub(crate) struct Answers {
    /// One a message, in their order; `None` if the conversation broke off before its acknowledgement came.
    pub(crate) acks: Vec<Option<Result<(), Refused>>>,
    /// Why it broke off.
    pub(crate) broken: Option<Error>,
}

#[derive(Debug)]
struct Socket {
    inner: Inner,
    sequence: u32,
    buffer: Vec<u8>,
}

/// `TokioSocket` has no `Debug`.
struct Inner(TokioSocket);

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AF_NETLINK")
    }
}

impl Socket {
    fn open() -> Result<Self, Error> {
        let mut inner = TokioSocket::new(NETLINK_ROUTE).map_err(|e| Error::Open("socket", e))?;
        let socket = inner.socket_mut();
        socket.bind_auto().map_err(|e| Error::Open("bind", e))?;
        socket.set_ext_ack(true).map_err(|e| Error::Open("NETLINK_EXT_ACK", e))?;
        socket.set_cap_ack(true).map_err(|e| Error::Open("NETLINK_CAP_ACK", e))?;
        // Without it the kernel takes no heed of the bridge that an FDB dump is asked for.
        socket.set_netlink_get_strict_chk(true).map_err(|e| Error::Open("NETLINK_GET_STRICT_CHK", e))?;
        set_receive_buffer(socket, RECEIVE_BUFFER)?;
        Ok(Self { inner: Inner(inner), sequence: 0, buffer: Vec::with_capacity(DATAGRAM) })
    }

    async fn request(&mut self, messages: Vec<Message>, acks: &mut [Option<Result<(), Refused>>]) -> Result<(), Error> {
        let first = self.sequence.wrapping_add(1);
        let mut datagram = Vec::new();
        for message in messages {
            self.append(&mut datagram, message.payload, message.flags | NLM_F_ACK);
        }
        self.send(&datagram).await?;
        let mut missing = acks.len();
        while missing > 0 {
            self.receive("a write").await?;
            for reply in Messages(&self.buffer) {
                let reply = reply.map_err(|e| Error::Decode { what: "acknowledgements", text: e.to_string() })?;
                let index = reply.sequence_number().wrapping_sub(first) as usize;
                if let Some(slot @ None) = acks.get_mut(index)
                    && reply.message_type() == NLMSG_ERROR
                {
                    *slot = Some(acknowledged(&reply));
                    missing -= 1;
                }
            }
        }
        Ok(())
    }

    /// The list, or `None` if it changed while it was read.
    async fn dump<T>(
        &mut self,
        what: &'static str,
        request: RouteNetlinkMessage,
        decode: &impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Error> {
        let undecodable = |e: DecodeError| Error::Decode { what, text: e.to_string() };
        let mut datagram = Vec::new();
        self.append(&mut datagram, request, NLM_F_DUMP);
        self.send(&datagram).await?;
        let (mut list, mut whole) = (Vec::new(), true);
        loop {
            self.receive(what).await?;
            for reply in Messages(&self.buffer) {
                let reply = reply.map_err(undecodable)?;
                if reply.sequence_number() != self.sequence {
                    continue;
                }
                whole &= reply.flags() & NLM_F_DUMP_INTR == 0;
                match reply.message_type() {
                    NLMSG_NOOP => {}
                    NLMSG_OVERRUN => return Err(Error::Overrun),
                    NLMSG_ERROR | NLMSG_DONE => {
                        acknowledged(&reply).map_err(|refused| Error::Refused { what, refused })?;
                        return Ok(whole.then_some(list));
                    }
                    _ => list.extend(decode(reply.payload())),
                }
            }
        }
    }

    fn append(&mut self, datagram: &mut Vec<u8>, payload: RouteNetlinkMessage, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(payload);
        message.header.flags = flags | NLM_F_REQUEST;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let start = datagram.len();
        // Every netlink message starts on a multiple of four; the attributes of ours end on one.
        datagram.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut datagram[start..]);
    }

    async fn send(&self, datagram: &[u8]) -> Result<(), Error> {
        let sent = timeout(TIMEOUT, self.inner.0.send(datagram)).await;
        sent.map_err(|_| Error::Timeout { what: "a send", waited: TIMEOUT })?.map_err(Error::Send)?;
        Ok(())
    }

    /// Reads one datagram of the kernel into the buffer.
    async fn receive(&mut self, what: &'static str) -> Result<(), Error> {
        loop {
            self.buffer.clear();
            let received = timeout(TIMEOUT, self.inner.0.recv_from(&mut self.buffer)).await;
            match received.map_err(|_| Error::Timeout { what, waited: TIMEOUT })? {
                // Only the kernel has port 0; a datagram of another process is no answer.
                Ok(from) if from.port_number() == 0 => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Err(Error::Overrun),
                Err(error) => return Err(Error::Receive(error)),
            }
        }
    }
}

/// Sets the receive buffer of a socket, in bytes, of which the kernel takes twice as many. Without `CAP_NET_ADMIN` it takes at
/// most `net.core.rmem_max`.
pub(crate) fn set_receive_buffer(socket: &netlink_sys::Socket, bytes: usize) -> Result<(), Error> {
    let done = match setsockopt(socket, RcvBufForce, &bytes) {
        Err(Errno::EPERM) => setsockopt(socket, RcvBuf, &bytes),
        done => done,
    };
    done.map_err(|errno| Error::Open("SO_RCVBUF", errno.into()))
}

/// The messages of one datagram.
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<NetlinkBuffer<&'a [u8]>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let reply = NetlinkBuffer::new_checked(self.0);
        let length = reply.as_ref().map_or(self.0.len(), |r| (r.length() as usize).next_multiple_of(4));
        self.0 = self.0.get(length..).unwrap_or_default();
        Some(reply)
    }
}

/// Reads `NLMSG_ERROR` or `NLMSG_DONE`: both begin with a negative errno, or 0.
fn acknowledged(reply: &NetlinkBuffer<&[u8]>) -> Result<(), Refused> {
    let payload = reply.payload();
    let code = payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    if code == 0 {
        return Ok(());
    }
    let attributes = if reply.flags() & NLM_F_ACK_TLVS == 0 { None } else { payload.get(ACK_TLVS_AT..) };
    let text = NlasIterator::new(attributes.unwrap_or_default())
        .map_while(Result::ok)
        .find(|attribute| attribute.kind() == ATTRIBUTE_TEXT)
        .map(|attribute| String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_owned());
    Err(Refused { errno: code.saturating_neg(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reply of the kernel: header, then payload.
    fn reply(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(16 + payload.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn the_kernels_own_words_are_kept() {
        let mut payload = (-17_i32).to_ne_bytes().to_vec();
        payload.extend([0; 16]);
        let text = b"8021q: VLAN device already exists\0";
        payload.extend(u16::try_from(4 + text.len()).unwrap().to_ne_bytes());
        payload.extend(ATTRIBUTE_TEXT.to_ne_bytes());
        payload.extend(text);
        let bytes = reply(NLMSG_ERROR, NLM_F_ACK_TLVS, &payload);
        let refused = acknowledged(&NetlinkBuffer::new_checked(&bytes[..]).unwrap()).unwrap_err();
        assert_eq!(refused.errno, libc::EEXIST);
        assert_eq!(refused.to_string(), "File exists (os error 17): 8021q: VLAN device already exists");
    }

    #[test]
    fn an_error_without_attributes_is_still_an_error_and_zero_is_none() {
        for (code, good) in [(0_i32, true), (-1, false), (i32::MIN, false)] {
            let bytes = reply(NLMSG_ERROR, 0, &code.to_ne_bytes());
            assert_eq!(acknowledged(&NetlinkBuffer::new_checked(&bytes[..]).unwrap()).is_ok(), good, "{code}");
        }
    }

    #[test]
    fn a_datagram_is_cut_into_its_messages_and_a_torn_one_ends_in_an_error() {
        let mut bytes = reply(NLMSG_DONE, 0, &[0; 5]);
        bytes.resize(24, 0);
        bytes.extend(reply(NLMSG_DONE, 0, &[0; 4]));
        assert_eq!(Messages(&bytes).filter(Result::is_ok).count(), 2);
        bytes.truncate(40);
        let kinds: Vec<bool> = Messages(&bytes).map(|r| r.is_ok()).collect();
        assert_eq!(kinds, [true, false]);
    }
}
