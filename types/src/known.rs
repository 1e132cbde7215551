//! What could be read, and what could not.

use std::error::Error;

use serde::{Deserialize, Serialize};

use crate::chain;

/// A value that was read, or why it could not be: the unknown is never taken for none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Known<T> {
    /// What was read.
    Known(T),
    /// Why it could not be read: an error and all its causes, in one line.
    Unknown(String),
}

impl<T> Known<T> {
    /// The value, if it was read.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// Why it is not known.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(why) => Some(why),
        }
    }

    /// What follows from the value; nothing follows from an unknown one.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Known<U> {
        match self {
            Self::Known(value) => Known::Known(change(value)),
            Self::Unknown(why) => Known::Unknown(why),
        }
    }

    /// The same by reference.
    pub fn as_ref(&self) -> Known<&T> {
        match self {
            Self::Known(value) => Known::Known(value),
            Self::Unknown(why) => Known::Unknown(why.clone()),
        }
    }
}

impl<T: Default> Default for Known<T> {
    fn default() -> Self {
        Self::Known(T::default())
    }
}

impl<T, E: Error> From<Result<T, E>> for Known<T> {
    fn from(read: Result<T, E>) -> Self {
        read.map_or_else(|error| Self::Unknown(chain(&error)), Self::Known)
    }
}
