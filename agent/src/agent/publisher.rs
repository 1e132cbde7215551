//! What is said: the published status, readiness to systemd, and the little memory that is only for people.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bulkhead_api::{Done, Ended, Manifest, Phase, PhaseTimes, Problem, Status, Wake as Woken, microseconds};
use bulkhead_policy::model::Counter;
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::Instant;

use super::generations::Generation;
use crate::manifest::Desired;
use crate::reconcile::{EndedLook, Reconciler};
use crate::rooms::{self, Name};

/// Repairs that are remembered.
const WAKES: usize = 32;
/// Steps of one repair that are remembered; the report has all of the last one.
const STEPS: usize = 32;

/// How long systemd waits for links that are refused. What never comes must not keep a boot from going on, nor have the daemon
/// started again and again (`TimeoutStartSec=`).
const PATIENCE: Duration = Duration::from_secs(60);

/// Speaks to the socket's clients and to systemd.
#[derive(Debug)]
pub(crate) struct Publisher {
    status: Status,
    sender: watch::Sender<Arc<Status>>,
    wakes: VecDeque<Woken>,
    /// Of each room, the last steps that were tried.
    reports: BTreeMap<Name, Vec<Done>>,
    /// systemd heard that the host is ready.
    notified: bool,
    began: Instant,
    /// Since when what is followed is followed; `None` once all of it was made for the first time, as far as it goes. What is
    /// written from then on mends the host.
    making: Option<Instant>,
    /// Microseconds from the kernel's start to the daemon's, if the kernel says.
    booted: Option<u64>,
}

impl Publisher {
    /// Nothing is known yet. The receiver is the socket's.
    pub(crate) fn new() -> (Self, watch::Receiver<Arc<Status>>) {
        let phase = |phase| PhaseTimes { phase, since_start_us: None, since_boot_us: None };
        let phases = [Phase::Policy, Phase::Links, Phase::Limits, Phase::Guests].map(phase).to_vec();
        let status = Status { version: env!("CARGO_PKG_VERSION").to_owned(), phases, ..Status::default() };
        let (sender, receiver) = watch::channel(Arc::new(status.clone()));
        let publisher = Self {
            status,
            sender,
            wakes: VecDeque::new(),
            reports: BTreeMap::new(),
            notified: false,
            began: Instant::now(),
            making: Some(Instant::now()),
            booted: uptime(),
        };
        (publisher, receiver)
    }

    fn publish(&self) {
        self.sender.send_replace(Arc::new(self.status.clone()));
    }

    /// A room was looked at, for an apply or a teardown (`requested`) or by itself.
    pub(super) fn look_ended(&mut self, reconciler: &Reconciler, look: &EndedLook, requested: bool) {
        if self.making.is_none() && !requested {
            self.repaired(look);
        }
        let rests = |since| reconciler.rooms().all(|room| reconciler.rests_since(room.name(), since));
        let made = |since| reconciler.verified() || rests(since);
        self.making = self.making.filter(|since| reconciler.manifest().is_none() || !made(*since));
        self.report(reconciler, look);
        if look.name == Name::Policy && reconciler.states().policy.observed().is_some() {
            self.status.counted_at_us = Some(microseconds(SystemTime::now()));
        }
        self.host(reconciler);
    }

    /// How the host stands.
    pub(super) fn host(&mut self, reconciler: &Reconciler) {
        self.status.teardown = !reconciler.torn().is_empty();
        let Some(manifest) = reconciler.manifest() else { return self.publish() };
        let states = reconciler.states();
        let ready = states.ready(manifest) && reconciler.are_current(&[Name::Policy, Name::Links]);
        self.status.ready = ready;
        self.status.verified = reconciler.verified();
        self.reached(Phase::Policy, states.policy.verified());
        self.reached(Phase::Links, ready);
        self.reached(Phase::Limits, ready && reconciler.phase_verified(Phase::Limits));
        self.reached(Phase::Guests, self.status.verified);
        for room in reconciler.rooms() {
            room.page(manifest, states, &mut self.status);
        }
        self.status.notices = reconciler.notices();
        self.status.report = self.reports.values().flatten().cloned().collect();
        self.publish();
        if ready {
            self.notify("policy and links stand");
        } else if states.settled() && self.began.elapsed() >= PATIENCE {
            self.notify("the policy stands, and not every link does: see bulkhead status");
        }
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

    /// Keeps what the look tried. Trouble that is gone by itself is no trouble any more.
    fn report(&mut self, reconciler: &Reconciler, look: &EndedLook) {
        let room = reconciler.rooms().find(|room| room.name() == look.name);
        let verified = room.is_some_and(|room| room.verified(reconciler.states()));
        let trouble = |done: &Done| done.outcome != Ended::Done;
        if !look.done.is_empty() {
            self.reports.insert(look.name, look.done.clone());
        } else if verified && self.reports.get(&look.name).is_some_and(|old| old.iter().any(trouble)) {
            self.reports.remove(&look.name);
        }
    }

    /// The counters were read again.
    pub(super) fn counted(&mut self, manifest: &Desired, counters: &[Counter]) {
        (self.status.allows, self.status.counters) = rooms::counters(manifest, counters);
        self.status.counted_at_us = Some(microseconds(SystemTime::now()));
        self.publish();
    }

    /// What a wake led to, where nobody had asked for it.
    fn repaired(&mut self, look: &EndedLook) {
        let done = look.done.iter().filter(|done| done.outcome == Ended::Done);
        let mut repairs: Vec<String> = done.map(|done| done.text.clone()).collect();
        if repairs.is_empty() {
            return;
        }
        if repairs.len() > STEPS {
            let more = repairs.len() - STEPS;
            repairs.truncate(STEPS);
            repairs.push(format!("and {more} more"));
        }
        let latency = u64::try_from(look.wake.at.elapsed().as_micros()).unwrap_or(u64::MAX);
        if self.wakes.len() == WAKES {
            self.wakes.pop_front();
        }
        let (reason, at_us) = (look.wake.reason.to_string(), microseconds(look.wake.time));
        self.wakes.push_back(Woken { reason, at_us, latency_us: latency, repairs });
        self.status.wakes = self.wakes.iter().cloned().collect();
    }

    /// Which generation is followed from now on; none leaves nothing to say of the host. It is published with how the host stands.
    pub(super) fn follows(&mut self, generation: Option<&Generation>) {
        self.making = Some(Instant::now());
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
            self.reports.clear();
        }
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
