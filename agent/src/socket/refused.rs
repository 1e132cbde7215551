//! Connections that were closed unread: counted, and said in the log once a second and user at the most, since anybody can
//! make as many of them as they like.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bulkhead_api::Refused as Counts;
use tokio::time::Instant;

/// The least time between two lines about the same user.
const QUIET: Duration = Duration::from_secs(1);
/// Users whose last line is remembered. All others share one, so that many users make no more lines than these do.
const USERS: usize = 16;

/// Why a connection was closed unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The daemon does not serve the user.
    Stranger,
    /// The user, or all observers together, have as many connections as they may have.
    Crowded,
}

/// What was refused since the daemon started.
#[derive(Debug, Default)]
pub(super) struct Refused(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    counts: Counts,
    lines: HashMap<Option<u32>, Line>,
}

/// The last line about a user, and how many refusals had none since.
#[derive(Debug)]
struct Line {
    at: Instant,
    since: u64,
}

impl Refused {
    /// Counts one. `Some` when it is to be said in the log, with the number of those of the same user that were not.
    pub(super) fn count(&self, cause: Cause, uid: u32, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Told { counts, lines } = &mut *told;
        match cause {
            Cause::Stranger => counts.strangers += 1,
            Cause::Crowded => counts.crowded += 1,
        }
        let quiet = |line: &Line| now < line.at + QUIET;
        if !lines.contains_key(&Some(uid)) && lines.len() >= USERS {
            lines.retain(|_, line| quiet(line));
        }
        let known = lines.contains_key(&Some(uid)) || lines.len() < USERS;
        let line = lines.entry(known.then_some(uid));
        let mut said = None;
        line.and_modify(|line| {
            if quiet(line) {
                line.since += 1;
            } else {
                said = Some(line.since);
                *line = Line { at: now, since: 0 };
            }
        })
        .or_insert_with(|| {
            said = Some(0);
            Line { at: now, since: 0 }
        });
        said
    }

    /// How many there were.
    pub(super) fn counts(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).counts.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_user_is_a_line_a_second_that_counts_the_rest() {
        let refused = Refused::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let lines: Vec<_> = (0..2500).filter_map(|ms| refused.count(Cause::Stranger, 7, at(ms))).collect();
        assert_eq!(lines, [0, 999, 999]);
        assert_eq!(refused.counts(), Counts { strangers: 2500, crowded: 0 });
    }

    #[test]
    fn a_flood_hides_no_other_user_and_many_users_share_a_line() {
        let refused = Refused::default();
        let now = Instant::now();
        for _ in 0..100 {
            refused.count(Cause::Stranger, 7, now);
        }
        assert_eq!(refused.count(Cause::Crowded, 8, now), Some(0));
        let lines = (100..10_100).filter_map(|uid| refused.count(Cause::Stranger, uid, now)).count();
        assert!(lines <= USERS, "{lines} lines of 10000 users in one moment");
        assert_eq!(refused.counts(), Counts { strangers: 10_100, crowded: 1 });
    }
}
