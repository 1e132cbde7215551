//! The daemon: gives up every privilege that it does not need, opens the rooms and the socket, and runs the agent.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_sandbox::{self as sandbox, capabilities};
use bulkhead_types::chain;
use clap::Parser;
use tokio::task::LocalSet;

use crate::agent::{Agent, Directories, Generations, Publisher, Watchdog};
use crate::guest::{self, Libvirt};
use crate::manifest;
use crate::reconcile::Reconciler;
use crate::rooms;
use crate::socket::{self, Bounds, Groups, Service};
use crate::watch;

/// Threads that look at rooms. A large ruleset keeps one of them busy for as long as it takes to compare it.
const WORKERS: usize = 2;

/// Makes this host as /etc/bulkhead says, and keeps it so. Started by systemd; people use bulkhead(1).
#[derive(Debug, Parser)]
#[command(name = "bulkheadd", version, after_help = NOTES, max_term_width = 100)]
pub struct Arguments {
    /// The manifest: one file, or a directory with host.toml and host.d/*.toml
    #[arg(long, value_name = "PATH", default_value = manifest::DEFAULT_PATH)]
    manifest: PathBuf,
    /// The longest time without a look at the host, beside the kernel's events; 0 trusts the events alone
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    resync: u64,
}

/// A paragraph is one line here, and is wrapped at the terminal's width; the list's lines are short enough for any.
const NOTES: &str = "\
Files:
  /etc/bulkhead/host.toml, host.d/*.toml
    the manifest; read at boot and by `bulkhead apply`
  /var/lib/bulkhead/generations/N.toml
    every manifest that was applied
  /var/lib/bulkhead/intent/generation
    which of them is followed
  /var/lib/bulkhead/lockdown.nft
    closes the bridges at boot until the policy stands
  /run/bulkhead/io.bulkhead.Agent
    the socket (varlink)

Stopping the daemon changes nothing: policy, links and guests stay; nothing is repaired until it runs again. It needs the capability CAP_NET_ADMIN, drops every other one, and asks systemd and libvirt for the rest over their sockets.";

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// Capabilities are not as they must be.
    #[error(transparent)]
    Privilege(#[from] sandbox::Error),
    /// No runtime, no socket, or no groups.
    #[error("cannot {0}")]
    Io(&'static str, #[source] std::io::Error),
    /// A room.
    #[error(transparent)]
    Rooms(#[from] rooms::OpenError),
    /// libvirt's threads.
    #[error(transparent)]
    Guests(#[from] guest::Error),
}

/// Runs the daemon with the arguments of this process, until it is told to stop.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// To the journal with its priorities where systemd reads it, else to standard error.
fn log() {
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::prelude::*;
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    let plain = journal.is_none().then(|| {
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).without_time().with_target(false)
    });
    tracing_subscriber::registry().with(LevelFilter::INFO).with(journal).with(plain).init();
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    // Before there is a second thread: capabilities are a thread's own.
    capabilities::drop_to_required()?;
    let io = |what| move |error| Error::Io(what, error);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(WORKERS).enable_all().build().map_err(io("start the runtime"))?;
    // The loop and the socket have this thread to themselves; looks at rooms are the workers'.
    LocalSet::new().block_on(&runtime, serve(arguments))
}

async fn serve(arguments: &Arguments) -> Result<(), Error> {
    let io = |what| move |error| Error::Io(what, error);
    let listener = match socket::from_systemd().map_err(io("take the socket from systemd"))? {
        Some(listener) => listener,
        None => socket::bind(std::path::Path::new(bulkhead_api::PATH)).map_err(io("open the socket"))?,
    };
    let groups = Groups::resolve().map_err(io("look the groups up"))?;
    let libvirt = Arc::new(Libvirt::open(guest::SYSTEM, guest::model::Timing::default())?);
    let reconciler = Reconciler::new(rooms::open(&libvirt)?);
    let (publisher, status) = Publisher::new();
    let (queues, requests) = socket::queues();
    let service = Service::new(groups, Bounds::default(), &manifest::schema(), status, queues);
    tokio::task::spawn_local(socket::serve(listener, service));
    let timer = (arguments.resync > 0).then(|| Duration::from_secs(arguments.resync));
    // The watches open before the first look, so that nothing falls between the two.
    let dirty = watch::open(&arguments.manifest, libvirt, timer);
    let generations = Generations::new(Directories::default());
    let manifest = arguments.manifest.clone();
    let mut agent = Agent {
        reconciler,
        dirty,
        watchdog: Watchdog::of_the_environment(),
        generations,
        manifest,
        found: None,
        generation: None,
        trouble: None,
        unnoted: None,
        publisher,
        work: None,
        waiting: VecDeque::new(),
    };
    agent.start();
    capabilities::assert_required()?;
    let mut end =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(io("wait for SIGTERM"))?;
    let mut interrupt =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).map_err(io("wait for SIGINT"))?;
    tokio::select! {
        () = agent.run(requests) => {}
        _ = end.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping; policy, links and guests stay as they are");
    Ok(())
}
