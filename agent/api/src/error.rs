//! Parameters of the interface's errors.

use serde::{Deserialize, Serialize};

use crate::{Problem, Summary};

/// Error: the manifest's files cannot be applied.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ManifestInvalid {
    /// Every error.
    pub errors: Vec<Problem>,
    /// The same, drawn with their lines for people.
    pub drawn: String,
}

/// Error: the work was tried and did not succeed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ApplyFailed {
    /// In one sentence, with what to do.
    pub why: String,
    /// How far it came.
    pub summary: Summary,
}

/// Error with nothing but its reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The reason, in one sentence.
    pub why: String,
}
