//! Wakes from libvirt: something in it changed, it came or went, patience ended, or a mount that decides about an encrypted
//! pool came or went. Never what changed: the next observation tells.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::error::Error;
use super::sys;
use super::thread::Shared;

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// A source of wakes.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    /// Polls as urgent whenever a mount comes or goes (proc(5)).
    mounts: AsyncFd<File>,
    /// When an end of patience last woke; those until then are no news any more.
    told: Option<Instant>,
}

impl Watch {
    pub(super) fn open(shared: Arc<Shared>) -> Result<Self, Error> {
        let failed = |source| Error::Read { path: MOUNTINFO, source };
        let file = File::open(MOUNTINFO).map_err(failed)?;
        let mounts = sys::urgent(file).map_err(failed)?;
        Ok(Self { shared, mounts, told: None })
    }

    /// Waits until there is something to look at. Many changes are one wake.
    ///
    /// # Errors
    /// The runtime can no longer wait for `/proc/self/mountinfo`.
    pub async fn wake(&mut self) -> Result<(), Error> {
        loop {
            let end = self.shared.patience.next_end(self.told);
            let patience = async {
                match end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.shared.changed.notified() => return Ok(()),
                () = patience => {
                    self.told = Some(Instant::now());
                    return Ok(());
                }
                ready = self.mounts.ready(Interest::PRIORITY) => {
                    ready.map_err(|source| Error::Read { path: MOUNTINFO, source })?.clear_ready();
                    if self.shared.mounts_matter.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                }
            }
        }
    }
}
