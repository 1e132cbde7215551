//! Reading single attributes of a message.
//!
//! The message types of `netlink-packet-route` decode every attribute that they know and fail as a whole if one of them is
//! strange, such as a name that is not UTF-8. Here only what is needed is looked at.

use bulkhead_types::Mac;
use netlink_packet_core::{DecodeError, NlasIterator};

/// The attributes of a message, or those nested in one of them.
#[derive(Debug, Default)]
pub(super) struct Attributes<'a> {
    list: Vec<(u16, &'a [u8])>,
    /// Why the rest of them cannot be found.
    torn: Option<DecodeError>,
}

impl<'a> Attributes<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let mut attributes = Self::default();
        for attribute in NlasIterator::new(bytes) {
            match attribute {
                Ok(found) => {
                    let (kind, length) = (found.kind(), usize::from(found.length()));
                    let value = found.into_inner().get(HEADER..length).unwrap_or_default();
                    attributes.list.push((kind, value));
                }
                Err(error) => attributes.torn = Some(error),
            }
        }
        attributes
    }

    /// The attributes that are nested in the one of that kind; none where there is none.
    pub(super) fn nested(&self, kind: u16) -> Self {
        self.get(kind).map(Self::read).unwrap_or_default()
    }

    /// The value of the first attribute of that kind.
    pub(super) fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.all(kind).next()
    }

    /// The values of all attributes of that kind.
    pub(super) fn all(&self, kind: u16) -> impl Iterator<Item = &'a [u8]> {
        self.list.iter().filter(move |(found, _)| *found == kind).map(|(_, value)| *value)
    }

    /// A number of the host's byte order; `None` where there is no attribute of that kind.
    pub(super) fn u32(&self, kind: u16) -> Result<Option<u32>, DecodeError> {
        self.array(kind).map(|found| found.map(u32::from_ne_bytes))
    }

    /// A number of the host's byte order.
    pub(super) fn u16(&self, kind: u16) -> Result<Option<u16>, DecodeError> {
        self.array(kind).map(|found| found.map(u16::from_ne_bytes))
    }

    /// A number.
    pub(super) fn u8(&self, kind: u16) -> Result<Option<u8>, DecodeError> {
        self.array(kind).map(|found| found.map(|[byte]| byte))
    }

    /// A switch: any number but 0 is on.
    pub(super) fn switch(&self, kind: u16) -> Result<Option<bool>, DecodeError> {
        self.u8(kind).map(|found| found.map(|byte| byte != 0))
    }

    /// The bytes of an attribute of a fixed length.
    pub(super) fn array<const N: usize>(&self, kind: u16) -> Result<Option<[u8; N]>, DecodeError> {
        let array = |value: &[u8]| {
            let wrong = || DecodeError::from(format!("attribute {kind} has {} bytes, and not {N}", value.len()));
            <[u8; N]>::try_from(value).map_err(|_| wrong())
        };
        self.get(kind).map(array).transpose()
    }

    /// Whether all of them could be told apart.
    ///
    /// # Errors
    /// The length of one of them is impossible, so that it and those after it are not known.
    pub(super) fn whole(&self) -> Result<(), DecodeError> {
        self.torn.as_ref().map_or(Ok(()), |error| Err(DecodeError::from(error.to_string())))
    }
}

/// Bytes of `struct nlattr`, before the value.
const HEADER: usize = 4;

/// A text of the kernel, which ends at its first NUL. What is not UTF-8 is replaced, so that the result equals no name that
/// a manifest can have.
pub(super) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}

/// An Ethernet address of a single station.
pub(super) fn station(value: &[u8]) -> Option<Mac> {
    <[u8; 6]>::try_from(value).ok().and_then(|octets| Mac::try_from(octets).ok())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Attributes as the kernel sends them.
    pub(crate) fn bytes(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, value) in attributes {
            bytes.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn attributes_before_a_torn_one_are_read_and_the_rest_is_known_to_be_missing() {
        let mut message = bytes(&[(3, b"eth0\0"), (0x8000 | 18, &[4, 0, 1, 0])]);
        assert!(Attributes::read(&message).whole().is_ok());
        message.extend([200, 0, 4, 0, 1, 2]);
        let read = Attributes::read(&message);
        assert_eq!(read.get(3).map(text).as_deref(), Some("eth0"));
        assert_eq!(read.nested(18).get(1), Some(&[][..]));
        assert!(read.whole().is_err());
    }

    #[test]
    fn a_number_of_the_wrong_length_is_an_error_and_no_other_number() {
        let message = bytes(&[(4, &[220, 5, 0]), (27, &[1, 0, 0, 0])]);
        let read = Attributes::read(&message);
        assert!(read.u32(4).is_err());
        assert_eq!((read.u32(27).unwrap(), read.u32(10).unwrap()), (Some(1), None));
    }

    #[test]
    fn a_name_that_is_not_utf_8_is_no_name_of_a_manifest() {
        let name = text(b"sec\xff\xfe\0");
        assert_eq!(name, "sec\u{fffd}\u{fffd}");
        assert!(name.parse::<bulkhead_types::IfName>().is_err());
    }
}
