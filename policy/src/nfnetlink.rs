//! nf_tables' own messages (`include/uapi/linux/netfilter/nf_tables.h`), where libnftables is not asked: what changes, which
//! tables there are, and what our counters say. libnftables 1.0.6 uses the only flag that a table has after it has freed it, while it lists tables, and so
//! whoever makes any table `dormant` would harm this process.

mod counters;

use std::collections::BTreeSet;
use std::io;

use netlink_packet_core::{
    DecodeError, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use crate::error::Error;
use crate::table::Family;

/// `NFNL_SUBSYS_NFTABLES`, the upper byte of a message's type.
pub(crate) const SUBSYSTEM: u16 = 10;
/// `NFT_MSG_NEWTABLE`, also the answer to a request.
const NEW_TABLE: u16 = 0;
/// `NFT_MSG_GETTABLE`.
const GET_TABLE: u16 = 1;
/// `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE`, `NFTA_RULE_TABLE` and so on: in every object the first attribute.
const ATTRIBUTE_TABLE: u16 = 1;
/// `NFTA_TABLE_FLAGS`.
const ATTRIBUTE_FLAGS: u16 = 2;
/// `struct nlmsghdr`.
const NETLINK_HEADER: usize = 16;
/// `struct nlattr`, before an attribute's value.
const ATTRIBUTE_HEADER: usize = 4;
/// `struct nfgenmsg`, before the attributes: its first byte is the family.
const HEADER: usize = 4;
/// The kernel answers a dump with at most 32 KiB at a time.
const DATAGRAM: usize = 64 << 10;
/// How often a list that changes while it is read is read again.
const ATTEMPTS: usize = 8;

/// A table's name, family and flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    family: u8,
    name: Vec<u8>,
    /// In nft's words; a bit without a word is `flag BIT`.
    pub(crate) flags: BTreeSet<String>,
}

impl Table {
    /// Whether this is the table of that family and name.
    pub(crate) fn is(&self, family: Family, name: &str) -> bool {
        self.family == family.number() && self.name == name.as_bytes()
    }
}

/// One kind of object that can be listed.
struct Listing<T> {
    /// What it lists, for an error.
    what: &'static str,
    /// The type of the messages that carry one object each.
    answer: u16,
    /// Reads a message's payload; `None` for what the list is to leave out.
    decode: fn(&[u8]) -> io::Result<Option<T>>,
}

const TABLES: Listing<Table> = Listing { what: "tables", answer: SUBSYSTEM << 8 | NEW_TABLE, decode: decode_table };

/// A socket that lists objects of the network namespace that it was opened in.
#[derive(Debug)]
pub(crate) struct Lister(Socket);

impl Lister {
    pub(crate) fn open() -> Result<Self, Error> {
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(|e| Error::Open("socket", e))?;
        socket.bind_auto().map_err(|e| Error::Open("bind", e))?;
        Ok(Self(socket))
    }

    /// All tables of all families.
    pub(crate) fn tables(&self) -> Result<Vec<Table>, Error> {
        self.list(&TABLES, &request(GET_TABLE, &[]))
    }

    /// All that the kernel lists. It answers within the calls, so that nothing waits.
    fn list<T>(&self, listing: &Listing<T>, request: &[u8]) -> Result<Vec<T>, Error> {
        for _ in 0..ATTEMPTS {
            if let Some(objects) = self.dump(listing, request).map_err(|error| Error::List(listing.what, error))? {
                return Ok(objects);
            }
        }
        Err(Error::List(listing.what, io::Error::other("they changed each time while they were read")))
    }

    /// `None` if they changed meanwhile.
    fn dump<T>(&self, listing: &Listing<T>, request: &[u8]) -> io::Result<Option<Vec<T>>> {
        // What a dump that failed has left behind is not of this one.
        while self.0.recv(&mut Vec::with_capacity(DATAGRAM), libc::MSG_DONTWAIT).is_ok() {}
        self.0.send_to(request, &SocketAddr::new(0, 0), 0)?;
        let (mut objects, mut whole) = (Vec::new(), true);
        loop {
            let mut datagram = Vec::with_capacity(DATAGRAM);
            self.0.recv(&mut datagram, libc::MSG_DONTWAIT)?;
            if read(&datagram, listing, &mut objects, &mut whole)? {
                return Ok(whole.then_some(objects));
            }
        }
    }
}

