//! Why something could not be done to the network.

use std::io;
use std::process::ExitStatus;

use bulkhead_types::chain;

/// What failed, on which object, because of what.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not in a virtual machine of the lab.
    #[error(
        "this is no virtual machine of the lab (its kernel command line lacks {0}), and no other machine's network is touched"
    )]
    Elsewhere(&'static str),
    /// A call of the kernel.
    #[error("{operation} {object}")]
    Call {
        /// What was asked.
        operation: &'static str,
        /// Of which interface, namespace or address.
        object: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A program that did not succeed.
    #[error("`{line}` ended with {status}: {output}")]
    Program {
        /// The command line.
        line: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        output: String,
    },
    /// A thread that ended by a panic.
    #[error("the thread that was to {0} ended by a panic")]
    Thread(&'static str),
}

impl Error {
    /// A call that failed: what was asked, of which object.
    pub(crate) fn call(operation: &'static str, object: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let object = object.into();
        move |source| Self::Call { operation, object, source }
    }
}

impl From<Error> for String {
    fn from(error: Error) -> String {
        chain(&error)
    }
}
