//! What can go wrong between us and libvirt.

use std::time::Duration;

use super::xml::XmlError;

/// A call of libvirt that did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// libvirt refused it.
    #[error("cannot {operation} {object}: {reason}")]
    Call {
        /// What was to be done, in virsh's words.
        operation: &'static str,
        /// To what.
        object: String,
        /// libvirt's own words.
        reason: String,
        /// libvirt's kind of error.
        code: virt::error::ErrorNumber,
    },
    /// An object of that name is not ours.
    #[error("cannot {operation} {object}: it does not carry our mark and is left alone")]
    Foreign {
        /// What was to be done, in virsh's words.
        operation: &'static str,
        /// To what.
        object: String,
    },
    /// Somebody changed the domain after it was looked at.
    #[error("cannot {operation} {object}: it was changed meanwhile, and is looked at again")]
    Changed {
        /// What was to be done, in virsh's words.
        operation: &'static str,
        /// Which.
        object: String,
    },
    /// libvirt's description of an object could not be read.
    #[error("the XML of {object}")]
    Xml {
        /// Of what.
        object: String,
        /// Why not.
        source: XmlError,
    },
    /// libvirt did not answer in time. What was asked may still happen.
    #[error("libvirt did not answer within {} s; see `systemctl status libvirtd`", .0.as_secs())]
    Late(Duration),
    /// libvirt has not ended a start in time, and goes on with it.
    #[error("libvirt goes on with the start, which has not ended within {} s; until then it answers nothing else", .0.as_secs())]
    Starts(Duration),
    /// There is no connection to libvirt; the text says why.
    #[error("libvirt is not there: {0}")]
    Down(String),
    /// `/proc` could not be read.
    #[error("cannot read {path}")]
    Read {
        /// Which file.
        path: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A thread for libvirt could not be started.
    #[error("cannot start a thread for libvirt")]
    Thread(#[source] std::io::Error),
    /// The event loop of libvirt's library could not be set up.
    #[error("cannot register libvirt's event loop: {0}")]
    EventLoop(String),
}

impl Error {
    /// Whether the object is not there (any more).
    #[must_use]
    pub fn is_gone(&self) -> bool {
        use virt::error::ErrorNumber::{NoDomain, NoNetwork, NoStoragePool, NoStorageVolume};
        matches!(self, Self::Call { code: NoDomain | NoNetwork | NoStoragePool | NoStorageVolume, .. })
    }
}

/// Names operation and object of a refused call.
pub(super) trait Refused<T> {
    /// The error of `operation` on `object`.
    fn refused(self, operation: &'static str, object: &str) -> Result<T, Error>;
}

impl<T> Refused<T> for Result<T, virt::error::Error> {
    fn refused(self, operation: &'static str, object: &str) -> Result<T, Error> {
        self.map_err(|error| Error::Call {
            operation,
            object: object.to_owned(),
            reason: error.message().to_owned(),
            code: error.code(),
        })
    }
}

impl<T> Refused<T> for Result<T, XmlError> {
    fn refused(self, _: &'static str, object: &str) -> Result<T, Error> {
        self.map_err(|source| Error::Xml { object: object.to_owned(), source })
    }
}
