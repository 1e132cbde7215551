//! How long tests and cases took, and which of them longest.

use std::cmp::Reverse;
use std::time::Duration;

/// How many are shown.
const SHOWN: usize = 10;

/// How long a test or case took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Took {
    /// From its begin to its end.
    pub(crate) time: Duration,
    /// Which it was.
    pub(crate) title: String,
}

impl Took {
    /// As a machine tells it: milliseconds and title.
    pub(crate) fn written(&self) -> String {
        format!("{} {}", self.time.as_millis(), self.title)
    }

    /// Reads what [`Took::written`] writes.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (time, title) = text.split_once(' ')?;
        Some(Self { time: Duration::from_millis(time.parse().ok()?), title: title.to_owned() })
    }
}

/// The longest, the longest first, a line each.
pub(crate) fn longest(mut all: Vec<Took>) -> Vec<String> {
    all.sort_by_key(|took| Reverse(took.time));
    all.truncate(SHOWN);
    all.iter().map(|took| format!("{:6.1} s {}", took.time.as_secs_f64(), took.title)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(seconds: u64) -> Took {
        Took { time: Duration::from_secs(seconds), title: format!("case {seconds}: a sentence") }
    }

    #[test]
    fn what_a_machine_tells_is_read_back() {
        assert_eq!(Took::read(&took(3).written()), Some(took(3)));
        assert_eq!(Took::read("soon case 3"), None);
    }

    #[test]
    fn the_longest_come_first_and_no_more_than_ten() {
        let lines = longest((1..=12).map(took).collect());
        assert_eq!(lines.len(), 10);
        assert_eq!(lines[0], "  12.0 s case 12: a sentence");
        assert_eq!(lines[9], "   3.0 s case 3: a sentence");
    }
}
