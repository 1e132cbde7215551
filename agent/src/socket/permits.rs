//! How many things of one kind there may be at once, such as connections or plans: of one user, and of all observers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::Role;
use super::access::Caller;

/// Counts what is taken. Administrators are outside the common total, so that a crowd of observers cannot lock them out; and
/// what a user takes as an observer is not taken from what the same user has as an administrator.
#[derive(Debug, Clone)]
pub(super) struct Permits {
    taken: Arc<Taken>,
    per_user: usize,
    observers: usize,
}

#[derive(Debug, Default)]
struct Taken {
    counts: Mutex<HashMap<Caller, usize>>,
    freed: Notify,
}

/// One permit, free again when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    taken: Arc<Taken>,
    caller: Caller,
}

impl Permits {
    /// So many for each user, and so many for all observers together.
    pub(super) fn new(per_user: usize, observers: usize) -> Self {
        Self { taken: Arc::default(), per_user, observers }
    }

    /// A permit for this caller, while there is one.
    pub(super) fn take(&self, caller: Caller) -> Option<Permit> {
        let mut counts = self.taken.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let of_observers = || counts.iter().filter(|(of, _)| of.role == Role::Observe).map(|(_, count)| count).sum();
        let own = counts.get(&caller).copied().unwrap_or(0);
        if own >= self.per_user || (caller.role == Role::Observe && self.observers <= of_observers()) {
            return None;
        }
        counts.insert(caller, own + 1);
        Some(Permit { taken: Arc::clone(&self.taken), caller })
    }

    /// A permit for this caller, as soon as there is one.
    pub(super) async fn wait(&self, caller: Caller) -> Permit {
        loop {
            // Before the look, so that a permit that is freed after it is not missed.
            let freed = self.taken.freed.notified();
            if let Some(permit) = self.take(caller) {
                return permit;
            }
            freed.await;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.taken.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.caller);
            }
        }
        drop(counts);
        self.taken.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observer(uid: u32) -> Caller {
        Caller { uid, role: Role::Observe }
    }

    fn admin(uid: u32) -> Caller {
        Caller { uid, role: Role::Admin }
    }

    #[test]
    fn a_user_has_as_many_permits_as_allowed_and_gets_one_back_when_one_leaves() {
        let permits = Permits::new(2, 10);
        let first = permits.take(observer(7));
        let second = permits.take(observer(7));
        assert!(first.is_some() && second.is_some() && permits.take(observer(7)).is_none());
        assert!(permits.take(observer(8)).is_some());
        drop(first);
        assert!(permits.take(observer(7)).is_some());
    }

    #[test]
    fn a_crowd_of_observers_never_locks_an_administrator_out() {
        let permits = Permits::new(2, 3);
        let crowd: Vec<_> = [1, 1, 2, 2, 3].into_iter().filter_map(|uid| permits.take(observer(uid))).collect();
        assert_eq!(crowd.len(), 3);
        assert!(permits.take(admin(0)).is_some() && permits.take(admin(1000)).is_some());
    }

    #[test]
    fn what_a_user_takes_as_an_observer_is_not_missing_as_an_administrator() {
        let permits = Permits::new(1, 3);
        let _observing = permits.take(observer(7)).unwrap();
        assert!(permits.take(observer(7)).is_none() && permits.take(admin(7)).is_some());
    }

    #[tokio::test]
    async fn whoever_waits_gets_the_permit_that_is_freed() {
        let permits = Permits::new(1, 3);
        let first = permits.take(observer(7)).unwrap();
        let waiting = tokio::spawn({
            let permits = permits.clone();
            async move { permits.wait(observer(7)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        let second = tokio::time::timeout(std::time::Duration::from_secs(5), waiting).await.expect("a permit").unwrap();
        assert!(permits.take(observer(7)).is_none());
        drop(second);
    }
}
