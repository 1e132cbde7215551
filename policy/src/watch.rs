//! Telling when somebody else may have changed our tables.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use netlink_sys::{AsyncSocket, AsyncSocketExt, TokioSocket, protocols::NETLINK_NETFILTER};

use crate::error::Error;
use crate::model::{LOCKDOWN_TABLE, TABLE};
use crate::nfnetlink::{SUBSYSTEM, attribute, messages, table_name};
use crate::sys::force_receive_buffer;

/// `NFNLGRP_NFTABLES` (`include/uapi/linux/netfilter/nfnetlink.h`).
const GROUP: u32 = 7;
/// `NFT_MSG_NEWGEN`: the end of each transaction, with the thread that committed it.
const NEW_GENERATION: u16 = 15;
/// `NFTA_GEN_PROC_PID`.
const ATTRIBUTE_THREAD: u16 = 2;
const DATAGRAM: usize = 64 << 10;
/// Room for what a transaction of a thousand NICs tells. Where one overflows it nothing is lost: that is a wake as well.
const RECEIVE_BUFFER: i32 = 8 << 20;
/// At most so many datagrams are taken along with one that wakes. Somebody else may change tables of their own faster than it
/// is read; the next wake takes the rest.
const TAKEN_ALONG: usize = 1024;

/// A socket on which the kernel tells of transactions.
pub struct Watch {
    socket: TokioSocket,
    buffer: Vec<u8>,
    /// Whether the transaction that is being told touches a table of ours.
    touched: bool,
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
        let mut socket = TokioSocket::new(NETLINK_NETFILTER).map_err(|e| Error::Open("socket", e))?;
        let inner = socket.socket_mut();
        inner.bind_auto().map_err(|e| Error::Open("bind", e))?;
        force_receive_buffer(inner.as_fd(), RECEIVE_BUFFER).map_err(|e| Error::Open("SO_RCVBUFFORCE", e))?;
        inner.add_membership(GROUP).map_err(|e| Error::Open("NETLINK_ADD_MEMBERSHIP", e))?;
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM), touched: false })
    }

    /// Waits until a transaction of another process has touched our tables, and takes what is there already along with it. May
    /// be dropped while it waits. Transactions of this process do not wake.
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
        drain(|| {
            self.buffer.clear();
            match self.socket.socket_ref().recv(&mut self.buffer, libc::MSG_DONTWAIT) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                received => self.told(received.map(|_| ())).map(|_| true),
            }
        })
    }

    fn told(&mut self, received: io::Result<()>) -> Result<bool, Error> {
        match received {
            Ok(()) => Ok(told(&self.buffer, &mut self.touched, is_our_thread)),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(Error::Receive(error)),
        }
    }
}

/// Takes datagrams until `take` says that there was none, or [`TAKEN_ALONG`] of them.
fn drain(mut take: impl FnMut() -> Result<bool, Error>) -> Result<(), Error> {
    for _ in 0..TAKEN_ALONG {
        if !take()? {
            break;
        }
    }
    Ok(())
}

/// Whether a transaction of somebody else that touches our tables ends in this datagram. What cannot be read is one.
fn told(bytes: &[u8], touched: &mut bool, ours: impl Fn(u32) -> bool) -> bool {
    let mut wake = false;
    for event in messages(bytes) {
        let Ok(event) = event else { return true };
        if event.message_type() == SUBSYSTEM << 8 | NEW_GENERATION {
            let thread = attribute(event.payload(), ATTRIBUTE_THREAD).and_then(|value| value.first_chunk().copied());
            wake |= *touched && !thread.is_some_and(|thread| ours(u32::from_be_bytes(thread)));
            *touched = false;
        } else {
            *touched |= table_name(event.payload())
                .is_none_or(|name| name == TABLE.as_bytes() || name == LOCKDOWN_TABLE.as_bytes());
        }
    }
    wake
}

/// libnftables has a thread of its own in this process, and the kernel names the thread.
fn is_our_thread(thread: u32) -> bool {
    Path::new("/proc/self/task").join(thread.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nfnetlink::tests::message;

    fn generation(thread: u32) -> Vec<u8> {
        message(NEW_GENERATION, &[(1, &[0, 0, 0, 9]), (ATTRIBUTE_THREAD, &thread.to_be_bytes())])
    }

    fn wakes(datagrams: &[Vec<u8>]) -> bool {
        let mut touched = false;
        // Each is read, whether an earlier one woke or not.
        let woken: Vec<bool> = datagrams.iter().map(|bytes| told(bytes, &mut touched, |thread| thread == 42)).collect();
        woken.contains(&true)
    }

    #[test]
    fn a_transaction_of_another_process_on_our_tables_wakes_at_its_end() {
        let rule = message(6, &[(1, b"bulkhead\0"), (2, b"forward\0")]);
        assert!(wakes(&[[rule.clone(), generation(7)].concat()]));
        assert!(wakes(&[rule.clone(), message(1, &[(1, b"other\0")]), generation(7)]), "in datagrams of their own");
        assert!(wakes(&[message(2, &[(1, b"bulkhead_lockdown\0")]), generation(7)]));
        assert!(!wakes(&[rule]), "not before it is committed");
    }

    #[test]
    fn our_own_transactions_and_those_on_other_tables_wake_nobody() {
        assert!(!wakes(&[message(6, &[(1, b"bulkhead\0")]), generation(42)]));
        assert!(!wakes(&[message(6, &[(1, b"bulkhead_of_others\0")]), generation(7)]));
        assert!(!wakes(&[generation(7)]));
    }

    #[test]
    fn what_cannot_be_read_wakes() {
        assert!(wakes(&[vec![1, 2, 3]]));
        assert!(wakes(&[[message(6, &[]), message(NEW_GENERATION, &[])].concat()]));
    }

    #[test]
    fn transactions_that_hardly_ever_end_are_left_for_the_next_wake() {
        let mut taken = 0;
        drain(|| {
            taken += 1;
            Ok(taken < 10 * TAKEN_ALONG)
        })
        .unwrap();
        assert_eq!(taken, TAKEN_ALONG);
        let mut left = vec![false, true, true];
        drain(|| Ok(left.pop().unwrap())).unwrap();
        assert!(left.is_empty());
        assert!(drain(|| Err(Error::Receive(io::Error::from_raw_os_error(libc::EBADF)))).is_err());
    }

    #[test]
    fn a_thread_of_this_process_is_ours_and_the_kernels_first_is_not() {
        assert!(is_our_thread(std::process::id()));
        assert!(!is_our_thread(2));
    }
}
