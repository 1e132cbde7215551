//! The machines of the lab: their images, what is handed in, and their run.

mod boot;
mod image;
mod initramfs;
mod payload;
mod qemu;

use std::io;
use std::path::{Path, PathBuf};

pub(crate) use boot::{Ran, Screen, Start, boot};
pub(crate) use image::{Image, build};
pub(crate) use payload::Payload;

use crate::program;

/// By its path: an ordinary user's PATH has no sbin.
const MKE2FS: &str = "/usr/sbin/mke2fs";

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file could not be read, written or copied.
    #[error("{action} {}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A program was needed.
    #[error(transparent)]
    Program(#[from] program::Error),
    /// Neither root nor sudo.
    #[error(transparent)]
    Root(#[from] crate::deps::DepsError),
    /// The image has no kernel, or not the modules that it boots with.
    #[error("the image of {0} has no {1}")]
    Missing(crate::suite::Suite, String),
    /// The machine ended or hung before it had done its task.
    #[error("{what}; the console's last words (all of them: {}):\n{tail}", console.display())]
    Died {
        /// What was seen of it.
        what: String,
        /// The console's log.
        console: PathBuf,
        /// Its end.
        tail: String,
    },
}

fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path, source }
}
