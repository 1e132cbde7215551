//! Names of interfaces, guests and segments.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing between the quotes.
    #[error("is empty")]
    Empty,
    /// Longer than the holder allows; the bytes that fit.
    #[error("is {0} bytes long, and at most {1} fit")]
    TooLong(usize, usize),
    /// A character that the holder refuses.
    #[error("has {0:?}, which is not allowed in it")]
    Character(char),
    /// A name that means something else to the kernel.
    #[error("is a reserved name")]
    Reserved,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                $check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                $check(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

name!(
    /// The name of a network interface: 1 to 15 bytes of `[A-Za-z0-9._-]`.
    ///
    /// The kernel (`dev_valid_name`, `IFNAMSIZ` = 16 with the final NUL) also takes other bytes; nftables would read `*` as
    /// a wildcard and sysctl a `/` as a path, so only what every reader takes literally is allowed.
    IfName,
    check_interface
);

name!(
    /// The name of a guest: 1 to 48 bytes of `[a-z0-9-]`, neither first nor last a `-`.
    ///
    /// It becomes a libvirt domain name and part of a systemd unit name (at most 255 bytes after escaping `-` as `\x2d`).
    GuestName,
    check_label
);

name!(
    /// The name of a segment, by the manifest: 1 to 48 bytes of `[a-z0-9-]`, neither first nor last a `-`.
    ///
    /// It is the segment's identity: the VLAN, the bridge and the ports that carry it are properties of it and may change.
    SegmentName,
    check_label
);

/// `IFNAMSIZ` less the final NUL (`include/uapi/linux/if.h`).
const INTERFACE_BYTES: usize = 15;
/// 48 escaped characters and the unit's own prefix and suffix stay below 255 bytes.
const LABEL_BYTES: usize = 48;

fn check_interface(text: &str) -> Result<(), NameError> {
    check(text, INTERFACE_BYTES, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))?;
    // "all" and "default" are directories of /proc/sys/net/ipv6/conf that speak for every interface.
    if matches!(text, "." | ".." | "all" | "default" | "lo") { Err(NameError::Reserved) } else { Ok(()) }
}

/// The rule of guests and segments.
fn check_label(text: &str) -> Result<(), NameError> {
    check(text, LABEL_BYTES, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')?;
    if text.starts_with('-') || text.ends_with('-') { Err(NameError::Character('-')) } else { Ok(()) }
}

fn check(text: &str, most: usize, allowed: fn(char) -> bool) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(c) = text.chars().find(|c| !allowed(*c)) {
        return Err(NameError::Character(c));
    }
    if text.len() > most { Err(NameError::TooLong(text.len(), most)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_name_of_sixteen_bytes_is_refused() {
        assert_eq!("vlan20".parse::<IfName>().map(|n| n.to_string()), Ok("vlan20".to_owned()));
        assert_eq!("a234567890123456".parse::<IfName>(), Err(NameError::TooLong(16, 15)));
    }

    #[test]
    fn what_the_kernel_or_nft_would_read_otherwise_is_refused() {
        for text in ["", "a b", "br/0", "eth*", "all", "..", "lo", "é"] {
            assert!(text.parse::<IfName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_guest_name_is_lower_case_digits_and_inner_dashes() {
        assert!("web-1".parse::<GuestName>().is_ok());
        for text in ["", "-web", "web-", "Web", "web_1", "web.1", "we b"] {
            assert!(text.parse::<GuestName>().is_err(), "{text:?}");
        }
    }
}
