//! How many connections may stand at once: in all, and for one user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts the connections that stand. Root is outside the common total, so that a crowd of observers cannot lock the
/// administrator out.
#[derive(Debug, Clone)]
pub(super) struct Places {
    taken: Arc<Mutex<HashMap<u32, usize>>>,
    per_user: usize,
    total: usize,
}

/// One connection's place, free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    taken: Arc<Mutex<HashMap<u32, usize>>>,
    uid: u32,
}

impl Places {
    pub(super) fn new(per_user: usize, total: usize) -> Self {
        Self { taken: Arc::default(), per_user, total }
    }

    /// A place for one more connection of this user, while there is one.
    pub(super) fn take(&self, uid: u32) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let others: usize = taken.iter().filter(|(of, _)| **of != 0).map(|(_, count)| count).sum();
        let own = taken.get(&uid).copied().unwrap_or(0);
        if own >= self.per_user || (uid != 0 && others >= self.total) {
            return None;
        }
        taken.insert(uid, own + 1);
        Some(Place { taken: Arc::clone(&self.taken), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_as_many_places_as_allowed_and_gets_one_back_when_one_leaves() {
        let places = Places::new(2, 10);
        let first = places.take(7);
        let second = places.take(7);
        assert!(first.is_some() && second.is_some() && places.take(7).is_none() && places.take(8).is_some());
        drop(first);
        assert!(places.take(7).is_some());
    }

    #[test]
    fn a_crowd_of_others_never_locks_root_out() {
        let places = Places::new(2, 3);
        let crowd: Vec<_> = [1, 1, 2, 2, 3].into_iter().filter_map(|uid| places.take(uid)).collect();
        assert_eq!(crowd.len(), 3);
        assert!(places.take(0).is_some());
    }
}
