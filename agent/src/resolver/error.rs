//! Why DNS servers could not be read or set.

use std::io;

/// What failed, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system bus cannot be reached.
    #[error("connect to the system bus; is dbus.service running?")]
    Bus(#[source] zbus::Error),
    /// systemd-resolved refused a call.
    #[error("ask systemd-resolved for {call}")]
    Call {
        /// The method of `org.freedesktop.resolve1`.
        call: &'static str,
        /// Its answer.
        source: zbus::Error,
    },
    /// The file could not be read, written or removed.
    #[error("cannot read or write {}", super::FILE)]
    File(#[source] io::Error),
    /// The file could not be replaced.
    #[error(transparent)]
    Replace(#[from] crate::atomic::Error),
}
