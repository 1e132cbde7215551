//! What wakes the loop. A wake carries its reason and never the news: whoever is woken looks for itself.

mod files;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bulkhead_types::chain;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::guest;
use files::Files;

/// How long a source rests after it failed before it is opened again.
const REST: Duration = Duration::from_secs(1);
/// Wakes that wait while the loop works. More would say nothing new: each makes it look at everything.
const WAITING: usize = 32;

/// Which source woke the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The daemon starts.
    Start,
    /// The routing socket: links, addresses, routes, FDB.
    Links,
    /// The nftables group.
    Ruleset,
    /// systemd: our slices.
    Slices,
    /// libvirt: domains, pools, networks, the connection itself.
    Domains,
    /// The manifest's files.
    Files,
    /// Nothing for a while.
    Timer,
    /// An apply or a teardown.
    Request,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Links => "links",
            Self::Ruleset => "ruleset",
            Self::Slices => "slices",
            Self::Domains => "domains",
            Self::Files => "files",
            Self::Timer => "timer",
            Self::Request => "request",
        })
    }
}

/// A wake: why, and when it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wake {
    /// The source.
    pub(crate) reason: Reason,
    /// When it came, to measure how long the repair took.
    pub(crate) at: Instant,
    /// The same for people.
    pub(crate) time: SystemTime,
}

impl Wake {
    /// A wake of this moment.
    pub(crate) fn now(reason: Reason) -> Self {
        Self { reason, at: Instant::now(), time: SystemTime::now() }
    }
}

/// All sources, each in a task of its own that opens it again when it fails.
#[derive(Debug)]
pub(crate) struct Watches {
    wakes: mpsc::Receiver<Wake>,
    /// A wake of the files was taken; they alone are not looked at on every wake.
    files: bool,
}

impl Watches {
    /// Opens every source, within a tokio runtime. `timer` is the longest time without a look; `None` trusts the events.
    pub(crate) fn open(manifest: &Path, libvirt: Arc<guest::Libvirt>, timer: Option<Duration>) -> Self {
        let (sender, wakes) = mpsc::channel(WAITING);
        let manifest = manifest.to_owned();
        source(&sender, Reason::Links, async || bulkhead_netlink::Watch::open(), bulkhead_netlink::Watch::wake);
        source(&sender, Reason::Ruleset, async || bulkhead_policy::Watch::open(), bulkhead_policy::Watch::wake);
        let slices = bulkhead_sandbox::watch::Watch::open;
        source(&sender, Reason::Slices, slices, bulkhead_sandbox::watch::Watch::wake);
        source(&sender, Reason::Domains, async move || libvirt.watch(), guest::Watch::wake);
        source(&sender, Reason::Files, async move || Files::open(&manifest), Files::wake);
        if let Some(every) = timer {
            let ticks = async move || Ok::<_, std::io::Error>(every);
            source(&sender, Reason::Timer, ticks, async |every: &mut Duration| {
                tokio::time::sleep(*every).await;
                Ok(())
            });
        }
        Self { wakes, files: false }
    }

    /// The next wake. Those that wait already are taken along: the first tells the reason, and one look serves them all.
    pub(crate) async fn next(&mut self) -> Wake {
        let first = match self.wakes.recv().await {
            Some(wake) => wake,
            // Every task holds a sender for as long as it runs, and none ends.
            None => std::future::pending().await,
        };
        self.note(first);
        while let Ok(wake) = self.wakes.try_recv() {
            self.note(wake);
        }
        first
    }

    /// Whether the manifest's files may have changed since this was asked last.
    pub(crate) fn files_changed(&mut self) -> bool {
        std::mem::take(&mut self.files)
    }

    fn note(&mut self, wake: Wake) {
        self.files |= wake.reason == Reason::Files;
    }
}

/// Runs one source for ever.
fn source<W, E>(
    sender: &mpsc::Sender<Wake>,
    reason: Reason,
    open: impl AsyncFn() -> Result<W, E> + 'static,
    wake: impl AsyncFn(&mut W) -> Result<(), E> + 'static,
) where
    W: 'static,
    E: std::error::Error + 'static,
{
    let sender = sender.clone();
    tokio::task::spawn_local(async move {
        loop {
            match open().await {
                Ok(mut watch) => {
                    // What happened before this moment was told to nobody.
                    let _ = sender.try_send(Wake::now(reason));
                    while let Some(()) = told(reason, wake(&mut watch).await) {
                        // A full channel has a wake in it that comes later than this change.
                        let _ = sender.try_send(Wake::now(reason));
                    }
                }
                Err(error) => tracing::warn!("cannot watch {reason}: {}; trying again", chain(&error)),
            }
            tokio::time::sleep(REST).await;
        }
    });
}

fn told<E: std::error::Error + 'static>(reason: Reason, wake: Result<(), E>) -> Option<()> {
    wake.inspect_err(|error| tracing::warn!("lost the watch of {reason}: {}; opening it again", chain(error))).ok()
}
