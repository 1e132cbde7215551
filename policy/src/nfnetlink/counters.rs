//! Our named counters, without anything else of our tables.

use std::io;

use netlink_packet_core::NlasIterator;

use super::{Lister, Listing, SUBSYSTEM, attribute, request, table_name};
use crate::counters::dropped;
use crate::error::Error;
use crate::model::{Counter, TABLE};
use crate::table::Family;

/// `NFT_MSG_NEWOBJ`, also the answer to a request.
const NEW_OBJECT: u16 = 18;
/// `NFT_MSG_GETOBJ`.
const GET_OBJECT: u16 = 19;
/// `NFTA_OBJ_TABLE`, `NFTA_OBJ_NAME`, `NFTA_OBJ_TYPE` and `NFTA_OBJ_DATA`.
const ATTRIBUTE_TABLE: u16 = 1;
const ATTRIBUTE_NAME: u16 = 2;
const ATTRIBUTE_TYPE: u16 = 3;
const ATTRIBUTE_DATA: u16 = 4;
/// `NFT_OBJECT_COUNTER`.
const COUNTER: u32 = 1;
/// `NFTA_COUNTER_BYTES` and `NFTA_COUNTER_PACKETS`, within the data.
const ATTRIBUTE_BYTES: u16 = 1;
const ATTRIBUTE_PACKETS: u16 = 2;

/// A counter with the family of its table.
type Counted = (Family, Counter);

const COUNTERS: Listing<Counted> = Listing { what: "counters", answer: SUBSYSTEM << 8 | NEW_OBJECT, decode };

impl Lister {
    /// The counters of our tables: those of the bridge's first, each family's by name. None where the tables are not there.
    pub(crate) fn counters(&self) -> Result<Vec<Counter>, Error> {
        let mut table = TABLE.as_bytes().to_vec();
        table.push(0);
        let attributes = [(ATTRIBUTE_TABLE, table.as_slice()), (ATTRIBUTE_TYPE, &COUNTER.to_be_bytes())];
        let mut counters = self.list(&COUNTERS, &request(GET_OBJECT, &attributes))?;
        counters.sort_by(|(family, a), (other, b)| (family, &a.name).cmp(&(other, &b.name)));
        Ok(counters.into_iter().map(|(_, counter)| counter).collect())
    }
}

/// The counter, if the object is one and in a table of ours, in whatever the kernel lists beside them.
fn decode(payload: &[u8]) -> io::Result<Option<Counted>> {
    let family = Family::ALL.into_iter().find(|family| payload.first() == Some(&family.number()));
    let Some(family) = family.filter(|_| table_name(payload).is_some_and(|table| table == TABLE.as_bytes())) else {
        return Ok(None);
    };
    let lacks = |what| io::Error::new(io::ErrorKind::InvalidData, format!("an object lacks {what}"));
    let kind = attribute(payload, ATTRIBUTE_TYPE).and_then(|value| value.first_chunk().copied());
    if u32::from_be_bytes(kind.ok_or_else(|| lacks("its type"))?) != COUNTER {
        return Ok(None);
    }
    let name = attribute(payload, ATTRIBUTE_NAME).ok_or_else(|| lacks("its name"))?;
    let name = String::from_utf8_lossy(name.strip_suffix(b"\0").unwrap_or(&name)).into_owned();
    let data = attribute(payload, ATTRIBUTE_DATA).ok_or_else(|| lacks("its data"))?;
    let number = |kind| {
        let mut numbers = NlasIterator::new(data.as_slice()).map_while(Result::ok);
        let number = numbers.find(|number| number.kind() == kind)?;
        number.value().first_chunk().map(|number| u64::from_be_bytes(*number))
    };
    let packets = number(ATTRIBUTE_PACKETS).ok_or_else(|| lacks("its packets"))?;
    let bytes = number(ATTRIBUTE_BYTES).ok_or_else(|| lacks("its bytes"))?;
    Ok(Some((family, Counter { dropped: dropped(&name), name, packets, bytes })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nfnetlink::tests::{done, listed, message};

    /// What Linux 6.12 answers to the request, of `forbidden` with 4660 packets of 5000000000 bytes.
    fn forbidden(family: u8) -> Vec<u8> {
        let mut payload = vec![family, 0, 0, 0x11];
        payload.extend(b"\x0d\x00\x01\x00bulkhead\0\0\0\0");
        payload.extend(b"\x0e\x00\x02\x00forbidden\0\0\0");
        payload.extend(b"\x08\x00\x03\x00\x00\x00\x00\x01");
        payload.extend(b"\x08\x00\x05\x00\x00\x00\x00\x02");
        payload.extend(b"\x1c\x00\x04\x80");
        payload.extend(b"\x0c\x00\x01\x00\x00\x00\x00\x01\x2a\x05\xf2\x00");
        payload.extend(b"\x0c\x00\x02\x00\x00\x00\x00\x00\x00\x00\x12\x34");
        payload.extend(b"\x0c\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00\x03");
        let mut bytes = u32::try_from(16 + payload.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend((SUBSYSTEM << 8 | NEW_OBJECT).to_ne_bytes());
        bytes.extend([2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn a_counter_is_read_with_its_packets_and_bytes_and_tables_of_others_are_not() {
        let (counters, ..) = listed(&COUNTERS, &[[forbidden(7), forbidden(2), done()].concat()]).unwrap();
        let counter = Counter { name: "forbidden".to_owned(), dropped: true, packets: 4660, bytes: 5_000_000_000 };
        assert_eq!(counters, [(Family::Bridge, counter)]);
    }

    #[test]
    fn a_quota_of_ours_is_no_counter_and_a_counter_without_its_numbers_is_an_error() {
        let quota = message(NEW_OBJECT, &[(1, b"bulkhead\0"), (2, b"q\0"), (3, &2_u32.to_be_bytes()), (4, &[])]);
        assert_eq!(listed(&COUNTERS, &[[quota, done()].concat()]).unwrap().0, []);
        let empty = message(NEW_OBJECT, &[(1, b"bulkhead\0"), (2, b"c\0"), (3, &1_u32.to_be_bytes()), (4, &[])]);
        assert_eq!(listed(&COUNTERS, &[empty]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
