//! A bound on something that is counted.

use serde::{Deserialize, Serialize};

/// A bound on something that is counted; what, and in which unit, says whoever has it. The tighter one is the lesser.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// At most so much.
    At(u64),
    /// No bound: the kernel's `max`, systemd's `infinity`.
    #[default]
    Max,
}

impl Limit {
    /// The number, if there is one.
    #[must_use]
    pub const fn at(self) -> Option<u64> {
        match self {
            Self::At(number) => Some(number),
            Self::Max => None,
        }
    }
}

impl From<Option<u64>> for Limit {
    fn from(number: Option<u64>) -> Self {
        number.map_or(Self::Max, Self::At)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tighter_limit_is_the_lesser() {
        assert_eq!(Limit::At(u64::MAX).min(Limit::Max), Limit::At(u64::MAX));
        assert_eq!(Limit::At(2).min(Limit::At(1)), Limit::At(1));
    }
}
