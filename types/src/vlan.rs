//! VLAN ids.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number that is not the id of a usable VLAN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is {0}, and a VLAN id is 1 to 4094 (IEEE 802.1Q reserves 0 and 4095)")]
pub struct VlanIdError(pub i64);

/// The id of a VLAN, 1 to 4094 (IEEE 802.1Q: 0 means "priority only" and 4095 is reserved).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct VlanId(u16);

impl VlanId {
    /// The id as the number of the wire.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<i64> for VlanId {
    type Error = VlanIdError;
    fn try_from(number: i64) -> Result<Self, VlanIdError> {
        match u16::try_from(number) {
            Ok(id @ 1..=4094) => Ok(Self(id)),
            _ => Err(VlanIdError(number)),
        }
    }
}

impl From<VlanId> for i64 {
    fn from(id: VlanId) -> i64 {
        id.0.into()
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_to_4094_is_a_vlan() {
        for (number, good) in [(-1, false), (0, false), (1, true), (4094, true), (4095, false), (65_556, false)] {
            assert_eq!(VlanId::try_from(number).is_ok(), good, "{number}");
        }
    }
}
