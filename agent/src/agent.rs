//! The agent: follows one manifest, looks where it is woken, serves requests, and says how the host stands.
//!
//! Its loop waits for nobody: looks are tasks beside it, and a request is a state that each turn of the loop takes further.

mod apply;
mod boot;
mod generations;
mod load;
mod publisher;
mod requests;
mod teardown;
mod watchdog;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use bulkhead_api::{Ended, Phase, Problem};
use tokio::time::{Instant, sleep_until};

use crate::reconcile::{EndedLook, Reconciler};
use crate::rooms::Name;
use crate::socket::{Request, Requests};
use crate::watch::{Dirty, Reason, Wake};
use generations::Generation;
pub(crate) use generations::{Directories, Generations};
pub(crate) use publisher::Publisher;
use requests::Work;
pub(crate) use watchdog::Watchdog;

/// Applies and teardowns that wait for a teardown; more are refused.
const WAITING: usize = 8;

/// The agent.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) reconciler: Reconciler,
    pub(crate) dirty: Arc<Dirty>,
    pub(crate) watchdog: Watchdog,
    pub(crate) generations: Generations,
    /// Where the manifest's files are.
    pub(crate) manifest: PathBuf,
    /// Checksum of their text when the daemon was started; `None` where that was no manifest.
    pub(crate) found: Option<String>,
    /// What is followed; `None` changes nothing.
    pub(crate) generation: Option<Generation>,
    /// Why it is not what should be followed.
    pub(crate) trouble: Option<Problem>,
    /// Why what is followed is not noted as it should be.
    pub(crate) unnoted: Option<Problem>,
    pub(crate) publisher: Publisher,
    /// The apply or teardown under way.
    pub(crate) work: Option<Work>,
    /// Those that came meanwhile.
    pub(crate) waiting: VecDeque<Request>,
}

impl Agent {
    /// Runs for ever.
    pub(crate) async fn run(mut self, mut requests: Requests) {
        self.dirty.mark(Wake::now(Reason::Start));
        loop {
            let now = Instant::now();
            let progress = self.work.as_ref().map(Work::progress).unwrap_or_default();
            self.reconciler.begin(now, &progress);
            let next = self.next_instant(now);
            tokio::select! {
                wakes = self.dirty.take() => wakes.into_iter().for_each(|wake| self.woken(wake)),
                Some(request) = requests.recv() => self.serve(request),
                Some(look) = self.reconciler.next() => self.look_ended(&look),
                () = sleep_until(next) => {}
            }
            self.watchdog.turn(&mut self.reconciler, self.generation.is_none());
            self.advance();
        }
    }

    /// When the loop has something to do by itself.
    fn next_instant(&self, now: Instant) -> Instant {
        let own =
            [self.reconciler.next_begin(now), self.work.as_ref().and_then(Work::deadline), self.watchdog.deadline()];
        own.into_iter().flatten().min().unwrap_or(now + watchdog::IDLE)
    }

    fn woken(&mut self, wake: Wake) {
        if matches!(wake.reason, Reason::Files | Reason::Start | Reason::Timer) {
            // What a teardown removes is not taken up meanwhile.
            if self.generation.is_none() && self.trouble.is_some() && self.work.is_none() {
                self.start_again();
            }
            if self.unnoted.is_some() && self.work.is_none() {
                self.note_again();
            }
            self.look_at_files();
        }
        if self.generation.is_none() {
            self.publisher.idle(self.trouble.as_ref());
        }
        self.reconciler.wake(wake);
    }

    fn look_ended(&mut self, look: &EndedLook) {
        let commands = look.done.iter().filter(|done| done.outcome == Ended::Done).count();
        if look.name == Name::Policy && commands > 0 {
            tracing::info!(phase = Phase::Policy.as_str(), commands, "nft: a transaction of {commands}");
        }
        if let Some(work) = &mut self.work {
            work.record(look);
        }
        self.watchdog.record(look.name, self.reconciler.states());
        self.publisher.look_ended(&self.reconciler, look, self.work.is_some());
    }
}

#[cfg(test)]
mod tests;
