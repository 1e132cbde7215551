//! What can go wrong between this process and nftables.

use std::io;

/// The conversation with libnftables or the kernel failed; nothing is known of what was asked last.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No thread for libnftables, or no context on it.
    #[error("cannot start libnftables: {0}")]
    Start(&'static str, #[source] Option<io::Error>),
    /// The thread of libnftables is gone.
    #[error("the thread of libnftables has ended; open the ruleset again")]
    Gone,
    /// No answer came in time.
    #[error("libnftables did not answer {what} for {seconds} s")]
    Timeout {
        /// What was asked.
        what: &'static str,
        /// How long nothing came.
        seconds: u64,
    },
    /// libnftables or the kernel said no, in its words.
    #[error("nftables refused to {what}: {text}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// What it said.
        text: String,
    },
    /// What was listed is not what libnftables-json(5) describes, so that what it says must not be guessed.
    #[error("cannot read the list of {what} that nftables gave: {text}")]
    Decode {
        /// What was listed.
        what: String,
        /// Where it failed.
        text: String,
    },
    /// A list of the kernel's is not to be had.
    #[error("cannot list the {0} of nftables by netlink; the service needs CAP_NET_ADMIN for it")]
    List(&'static str, #[source] io::Error),
    /// No socket to nf_tables.
    #[error("cannot open a netlink socket ({0}); RestrictAddressFamilies= of the service must allow AF_NETLINK")]
    Open(&'static str, #[source] io::Error),
    /// The socket that tells of changes is broken.
    #[error("cannot receive from the nftables netlink group")]
    Receive(#[source] io::Error),
}
