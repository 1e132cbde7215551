//! What was asked of guests a short while ago, so that nobody is asked twice a second.
//!
//! This is the only thing that is remembered and not observed, and it is no truth: a daemon that forgets it by a restart
//! asks once more.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bulkhead_types::GuestName;
use tokio::time::Instant;

use super::model::{DomainFound, Recent, State, Timing};

#[derive(Debug, Default)]
struct Asked {
    started: Option<Instant>,
    failure: Option<String>,
    shut_down: Option<Instant>,
}

/// When which guest was asked what.
#[derive(Debug)]
pub(super) struct Patience {
    pub(super) timing: Timing,
    asked: Mutex<BTreeMap<GuestName, Asked>>,
}

impl Patience {
    pub(super) fn new(timing: Timing) -> Self {
        Self { timing, asked: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<GuestName, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A start was tried, and failed for that reason or not.
    pub(super) fn started(&self, guest: &GuestName, failure: Option<String>, now: Instant) {
        let mut all = self.lock();
        let asked = all.entry(guest.clone()).or_default();
        (asked.started, asked.failure) = (Some(now), failure);
    }

    /// A shutdown was asked.
    pub(super) fn shut_down(&self, guest: &GuestName, now: Instant) {
        self.lock().entry(guest.clone()).or_default().shut_down = Some(now);
    }

    /// What is followed declares these guests: that one of them was to shut down is over, and the next time it is asked anew.
    pub(super) fn declared<'a>(&self, guests: impl Iterator<Item = &'a GuestName>) {
        let mut all = self.lock();
        for guest in guests {
            if let Some(asked) = all.get_mut(guest) {
                asked.shut_down = None;
            }
        }
    }

    /// What still counts, seen against what is there now: the rest is forgotten.
    pub(super) fn recent(&self, domains: &BTreeMap<String, DomainFound>, now: Instant) -> BTreeMap<GuestName, Recent> {
        let mut all = self.lock();
        all.retain(|guest, asked| {
            let up = domains.get(guest.as_str()).is_some_and(|found| found.state != State::ShutOff);
            asked.started = asked.started.filter(|at| now.duration_since(*at) < self.timing.start_interval);
            asked.shut_down = asked.shut_down.filter(|_| up);
            asked.started.is_some() || asked.shut_down.is_some()
        });
        let age = |at: &Option<Instant>| at.map(|at| now.duration_since(at));
        let recent = all.iter().map(|(guest, asked)| {
            let (started, shut_down) = (age(&asked.started), age(&asked.shut_down));
            (guest.clone(), Recent { started, failure: asked.failure.clone(), shut_down })
        });
        recent.collect()
    }

    /// When the next one stops to count, of those that had not by `told`, so that somebody has to look again.
    pub(super) fn next_end(&self, told: Option<Instant>) -> Option<Instant> {
        let end = |at: Option<Instant>, patience: Duration| {
            at.map(|at| at + patience).filter(|end| told.is_none_or(|told| *end > told))
        };
        let all = self.lock();
        let ends = all.values().flat_map(|asked| {
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
        patience.recent(&BTreeMap::new(), now)
    }

    #[test]
    fn a_start_counts_for_thirty_seconds() {
        let (patience, guest, begin) = (patience(), "web".parse::<GuestName>().unwrap(), Instant::now());
        patience.started(&guest, Some("no memory".to_owned()), begin);
        assert_eq!(recent(&patience, begin + 10 * SECOND)[&guest].started, Some(10 * SECOND));
        assert_eq!(patience.next_end(None), Some(begin + 30 * SECOND));
        assert_eq!(recent(&patience, begin + 30 * SECOND), BTreeMap::new());
        assert_eq!(patience.next_end(None), None);
    }

    #[test]
    fn an_end_wakes_once_whoever_looks_when() {
        let (patience, guest, begin) = (patience(), "web".parse::<GuestName>().unwrap(), Instant::now());
        patience.started(&guest, None, begin);
        recent(&patience, begin + 29 * SECOND);
        assert_eq!(patience.next_end(Some(begin + 29 * SECOND)), Some(begin + 30 * SECOND));
        assert_eq!(patience.next_end(Some(begin + 30 * SECOND)), None);
    }

    #[test]
    fn a_shutdown_is_forgotten_once_the_guest_is_down_or_gone() {
        let (patience, guest, begin) = (patience(), "web".parse::<GuestName>().unwrap(), Instant::now());
        patience.shut_down(&guest, begin);
        assert_eq!(patience.next_end(None), Some(begin + 60 * SECOND));
        assert_eq!(recent(&patience, begin + SECOND), BTreeMap::new());
        assert_eq!(patience.next_end(None), None);
    }

    #[test]
    fn a_shutdown_is_forgotten_when_what_is_followed_declares_the_guest_again() {
        let (patience, guest, begin) = (patience(), "web".parse::<GuestName>().unwrap(), Instant::now());
        patience.shut_down(&guest, begin);
        patience.declared(std::iter::once(&"db".parse().unwrap()));
        assert_eq!(patience.next_end(None), Some(begin + 60 * SECOND));
        patience.declared(std::iter::once(&guest));
        assert_eq!(patience.next_end(None), None);
    }
}
