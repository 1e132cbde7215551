//! What was asked of guests a short while ago, so that nobody is asked twice a second.
//!
//! This is the only thing that is remembered and not observed, and it is no truth: a daemon that forgets it by a restart
//! asks once more.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bulkhead_types::GuestName;
use tokio::time::Instant;

use super::model::{Desired, DomainFound, Recent, State, Timing};

#[derive(Debug, Default)]
struct Asked {
    started: Option<Instant>,
    failure: Option<String>,
    shut_down: Option<Instant>,
}

/// When which guest was asked what, and when somebody last looked at that.
#[derive(Debug)]
pub(super) struct Patience {
    pub(super) timing: Timing,
    asked: Mutex<(BTreeMap<GuestName, Asked>, Option<Instant>)>,
}

impl Patience {
    pub(super) fn new(timing: Timing) -> Self {
        Self { timing, asked: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, (BTreeMap<GuestName, Asked>, Option<Instant>)> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A start was tried, and failed for that reason or not.
    pub(super) fn started(&self, guest: &GuestName, failure: Option<String>, now: Instant) {
        let mut all = self.lock();
        let asked = all.0.entry(guest.clone()).or_default();
        (asked.started, asked.failure) = (Some(now), failure);
    }

    /// A shutdown was asked.
    pub(super) fn shut_down(&self, guest: &GuestName, now: Instant) {
        self.lock().0.entry(guest.clone()).or_default().shut_down = Some(now);
    }

    /// Somebody looks, or tries to: an end that has passed is no news any more, also while libvirt cannot be asked.
    pub(super) fn looked(&self, now: Instant) {
        self.lock().1 = Some(now);
    }

    /// What still counts, seen against what is there now: the rest is forgotten.
    pub(super) fn recent(
        &self,
        desired: &Desired,
        domains: &BTreeMap<String, DomainFound>,
        now: Instant,
    ) -> BTreeMap<GuestName, Recent> {
        let mut all = self.lock();
        all.1 = Some(now);
        let asked = &mut all.0;
        asked.retain(|guest, asked| {
            let declared = desired.guests.iter().any(|declared| declared.name == *guest);
            let up = domains.get(guest.as_str()).is_some_and(|found| found.state != State::ShutOff);
            asked.started = asked.started.filter(|at| now.duration_since(*at) < self.timing.start_interval);
            asked.shut_down = asked.shut_down.filter(|_| up && !declared);
            asked.started.is_some() || asked.shut_down.is_some()
        });
        let age = |at: &Option<Instant>| at.map(|at| now.duration_since(at));
        let recent = asked.iter().map(|(guest, asked)| {
            let (started, shut_down) = (age(&asked.started), age(&asked.shut_down));
            (guest.clone(), Recent { started, failure: asked.failure.clone(), shut_down })
        });
        recent.collect()
    }

    /// When the next one stops to count, so that somebody has to look again. One that stopped while nobody looked is still
    /// the next one.
    pub(super) fn next_end(&self) -> Option<Instant> {
        let all = self.lock();
        let end = |at: Option<Instant>, patience: Duration| {
            at.map(|at| at + patience).filter(|end| all.1.is_none_or(|looked| *end > looked))
        };
        let ends = all.0.values().flat_map(|asked| {
            let Timing { shutdown_timeout, start_interval } = self.timing;
            [end(asked.started, start_interval), end(asked.shut_down, shutdown_timeout)].into_iter().flatten()
        });
        ends.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn patience() -> Patience {
        Patience::new(Timing::default())
    }

    fn recent(patience: &Patience, now: Instant) -> BTreeMap<GuestName, Recent> {
        patience.recent(&Desired::default(), &BTreeMap::new(), now)
    }

    #[test]
    fn a_start_counts_for_thirty_seconds() {
        let (patience, guest, begin) = (patience(), "web".parse::<GuestName>().unwrap(), Instant::now());
        patience.started(&guest, Some("no memory".to_owned()), begin);
        assert_eq!(recent(&patience, begin + 10 * SECOND)[&guest].started, Some(10 * SECOND));
        assert_eq!(patience.next_end(), Some(begin + 30 * SECOND));
        assert_eq!(recent(&patience, begin + 30 * SECOND), BTreeMap::new());
        assert_eq!(patience.next_end(), None);
    }

    #[test]
    fn an_end_that_passed_while_nobody_looked_still_wakes() {
        let (patience, guest, begin) = (patience(), "web".parse::<GuestName>().unwrap(), Instant::now());
        patience.started(&guest, None, begin);
        recent(&patience, begin + 29 * SECOND);
        assert_eq!(patience.next_end(), Some(begin + 30 * SECOND));
    }

    #[test]
    fn a_shutdown_is_forgotten_once_the_guest_is_down_or_gone() {
        let (patience, guest, begin) = (patience(), "web".parse::<GuestName>().unwrap(), Instant::now());
        patience.shut_down(&guest, begin);
        assert_eq!(patience.next_end(), Some(begin + 60 * SECOND));
        assert_eq!(recent(&patience, begin + SECOND), BTreeMap::new());
        assert_eq!(patience.next_end(), None);
    }
}
