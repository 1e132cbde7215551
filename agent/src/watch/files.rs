//! The manifest's files, by inotify(7) on their directories: editors replace files, so a watch on a file itself would be lost.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::net::unix::pipe::Receiver;

/// Whole files only: opening one to write it is no news yet.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_ATTRIB);

/// Bytes of one read: some dozens of events, the least of which is 16 bytes and a name of up to 256.
const EVENTS: usize = 4096;

/// Why the files cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch the manifest's files")]
pub(super) struct Error(#[source] io::Error);

/// A source of wakes. A directory that is not there yet is seen by its parent's watch, or else by the timer.
#[derive(Debug)]
pub(super) struct Files {
    directories: Vec<PathBuf>,
    inotify: Inotify,
    /// The same descriptor once more. Of what comes by it only that something came is of interest, and for reading bytes
    /// without looking at them the runtime's pipe will do.
    events: Receiver,
}

impl Files {
    /// Watches the directory of the manifest and its `host.d`; of a single file, the directory that it is in.
    pub(super) fn open(manifest: &Path) -> Result<Self, Error> {
        let directories = if manifest.is_file() {
            vec![manifest.parent().unwrap_or(Path::new(".")).to_owned()]
        } else {
            vec![manifest.to_owned(), manifest.join("host.d")]
        };
        let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
        let inotify = Inotify::init(flags).map_err(|error| Error(error.into()))?;
        let again = inotify.as_fd().try_clone_to_owned().map_err(Error)?;
        let events = Receiver::from_owned_fd_unchecked(again).map_err(Error)?;
        let files = Self { directories, inotify, events };
        files.look();
        Ok(files)
    }

    /// Waits until a file may have changed. Many changes are one wake.
    pub(super) async fn wake(&mut self) -> Result<(), Error> {
        let mut bytes = [0; EVENTS];
        loop {
            self.events.readable().await.map_err(Error)?;
            match self.events.try_read(&mut bytes) {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(Error(error)),
            }
        }
        // host.d may have come, or have been replaced; watching a directory twice is watching it once.
        self.look();
        Ok(())
    }

    fn look(&self) {
        for directory in &self.directories {
            if let Err(error) = self.inotify.add_watch(directory, CHANGES) {
                tracing::debug!("{} is not watched: {error}", directory.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;

    async fn wakes(files: &mut Files) -> bool {
        tokio::time::timeout(Duration::from_secs(5), files.wake()).await.is_ok()
    }

    #[tokio::test]
    async fn a_file_written_replaced_or_removed_wakes_also_in_a_directory_that_came_later() {
        let root = std::env::temp_dir().join(format!("bulkhead-files-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let mut files = Files::open(&root).unwrap();
        fs::write(root.join("host.toml"), "").unwrap();
        assert!(wakes(&mut files).await);
        fs::create_dir(root.join("host.d")).unwrap();
        assert!(wakes(&mut files).await);
        fs::write(root.join("host.d/10-web.toml"), "").unwrap();
        assert!(wakes(&mut files).await);
        fs::rename(root.join("host.d/10-web.toml"), root.join("host.d/20-web.toml")).unwrap();
        assert!(wakes(&mut files).await);
        fs::remove_dir_all(&root).unwrap();
        assert!(wakes(&mut files).await);
    }
}
