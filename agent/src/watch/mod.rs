//! What wakes the loop. A wake carries its reason and never the news: whoever is woken looks for itself.

mod dirty;
mod files;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bulkhead_types::chain;
use tokio::time::Instant;

use crate::{guest, resolver};
pub(crate) use dirty::Dirty;
use files::Files;

/// How long a source rests after it failed before it is opened again.
const REST: Duration = Duration::from_secs(1);

/// Which source woke the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// The daemon starts.
    Start,
    /// The routing socket: links, addresses, routes, FDB.
    Links,
    /// The nftables group.
    Ruleset,
    /// systemd-resolved came or went.
    Resolver,
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
            Self::Resolver => "resolver",
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

/// Opens all sources, within a tokio runtime: each in a task of its own that opens it again when it fails. `timer` is the
/// longest time without a look; `None` trusts the events.
pub(crate) fn open(manifest: &Path, libvirt: Arc<guest::Libvirt>, timer: Option<Duration>) -> Arc<Dirty> {
    let dirty = Arc::new(Dirty::default());
    let manifest = manifest.to_owned();
    source(&dirty, Reason::Links, async || bulkhead_netlink::Watch::open(), bulkhead_netlink::Watch::wake);
    source(&dirty, Reason::Ruleset, async || bulkhead_policy::Watch::open(), bulkhead_policy::Watch::wake);
    source(&dirty, Reason::Resolver, resolver::Watch::open, resolver::Watch::wake);
    let slices = bulkhead_sandbox::watch::Watch::open;
    source(&dirty, Reason::Slices, slices, bulkhead_sandbox::watch::Watch::wake);
    source(&dirty, Reason::Domains, async move || libvirt.watch(), guest::Watch::wake);
    source(&dirty, Reason::Files, async move || Files::open(&manifest), Files::wake);
    if let Some(every) = timer {
        let ticks = async move || Ok::<_, std::io::Error>(every);
        source(&dirty, Reason::Timer, ticks, async |every: &mut Duration| {
            tokio::time::sleep(*every).await;
            Ok(())
        });
    }
    dirty
}

/// Runs one source for ever.
fn source<W, E>(
    dirty: &Arc<Dirty>,
    reason: Reason,
    open: impl AsyncFn() -> Result<W, E> + 'static,
    wake: impl AsyncFn(&mut W) -> Result<(), E> + 'static,
) where
    W: 'static,
    E: std::error::Error + 'static,
{
    let dirty = Arc::clone(dirty);
    tokio::task::spawn_local(async move {
        loop {
            match open().await {
                Ok(mut watch) => {
                    // What happened before this moment was said to nobody.
                    dirty.mark(Wake::now(reason));
                    let lost = loop {
                        match wake(&mut watch).await {
                            Ok(()) => dirty.mark(Wake::now(reason)),
                            Err(error) => break error,
                        }
                    };
                    tracing::warn!("lost the watch of {reason}: {}; opening it again", chain(&lost));
                }
                Err(error) => tracing::warn!("cannot watch {reason}: {}; trying again", chain(&error)),
            }
            tokio::time::sleep(REST).await;
        }
    });
}
