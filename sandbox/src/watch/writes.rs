//! Writes into the groups of guests, by inotify(7) on their directories: systemd sends no signal when somebody sets a property of a
//! slice, and libvirt none when it sets a limit in its own group below.
//!
//! The kernel tells of every write by a process, in cgroupfs as in any directory. What it changes there itself it does not tell, but
//! no limit changes by itself.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};
use tokio::net::unix::pipe::Receiver;

use crate::error::Error;
use crate::model::Control;

/// The group of all guests.
const GUESTS: &str = "/sys/fs/cgroup/machine.slice/machine-bulkhead.slice";
/// How far below it there are limits of a guest: its slice, the scope of its machine, libvirt's group in that.
const DEPTH: usize = 3;
const WATCHED: AddWatchFlags =
    AddWatchFlags::IN_MODIFY.union(AddWatchFlags::IN_CREATE).union(AddWatchFlags::IN_ONLYDIR);

/// Bytes of one read: some dozens of events, the least of which is 16 bytes and a name of up to 256.
const EVENTS: usize = 4096;

/// The groups that are watched. One that goes is forgotten by the kernel.
#[derive(Debug)]
pub(super) struct Writes {
    root: PathBuf,
    inotify: Inotify,
    /// The same descriptor once more, for the runtime to wait on.
    events: Receiver,
}

impl Writes {
    /// Watches the groups of the guests that there are.
    pub(super) fn open() -> Result<Self, Error> {
        Self::at(GUESTS.into())
    }

    fn at(root: PathBuf) -> Result<Self, Error> {
        let failed = |source| Error::Read { path: root.clone(), source };
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).map_err(|e| failed(e.into()))?;
        let descriptor = inotify.as_fd().try_clone_to_owned().map_err(failed)?;
        let events = Receiver::from_owned_fd_unchecked(descriptor).map_err(failed)?;
        let writes = Self { root, inotify, events };
        writes.watch_groups();
        Ok(writes)
    }

    /// Waits until somebody wrote a limit or made a group.
    pub(super) async fn wake(&mut self) -> Result<(), Error> {
        let failed = |source: io::Error| Error::Read { path: self.root.clone(), source };
        loop {
            self.events.readable().await.map_err(failed)?;
            match self.inotify.read_events() {
                Ok(events) if events.iter().any(matters) => return Ok(()),
                Ok(_) => {}
                // The runtime learns by a read of its own that nothing is left. What comes just before that may be anything.
                Err(Errno::EAGAIN) => match self.events.try_read(&mut [0; EVENTS]) {
                    Ok(_) => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(failed(error)),
                },
                Err(error) => return Err(failed(error.into())),
            }
        }
    }

    /// Takes what has come meanwhile, and watches the groups that have come; to watch one twice is to watch it once.
    pub(super) fn watch_groups(&self) {
        while self.inotify.read_events().is_ok() {}
        self.watch(&self.root, DEPTH);
    }

    fn watch(&self, group: &Path, depth: usize) {
        // Most groups that cannot be watched have just gone; the timer looks at the others.
        if let Err(error) = self.inotify.add_watch(group, WATCHED) {
            tracing::debug!(group = %group.display(), %error, "not watched");
            return;
        }
        let Some(depth) = depth.checked_sub(1) else { return };
        for entry in fs::read_dir(group).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.watch(&entry.path(), depth);
            }
        }
    }
}

/// Whether an event is about a limit or a new group. One that says that others were lost is about all of them.
fn matters(event: &InotifyEvent) -> bool {
    let is_limit = |name: &OsStr| Control::ALL.iter().any(|control| name == control.file());
    event.mask.intersects(AddWatchFlags::IN_ISDIR | AddWatchFlags::IN_Q_OVERFLOW)
        || event.name.as_deref().is_some_and(is_limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_limit_that_is_written_wakes_also_in_a_group_that_came_later_and_nothing_else_does() {
        let root = std::env::temp_dir().join(format!("bulkhead-writes-{}", std::process::id()));
        let group = root.join("machine-bulkhead-web.slice/machine-qemu.scope/libvirt");
        fs::create_dir_all(&root).unwrap();
        let mut writes = Writes::at(root.clone()).unwrap();
        fs::create_dir_all(&group).unwrap();
        for name in ["memory.max", "cpu.max"] {
            fs::write(group.join(name), "max").unwrap();
        }
        tokio::time::timeout(Duration::from_secs(10), writes.wake()).await.expect("a new group").unwrap();
        writes.watch_groups();
        fs::write(group.join("memory.max"), "4096").unwrap();
        tokio::time::timeout(Duration::from_secs(10), writes.wake()).await.expect("a limit").unwrap();
        writes.watch_groups();
        fs::write(root.join("cgroup.procs"), "1").unwrap();
        fs::remove_dir_all(&root).unwrap();
        tokio::time::timeout(Duration::from_millis(200), writes.wake()).await.expect_err("neither");
    }
}
