//! Where something stands in the manifest.

use std::ops::Range;

/// A piece of one of the manifest's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    /// Index of the file in the list of sources.
    pub(crate) file: usize,
    /// Its bytes in that file.
    pub(crate) span: Range<usize>,
    /// The key it belongs to, from the root: `segment.lan.vlan`.
    pub(crate) key: String,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it stands.
    pub(crate) location: Location,
}

impl Location {
    /// The beginning of the first file, for what is said of a whole manifest.
    pub(crate) fn start() -> Location {
        Location { file: 0, span: 0..0, key: String::new() }
    }

    /// The location of a key below this one.
    pub(crate) fn child(&self, key: &str, span: Range<usize>) -> Location {
        let key = if bare(key) { key.to_owned() } else { format!("{key:?}") };
        let key = if self.key.is_empty() { key } else { format!("{}.{key}", self.key) };
        Location { file: self.file, span, key }
    }
}

/// Whether TOML takes the key without quotes; others are shown quoted and escaped.
fn bare(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
