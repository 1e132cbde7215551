//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text or six bytes are not the address of one station.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// Not six pairs of hexadecimal digits with colons between them.
    #[error("is not six pairs of hex digits such as 52:54:00:12:34:56")]
    Form,
    /// The group bit (IEEE 802, lowest bit of the first byte) is set.
    #[error("is a multicast address; a station's address has an even first byte")]
    Multicast,
    /// All bytes are zero.
    #[error("is all zeros")]
    Zero,
}

/// The Ethernet address of one station: six bytes, unicast and not zero. Displayed as `52:54:00:12:34:56`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

impl Mac {
    /// The address that these bytes make of themselves: its two lowest bits of the first byte say that it is administered
    /// locally and of one station (IEEE 802).
    #[must_use]
    pub const fn local([first, rest @ ..]: [u8; 6]) -> Self {
        let [b, c, d, e, f] = rest;
        Self([(first & 0xfc) | 0x02, b, c, d, e, f])
    }

    /// The six bytes, in the order of the wire.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl TryFrom<[u8; 6]> for Mac {
    type Error = MacError;
    fn try_from(octets: [u8; 6]) -> Result<Self, MacError> {
        if octets == [0; 6] {
            Err(MacError::Zero)
        } else if octets[0] & 1 == 1 {
            Err(MacError::Multicast)
        } else {
            Ok(Self(octets))
        }
    }
}

impl FromStr for Mac {
    type Err = MacError;
    fn from_str(text: &str) -> Result<Self, MacError> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
            *octet = u8::from_str_radix(part.ok_or(MacError::Form)?, 16).map_err(|_| MacError::Form)?;
        }
        if parts.next().is_some() { Err(MacError::Form) } else { Self::try_from(octets) }
    }
}

impl TryFrom<String> for Mac {
    type Error = MacError;
    fn try_from(text: String) -> Result<Self, MacError> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_in_either_case_and_shown_in_lower() {
        assert_eq!("52:54:00:AB:cd:01".parse::<Mac>().map(|m| m.to_string()), Ok("52:54:00:ab:cd:01".to_owned()));
    }

    #[test]
    fn an_address_of_no_single_station_is_refused() {
        assert_eq!("01:00:5e:00:00:01".parse::<Mac>(), Err(MacError::Multicast));
        assert_eq!("00:00:00:00:00:00".parse::<Mac>(), Err(MacError::Zero));
        for text in
            ["", "52:54:00:12:34", "52:54:00:12:34:56:78", "52-54-00-12-34-56", "+2:54:00:12:34:56", "5:54:00:1:2:3"]
        {
            assert_eq!(text.parse::<Mac>(), Err(MacError::Form), "{text:?}");
        }
    }
}
