//! What can go wrong between this process and the kernel's routing socket.

use std::fmt;
use std::io;
use std::time::Duration;

/// The kernel said no to one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The positive errno.
    pub errno: i32,
    /// The kernel's own words (`NLMSGERR_ATTR_MSG`), where it has any.
    pub text: Option<String>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno);
        match &self.text {
            Some(text) => write!(f, "{error}: {text}"),
            None => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Refused {}

/// The conversation with the kernel failed; nothing is known of what was asked last. Observe again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No socket, or not with the options that everything here relies on.
    #[error(
        "cannot open a netlink socket ({0}); the kernel and the service's RestrictAddressFamilies= must allow AF_NETLINK"
    )]
    Open(&'static str, #[source] io::Error),
    /// The kernel did not take a datagram.
    #[error("cannot send to the routing netlink socket")]
    Send(#[source] io::Error),
    /// The kernel's answer could not be read.
    #[error("cannot receive from the routing netlink socket")]
    Receive(#[source] io::Error),
    /// Answers were lost because the receive buffer was full (`ENOBUFS`).
    #[error("the kernel dropped netlink answers because the receive buffer was full; observe again")]
    Overrun,
    /// No answer came.
    #[error("the kernel did not answer {what} for {} s; some process may be holding the RTNL lock", .waited.as_secs())]
    Timeout {
        /// What was asked.
        what: &'static str,
        /// How long nothing came.
        waited: Duration,
    },
    /// The list changed while it was read, every time it was tried (`NLM_F_DUMP_INTR`).
    #[error("the list of {what} changed during each of {tries} readings; observe again when things are quiet")]
    Interrupted {
        /// What was listed.
        what: &'static str,
        /// How often it was tried.
        tries: u32,
    },
    /// The kernel refused to list something.
    #[error("the kernel refused to list {what}")]
    Refused {
        /// What was listed.
        what: &'static str,
        /// Its words.
        #[source]
        refused: Refused,
    },
    /// The kernel's message cannot be read, so that what it says must not be guessed.
    #[error("cannot decode the kernel's list of {what}: {text}")]
    Decode {
        /// What was listed.
        what: &'static str,
        /// Where it failed.
        text: String,
    },
}
