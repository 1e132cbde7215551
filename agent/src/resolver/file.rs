//! The file for hosts without systemd-resolved.

use std::path::Path;
use std::{fs, io};

use super::{Error, FILE};
use crate::generations::replace;

pub(super) fn read() -> Result<Option<String>, Error> {
    match fs::read_to_string(FILE) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::File(error)),
    }
}

/// Whether the resolver of libc reads our file.
pub(super) fn linked() -> bool {
    fs::canonicalize("/etc/resolv.conf").is_ok_and(|path| path == Path::new(FILE))
}

pub(super) fn write(text: &str) -> Result<(), Error> {
    Ok(replace(Path::new(FILE), text)?)
}

pub(super) fn remove() -> Result<(), Error> {
    match fs::remove_file(FILE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::File(error)),
        _ => Ok(()),
    }
}
