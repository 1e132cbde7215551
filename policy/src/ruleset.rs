//! libnftables on a thread of its own, which lives as long as the ruleset is open: the tables are owned by its socket.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::error::Error;
use crate::nfnetlink::Lister;
use crate::sys::Context;
use crate::wire;

/// For one document. A thousand NICs with an allow each take seconds under emulation.
const PATIENCE: Duration = Duration::from_secs(120);

/// A document to run, and where its answer goes.
struct Call {
    document: String,
    answer: oneshot::Sender<Result<String, String>>,
}

/// The ruleset of this network namespace.
#[derive(Debug)]
pub struct Ruleset {
    /// Closing it ends the thread.
    calls: Option<mpsc::Sender<Call>>,
    thread: Option<thread::JoinHandle<()>>,
    /// Which tables there are.
    pub(crate) lister: Lister,
    /// Whether this kernel and nft know tables that are owned and persist: tried once.
    pub(crate) ownable: bool,
    /// Whether this context was seen to own all tables.
    pub(crate) claimed: bool,
}

impl Ruleset {
    /// Opens libnftables in the network namespace of the calling thread, and tries whether tables can be owned; nothing is
    /// changed. The tables stay owned until the value is dropped.
    ///
    /// # Errors
    /// [`Error::Open`] if there is no netlink socket to be had, [`Error::Start`] if no thread or no context.
    pub fn open() -> Result<Self, Error> {
        let lister = Lister::open()?;
        let (calls, queue) = mpsc::channel::<Call>();
        let (opened, opening) = mpsc::channel();
        let work = move || {
            let mut context = match Context::new() {
                Ok(context) => context,
                Err(call) => {
                    let _ = opened.send(Err(call));
                    return;
                }
            };
            let ownable = context.run(&wire::probe(), true).is_ok();
            let _ = opened.send(Ok(ownable));
            while let Ok(call) = queue.recv() {
                // Whoever asked may have given up.
                let _ = call.answer.send(context.run(&call.document, false));
            }
        };
        let thread = thread::Builder::new().name("nftables".to_owned());
        let thread = thread.spawn(work).map_err(|error| Error::Start("its thread", Some(error)))?;
        match opening.recv() {
            Ok(Ok(ownable)) => Ok(Self { calls: Some(calls), thread: Some(thread), lister, ownable, claimed: false }),
            Ok(Err(call)) => Err(Error::Start(call, None)),
            Err(mpsc::RecvError) => Err(Error::Gone),
        }
    }

    /// Runs one document. The inner error is what nftables said against it.
    pub(crate) async fn run(&self, what: &'static str, document: String) -> Result<Result<String, String>, Error> {
        let (answer, answered) = oneshot::channel();
        let calls = self.calls.as_ref().ok_or(Error::Gone)?;
        calls.send(Call { document, answer }).map_err(|_| Error::Gone)?;
        match timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Error::Gone),
            Err(_) => Err(Error::Timeout { what, seconds: PATIENCE.as_secs() }),
        }
    }
}

impl Drop for Ruleset {
    /// Returns when the socket is closed, so that whoever opens the next one finds the tables free.
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take() {
            // It panics nowhere; if it did, it is gone all the same.
            let _ = thread.join();
        }
    }
}
