//! The file for hosts without systemd-resolved.

use std::path::Path;
use std::{fs, io};

use super::{Error, FILE};
use crate::regular::MOST_BYTES;
use crate::{atomic, regular};

pub(super) fn read() -> Result<Option<String>, Error> {
    text(Path::new(FILE))
}

/// The text of a file; `None` where nothing is. What cannot be one of ours, as a FIFO, has none: it is there to be replaced.
fn text(path: &Path) -> Result<Option<String>, Error> {
    match regular::read(path, MOST_BYTES) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(regular::Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(regular::Error::Io(error)) => Err(Error::File(error)),
        Err(regular::Error::Kind(_) | regular::Error::TooLarge(_)) => Ok(Some(String::new())),
    }
}

/// Whether the resolver of libc reads our file.
pub(super) fn linked() -> bool {
    fs::canonicalize("/etc/resolv.conf").is_ok_and(|path| path == Path::new(FILE))
}

pub(super) fn write(text: &str) -> Result<(), Error> {
    Ok(atomic::replace(Path::new(FILE), text)?)
}

pub(super) fn remove() -> Result<(), Error> {
    match fs::remove_file(FILE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::File(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_in_the_place_of_the_file_is_not_waited_for_and_has_no_text() {
        let path = std::env::temp_dir().join(format!("bulkhead-resolv-{}", std::process::id()));
        assert_eq!(text(&path).unwrap(), None);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (done, read) = std::sync::mpsc::channel();
        let fifo = path.clone();
        std::thread::spawn(move || done.send(text(&fifo).unwrap()));
        let read = read.recv_timeout(std::time::Duration::from_secs(20));
        fs::remove_file(&path).unwrap();
        assert_eq!(read.expect("it waits for nobody"), Some(String::new()));
    }
}