/// A request for all objects of a kind, of every family, that these attributes select.
fn request(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = vec![0; HEADER];
    for (kind, value) in attributes {
        body.extend(u16::try_from(ATTRIBUTE_HEADER + value.len()).unwrap_or(u16::MAX).to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut request = u32::try_from(NETLINK_HEADER + body.len()).unwrap_or(u32::MAX).to_ne_bytes().to_vec();
    request.extend((SUBSYSTEM << 8 | kind).to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    // Sequence number and port: the kernel fills in ours.
    request.extend([0; 8]);
    request.extend(body);
    request
}

/// Adds what one datagram of a dump says, and tells whether it is the last.
fn read<T>(datagram: &[u8], listing: &Listing<T>, objects: &mut Vec<T>, whole: &mut bool) -> io::Result<bool> {
    for message in messages(datagram) {
        let message = message.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        let payload = message.payload();
        *whole &= message.flags() & NLM_F_DUMP_INTR == 0;
        match message.message_type() {
            NLMSG_DONE | NLMSG_ERROR => {
                let code = payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                return if code < 0 { Err(io::Error::from_raw_os_error(-code)) } else { Ok(true) };
            }
            kind if kind == listing.answer => objects.extend((listing.decode)(payload)?),
            _ => {}
        }
    }
    Ok(false)
}

fn decode_table(payload: &[u8]) -> io::Result<Option<Table>> {
    let (family, name) = (payload.first().copied(), table_name(payload));
    let flags = attribute(payload, ATTRIBUTE_FLAGS).and_then(|value| value.first_chunk().copied());
    let (Some(family), Some(name), Some(flags)) = (family, name, flags) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a table lacks its name or its flags"));
    };
    Ok(Some(Table { family, name, flags: words(u32::from_be_bytes(flags)) }))
}

/// `NFT_TABLE_F_DORMANT`, `_OWNER` (kernel 5.12) and `_PERSIST` (6.9).
fn words(flags: u32) -> BTreeSet<String> {
    let word = |bit: u32| match bit {
        0 => "dormant".to_owned(),
        1 => "owner".to_owned(),
        2 => "persist".to_owned(),
        bit => format!("flag {bit}"),
    };
    (0..u32::BITS).filter(|bit| flags >> bit & 1 == 1).map(word).collect()
}

/// The messages of a datagram; nothing comes after one that cannot be read.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Result<NetlinkBuffer<&[u8]>, DecodeError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let message = NetlinkBuffer::new_checked(bytes);
        let length = message.as_ref().map_or(bytes.len(), |message| (message.length() as usize).next_multiple_of(4));
        bytes = bytes.get(length..).unwrap_or_default();
        Some(message)
    })
}

/// The value of the first attribute of a kind in a message's payload.
pub(crate) fn attribute(payload: &[u8], kind: u16) -> Option<Vec<u8>> {
    let mut attributes = NlasIterator::new(payload.get(HEADER..)?).map_while(Result::ok);
    attributes.find(|attribute| attribute.kind() == kind).map(|attribute| attribute.value().to_vec())
}

/// The name of the table that an object is, or is in.
pub(crate) fn table_name(payload: &[u8]) -> Option<Vec<u8>> {
    let name = attribute(payload, ATTRIBUTE_TABLE)?;
    Some(name.strip_suffix(b"\0").map(<[u8]>::to_vec).unwrap_or(name))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A message of the bridge family, as the kernel sends it.
    pub(crate) fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut payload = vec![7, 0, 0, 0];
        for (kind, value) in attributes {
            payload.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
            payload.extend(kind.to_ne_bytes());
            payload.extend(*value);
            payload.resize(payload.len().next_multiple_of(4), 0);
        }
        raw(SUBSYSTEM << 8 | kind, 0, &payload)
    }

    fn raw(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(16 + payload.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(payload);
        bytes
    }

    /// What these datagrams list, whether it is whole, and whether it ended.
    pub(super) fn listed<T>(listing: &Listing<T>, datagrams: &[Vec<u8>]) -> io::Result<(Vec<T>, bool, bool)> {
        let (mut objects, mut whole, mut last) = (Vec::new(), true, false);
        for datagram in datagrams {
            last = read(datagram, listing, &mut objects, &mut whole)?;
        }
        Ok((objects, whole, last))
    }

    /// The end of a list.
    pub(super) fn done() -> Vec<u8> {
        raw(NLMSG_DONE, 2, &[0; 4])
    }

    fn table(name: &[u8], flags: u32) -> Vec<u8> {
        message(NEW_TABLE, &[(ATTRIBUTE_TABLE, name), (ATTRIBUTE_FLAGS, &flags.to_be_bytes())])
    }

    #[test]
    fn tables_are_read_by_family_name_and_flags_until_the_end_of_the_list() {
        let first = [table(b"bulkhead\0", 6), table(b"other\0", 0x8000_0001)].concat();
        let (tables, whole, last) = listed(&TABLES, &[first.clone(), done()]).unwrap();
        assert!(whole && last && !listed(&TABLES, &[first]).unwrap().2);
        assert!(tables[0].is(Family::Bridge, "bulkhead") && !tables[0].is(Family::Inet, "bulkhead"));
        assert_eq!(tables[0].flags, ["owner", "persist"].map(str::to_owned).into());
        assert_eq!(tables[1].flags, ["dormant", "flag 31"].map(str::to_owned).into());
    }

    #[test]
    fn a_list_that_changed_meanwhile_is_not_whole() {
        let torn = raw(SUBSYSTEM << 8 | NEW_TABLE, NLM_F_DUMP_INTR, &table(b"x\0", 0)[16..]);
        assert!(!listed(&TABLES, &[torn, done()]).unwrap().1);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_so_is_what_the_kernel_refuses() {
        assert_eq!(
            listed(&TABLES, &[raw(NLMSG_ERROR, 0, &(-1_i32).to_ne_bytes())]).unwrap_err().raw_os_error(),
            Some(libc::EPERM)
        );
        for broken in [vec![1, 2, 3], message(NEW_TABLE, &[]), message(NEW_TABLE, &[(ATTRIBUTE_TABLE, b"x\0")])] {
            assert_eq!(listed(&TABLES, &[broken]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
