//! The agent: follows one manifest, looks when it is woken, serves requests, and tells how the host stands.

mod boot;
mod load;
mod requests;
mod teardown;
mod told;

use std::path::PathBuf;
use std::time::Duration;

use bulkhead_api::{Done, Ended, Phase, Problem};
use tokio::time::Instant;

use crate::generations::{Generation, Generations};
use crate::manifest::Desired;
use crate::reconcile::{Host, Rooms, reconcile};
use crate::socket::Requests;
use crate::watch::{Reason, Wake, Watches};
pub(crate) use told::Told;

/// Turns in a row after one wake: what one turn makes, such as a guest and its tap, the next one finds.
const TURNS: usize = 4;
/// The first and the longest pause after a turn that left something to do: wakes are then too often our own doing.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// The agent.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) rooms: Rooms,
    pub(crate) watches: Watches,
    pub(crate) generations: Generations,
    /// Where the manifest's files are.
    pub(crate) manifest: PathBuf,
    /// What is made so; `None` changes nothing.
    pub(crate) followed: Option<Followed>,
    /// Why it is not what should be followed.
    pub(crate) trouble: Option<Problem>,
    pub(crate) told: Told,
}

/// The manifest that the host follows.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) generation: Generation,
    pub(crate) desired: Desired,
}

/// What a wake or a request came to.
pub(crate) struct Ran {
    /// How every room stood at the end.
    pub(crate) host: Host,
    /// Every write on the way there.
    pub(crate) done: Vec<Done>,
}

impl Agent {
    /// Runs for ever: a turn for each wake, and for each request.
    pub(crate) async fn run(mut self, mut requests: Requests) {
        let mut pause = PAUSE.0;
        let mut wake = Wake::now(Reason::Start);
        loop {
            if self.watches.files_changed() || matches!(wake.reason, Reason::Start | Reason::Timer) {
                if self.followed.is_none() && self.trouble.is_some() {
                    self.start();
                }
                self.look_at_files();
            }
            let verified = self.turn(wake).await;
            pause = if verified { PAUSE.0 } else { (pause * 2).min(PAUSE.1) };
            let rested = Instant::now() + if verified { Duration::ZERO } else { pause };
            wake = loop {
                tokio::select! {
                    Some(request) = requests.recv() => self.serve(request).await,
                    wake = next(&mut self.watches, rested) => break wake,
                }
            };
        }
    }

    /// Makes the host as the followed manifest says, and tells what had to be mended. True when nothing is left to do.
    async fn turn(&mut self, wake: Wake) -> bool {
        if self.followed.is_none() {
            self.told.idle(self.trouble.as_ref());
            return true;
        }
        let ran = self.settle(false, &mut |_| ()).await;
        self.told.woken(wake, &ran);
        ran.host.verified()
    }

    /// Turns until one has nothing to write, or nothing more can be done.
    pub(crate) async fn settle(&mut self, force: bool, progress: &mut (dyn FnMut(Done) + Send)) -> Ran {
        let mut ran = Ran { host: Host::unknown(), done: Vec::new() };
        let Some(followed) = &self.followed else { return ran };
        for _ in 0..TURNS {
            let told = &mut self.told;
            let mut log = |done: Done| {
                say(&done);
                progress(done);
            };
            let desired = &followed.desired;
            let mut ready = |host: &Host| told.network(followed, host);
            let (rooms, watches) = (&mut self.rooms, &mut self.watches);
            ran.host = reconcile(rooms, watches, desired, force, &mut ready, &mut log).await;
            self.told.host(followed, &ran.host);
            let commands = ran.host.policy.done.iter().filter(|done| done.outcome == Ended::Done).count();
            if commands > 0 {
                tracing::info!(phase = "policy", commands, "nft: a transaction of {commands}");
            }
            // Each room has verified what it wrote; only what libvirt and systemd were asked may show in the others.
            let others = ran.host.limits.done.iter().chain(&ran.host.guests.done);
            let again = others.into_iter().any(|done| done.outcome == Ended::Done);
            ran.done.extend(ran.host.done().cloned());
            if !again {
                break;
            }
        }
        ran
    }
}

/// The next wake, and not before the pause is over. Wakes that come meanwhile wait.
async fn next(watches: &mut Watches, rested: Instant) -> Wake {
    tokio::time::sleep_until(rested).await;
    watches.next().await
}

/// A line of the log for each step; those of a policy that was committed are hundreds at a time, and one line says so.
fn say(done: &Done) {
    let (phase, object, text) = (done.phase.as_str(), &done.object, &done.text);
    match (&done.outcome, done.why.as_deref()) {
        (Ended::Done, _) if done.phase == Phase::Policy => tracing::debug!(phase, %object, "{text}"),
        (Ended::Done, _) => tracing::info!(phase, %object, "{text}"),
        (_, why) => tracing::warn!(phase, %object, "{text}: {}", why.unwrap_or("failed")),
    }
}
