//! The wakes that nobody has looked into yet.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::{Reason, Wake};

/// One place for each reason, so that no wake pushes out another, however many come and however long the loop is away. Of
/// several for one reason the first stays: it says since when.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    wakes: Mutex<BTreeMap<Reason, Wake>>,
    marked: Notify,
}

impl Dirty {
    /// Notes that there is something to look at.
    pub(crate) fn mark(&self, wake: Wake) {
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner).entry(wake.reason).or_insert(wake);
        self.marked.notify_one();
    }

    /// Waits until there is something to look at, and takes all of it. May be dropped while it waits.
    pub(crate) async fn take(&self) -> Vec<Wake> {
        loop {
            let wakes = std::mem::take(&mut *self.wakes.lock().unwrap_or_else(PoisonError::into_inner));
            if !wakes.is_empty() {
                return wakes.into_values().collect();
            }
            self.marked.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_reason_is_kept_whatever_else_comes_and_the_first_of_its_kind_says_since_when() {
        let dirty = Dirty::default();
        let first = Wake::now(Reason::Links);
        dirty.mark(first);
        for _ in 0..1000 {
            dirty.mark(Wake::now(Reason::Domains));
            dirty.mark(Wake::now(Reason::Links));
        }
        dirty.mark(Wake::now(Reason::Ruleset));
        let wakes = dirty.take().await;
        let reasons: Vec<Reason> = wakes.iter().map(|wake| wake.reason).collect();
        assert_eq!(reasons, [Reason::Links, Reason::Ruleset, Reason::Domains]);
        assert_eq!(wakes[0].at, first.at);
    }
}
