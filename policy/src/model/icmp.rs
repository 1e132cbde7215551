//! The ICMP messages that can be allowed: their names in the manifest and in nft, and their numbers.

use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A type of ICMP or ICMPv6 message that a guest may be allowed to send first. What changes routes or neighbours is not among
/// them, and errors about an allowed flow come back without an allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IcmpType {
    /// A ping.
    EchoRequest,
    /// The packet cannot be delivered.
    DestinationUnreachable,
    /// The packet does not fit the next link; ICMPv6 only.
    PacketTooBig,
    /// The hop limit or the time to put fragments together was used up.
    TimeExceeded,
    /// A field of the header is wrong.
    ParameterProblem,
    /// Asks for the receiver's clock; ICMP of IPv4 only.
    TimestampRequest,
}

/// No type of that name can be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an ICMP type that can be allowed")]
pub struct UnknownIcmpType;

impl IcmpType {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::EchoRequest,
        Self::DestinationUnreachable,
        Self::PacketTooBig,
        Self::TimeExceeded,
        Self::ParameterProblem,
        Self::TimestampRequest,
    ];

    /// Its name in the manifest, which is nft's in both families.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EchoRequest => "echo-request",
            Self::DestinationUnreachable => "destination-unreachable",
            Self::PacketTooBig => "packet-too-big",
            Self::TimeExceeded => "time-exceeded",
            Self::ParameterProblem => "parameter-problem",
            Self::TimestampRequest => "timestamp-request",
        }
    }

    /// Its number in ICMP (RFC 792), if there is such a message.
    #[must_use]
    pub const fn v4(self) -> Option<u8> {
        match self {
            Self::EchoRequest => Some(8),
            Self::DestinationUnreachable => Some(3),
            Self::PacketTooBig => None,
            Self::TimeExceeded => Some(11),
            Self::ParameterProblem => Some(12),
            Self::TimestampRequest => Some(13),
        }
    }

    /// Its number in ICMPv6 (RFC 4443), if there is such a message.
    #[must_use]
    pub const fn v6(self) -> Option<u8> {
        match self {
            Self::EchoRequest => Some(128),
            Self::DestinationUnreachable => Some(1),
            Self::PacketTooBig => Some(2),
            Self::TimeExceeded => Some(3),
            Self::ParameterProblem => Some(4),
            Self::TimestampRequest => None,
        }
    }

    /// nft's name of the message that answers it. An error is answered by nothing.
    pub(crate) const fn reply(self) -> Option<&'static str> {
        match self {
            Self::EchoRequest => Some("echo-reply"),
            Self::TimestampRequest => Some("timestamp-reply"),
            Self::DestinationUnreachable | Self::PacketTooBig | Self::TimeExceeded | Self::ParameterProblem => None,
        }
    }
}

impl FromStr for IcmpType {
    type Err = UnknownIcmpType;

    fn from_str(name: &str) -> Result<Self, UnknownIcmpType> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or(UnknownIcmpType)
    }
}

impl Serialize for IcmpType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_read_by_its_name_and_exists_in_a_family() {
        for (at, kind) in IcmpType::ALL.into_iter().enumerate() {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(kind as usize, at, "`ALL` has each once");
            assert!(kind.v4().is_some() || kind.v6().is_some());
        }
        assert_eq!("redirect".parse::<IcmpType>(), Err(UnknownIcmpType));
    }
}
