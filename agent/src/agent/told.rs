//! What was told: the published status, readiness to systemd, and the little memory that is only for people.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use bulkhead_api::{Ended, Manifest, Phase, PhaseTimes, Problem, Status, Wake as Woken};
use bulkhead_policy::model as policy;
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Followed, Ran};
use crate::generations::{Generation, microseconds};
use crate::manifest::Desired;
use crate::publish::{counters, seen};
use crate::reconcile::Host;
use crate::watch::Wake;

/// Repairs that are remembered.
const WAKES: usize = 32;
/// Steps of one repair that are remembered; the report has all of the last one.
const STEPS: usize = 32;

/// Tells the socket's clients and systemd.
#[derive(Debug)]
pub(crate) struct Told {
    status: Status,
    sender: watch::Sender<Arc<Status>>,
    wakes: VecDeque<Woken>,
    /// systemd was told.
    notified: bool,
    began: Instant,
    /// Microseconds from the kernel's start to the daemon's, if the kernel says.
    booted: Option<u64>,
}

impl Told {
    /// Nothing is known yet. The receiver is the socket's.
    pub(crate) fn new() -> (Self, watch::Receiver<Arc<Status>>) {
        let phase = |phase| PhaseTimes { phase, since_start_us: None, since_boot_us: None };
        let phases = [Phase::Policy, Phase::Links, Phase::Limits, Phase::Guests].map(phase).to_vec();
        let status = Status { version: env!("CARGO_PKG_VERSION").to_owned(), phases, ..Status::default() };
        let (sender, receiver) = watch::channel(Arc::new(status.clone()));
        let told =
            Self { status, sender, wakes: VecDeque::new(), notified: false, began: Instant::now(), booted: uptime() };
        (told, receiver)
    }

    fn publish(&self) {
        self.sender.send_replace(Arc::new(self.status.clone()));
    }

    /// The first time that a phase was verified is its time.
    fn reached(&mut self, phase: Phase, verified: bool) {
        let since = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let times = self.status.phases.iter_mut().find(|times| times.phase == phase && times.since_start_us.is_none());
        if let Some(times) = times.filter(|_| verified) {
            times.since_start_us = Some(since);
            times.since_boot_us = self.booted.map(|booted| booted.saturating_add(since));
        }
    }

    /// Policy and links were looked at: the first time that both stand, systemd hears that the host is ready, and people see
    /// how it stands while the rest takes its time.
    pub(super) fn network(&mut self, followed: &Followed, host: &Host) {
        self.reached(Phase::Policy, host.policy.verified());
        self.reached(Phase::Links, host.network_verified());
        if host.network_verified() && !self.notified {
            self.host(followed, host);
            self.notify("policy and links stand");
        }
    }

    /// Nothing is followed, so that there is nothing to wait for: systemd hears that requests are served. With a problem
    /// something should be followed, and the host is not ready.
    pub(super) fn idle(&mut self, trouble: Option<&Problem>) {
        self.status.ready = trouble.is_none();
        self.publish();
        self.notify(trouble.map_or("nothing is followed: write the manifest, then `bulkhead apply`", |problem| {
            problem.message.lines().next().unwrap_or_default()
        }));
    }

    /// Only the first time: systemd asks once. Without systemd nobody listens, and that is fine.
    fn notify(&mut self, text: &str) {
        if !std::mem::replace(&mut self.notified, true)
            && let Err(error) = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(text)])
        {
            tracing::warn!("cannot tell systemd: {error}");
        }
    }

    /// How the host stands after a turn.
    pub(super) fn host(&mut self, followed: &Followed, host: &Host) {
        self.reached(Phase::Limits, host.network_verified() && host.limits.verified());
        let libvirt = host.guests.observed.as_ref().is_some_and(|observed| observed.down.is_none());
        self.reached(Phase::Guests, host.verified() && libvirt);
        self.status.ready = host.network_verified();
        let seen = seen(&followed.desired, host);
        self.status.policy_owner = seen.owner;
        self.status.trunks = seen.trunks;
        self.status.segments = seen.segments;
        self.status.guests = seen.guests;
        if let Some(observed) = &host.policy.observed {
            self.count(&followed.desired, observed);
        }
        self.status.notices = seen.notices;
        let done: Vec<_> = host.done().cloned().collect();
        let old_trouble = self.status.report.iter().any(|done| done.outcome != Ended::Done);
        // Trouble that is gone by itself is no trouble any more.
        if !done.is_empty() || (old_trouble && host.verified()) {
            self.status.report = done;
        }
        self.publish();
    }

    /// The counters were read again.
    pub(super) fn counted(&mut self, desired: &Desired, observed: &policy::Observed) {
        self.count(desired, observed);
        self.publish();
    }

    fn count(&mut self, desired: &Desired, observed: &policy::Observed) {
        (self.status.allows, self.status.counters) = counters(desired, observed);
        self.status.counted_at_us = Some(microseconds(SystemTime::now()));
    }

    /// What a wake led to.
    pub(super) fn woken(&mut self, wake: Wake, ran: &Ran) {
        let mut repairs: Vec<String> =
            ran.done.iter().filter(|done| done.outcome == Ended::Done).map(|done| done.text.clone()).collect();
        if repairs.is_empty() {
            return;
        }
        if repairs.len() > STEPS {
            let more = repairs.len() - STEPS;
            repairs.truncate(STEPS);
            repairs.push(format!("and {more} more"));
        }
        let latency = u64::try_from(wake.at.elapsed().as_micros()).unwrap_or(u64::MAX);
        if self.wakes.len() == WAKES {
            self.wakes.pop_front();
        }
        let reason = wake.reason.to_string();
        self.wakes.push_back(Woken { reason, at_us: microseconds(wake.time), latency_us: latency, repairs });
        self.status.wakes = self.wakes.iter().cloned().collect();
        self.publish();
    }

    /// Which generation is followed from now on; none leaves nothing to say of the host.
    pub(super) fn follows(&mut self, generation: Option<&Generation>) {
        let Manifest { pending, errors, .. } = std::mem::take(&mut self.status.manifest);
        self.status.manifest = Manifest {
            generation: generation.map(|generation| generation.number),
            sha256: generation.map(Generation::sha256),
            applied_at_us: generation.and_then(|generation| generation.applied_at_us),
            pending,
            errors,
        };
        if generation.is_none() {
            let Status { version, ready, manifest, phases, .. } = std::mem::take(&mut self.status);
            self.status = Status { version, ready, manifest, phases, ..Status::default() };
        }
        self.publish();
    }

    /// Whether the files are what is followed, and why they cannot be.
    pub(super) fn files(&mut self, pending: bool, errors: Vec<Problem>) {
        if (pending, &errors) != (self.status.manifest.pending, &self.status.manifest.errors) {
            self.status.manifest.pending = pending;
            self.status.manifest.errors = errors;
            self.publish();
        }
    }
}

/// The first number of `/proc/uptime` (proc(5)): seconds since the kernel started, suspended time included.
fn uptime() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, rest) = text.split_once('.')?;
    let hundredths = rest.get(..2)?;
    Some(seconds.parse::<u64>().ok()? * 1_000_000 + hundredths.parse::<u64>().ok()? * 10_000)
}
