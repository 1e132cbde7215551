//! Reads a regular file, and never waits for one: a FIFO, a socket or a device in its place is refused unread.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// A manifest of many files may be larger than each of them; a file that is larger than this was never written by us.
pub(crate) const MOST_BYTES: u64 = 256 << 20;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Something else stands there; the words say what, with their article.
    #[error("it is {0}, and only a regular file is read")]
    Kind(&'static str),
    /// It has more than this many bytes.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// The kernel refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The bytes of a regular file, at most `most` of them. Links are followed.
///
/// # Errors
/// [`Error`] says what stands there instead, that it is too large, or the kernel's answer.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    // Looked at before it is opened: to open a device may already do something to it.
    regular(fs::metadata(path)?.file_type())?;
    // It may be another file by now. O_NONBLOCK opens a FIFO without a writer, and does nothing to a regular file.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    regular(file.metadata()?.file_type())?;
    contents(file, most)
}

fn regular(kind: FileType) -> Result<(), Error> {
    match kind {
        _ if kind.is_file() => Ok(()),
        _ if kind.is_dir() => Err(Error::Kind("a directory")),
        _ if kind.is_fifo() => Err(Error::Kind("a FIFO")),
        _ if kind.is_socket() => Err(Error::Kind("a socket")),
        _ => Err(Error::Kind("a device")),
    }
}

/// One more byte than allowed tells a file that is too large from one that just fits, whatever its size says.
fn contents(file: File, most: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(Error::TooLarge(most)) } else { Ok(bytes) }
}
