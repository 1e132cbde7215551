//! What a machine has said of its task, so that another one goes on where its emulator felled it.

use std::collections::BTreeSet;

use crate::count::Count;
use crate::inside::{Purpose, Room, Task};

/// The tests and cases that have ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// How many ended how.
    pub(super) count: Count,
    /// The room whose tests run now.
    room: String,
    tests: BTreeSet<(String, String)>,
    cases: BTreeSet<String>,
}

impl Ended {
    /// Notes what a line of the machine says has ended.
    pub(super) fn note(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("kernel tests of ") {
            self.room = rest.split(' ').next().unwrap_or_default().to_owned();
        }
        let Some((title, outcome)) = line.split_once(" ... ") else { return };
        let good = match outcome.split(' ').next() {
            Some("ok") => true,
            Some("FAILED") => false,
            _ => return,
        };
        if let Some(name) = title.strip_prefix("test ") {
            self.tests.insert((self.room.clone(), name.to_owned()));
        } else if let Some((_, name)) = title.strip_prefix("case ").and_then(|rest| rest.split_once(": ")) {
            self.cases.insert(name.to_owned());
        } else {
            return;
        }
        self.count += Count { passed: u64::from(good), failed: u64::from(!good) };
    }

    /// What is left to do of a task.
    pub(super) fn left(&self, task: &Task) -> Task {
        let Purpose::Tests { rooms, cases } = &task.purpose else { return task.clone() };
        let open = |room: &Room| {
            let ended = |test: &String| self.tests.contains(&(room.name.clone(), test.clone()));
            let tests: Vec<_> = room.tests.iter().filter(|test| !ended(test)).cloned().collect();
            (!tests.is_empty()).then(|| Room { name: room.name.clone(), tests })
        };
        let rooms = rooms.iter().filter_map(open).collect();
        let cases = cases.iter().filter(|case| !self.cases.contains(*case)).cloned().collect();
        Task { suite: task.suite, purpose: Purpose::Tests { rooms, cases } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Suite;

    #[test]
    fn a_task_goes_on_with_what_has_not_ended() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let room = |name: &str, tests: &[&str]| Room { name: name.to_owned(), tests: names(tests) };
        let task = |rooms, cases: &[&str]| Task {
            suite: Suite::Debian12,
            purpose: Purpose::Tests { rooms, cases: names(cases) },
        };
        let mut ended = Ended::default();
        for line in [
            "kernel tests of netlink on debian12",
            "test drift::a ... ok",
            "test drift::b has been running for over 60 seconds",
            "test drift::b ... FAILED",
            "kernel tests of policy on debian12",
            "test drift::a ... ok",
            "case 4 debian12: nothing passes ... ok (1.5 s)",
            "    0 of 1000 arrived ... ok",
        ] {
            ended.note(line);
        }
        assert_eq!(ended.count, Count { passed: 3, failed: 1 });
        let all = task(
            vec![room("netlink", &["drift::a", "drift::b"]), room("policy", &["drift::a", "drift::b"])],
            &["nothing passes", "all comes back"],
        );
        let left = task(vec![room("policy", &["drift::b"])], &["all comes back"]);
        assert_eq!(ended.left(&all), left);
    }
}
