//! The Debian releases that the lab boots.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A Debian release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Suite {
    /// bookworm: kernel 6.1, systemd 252, libvirt 9.0, nft 1.0.6.
    Debian12,
    /// trixie: kernel 6.12, systemd 257, libvirt 11.3, nft 1.1.
    Debian13,
}

impl Suite {
    /// Both, the newest first.
    pub(crate) const ALL: &'static [Self] = &[Self::Debian13, Self::Debian12];

    /// The name that Debian's archive knows it by.
    pub(crate) const fn codename(self) -> &'static str {
        match self {
            Self::Debian12 => "bookworm",
            Self::Debian13 => "trixie",
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debian12 => "debian12",
            Self::Debian13 => "debian13",
        })
    }
}
