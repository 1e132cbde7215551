//! DHCP for IPv4 (RFC 2131, RFC 2132): as much as one lease takes.

use std::fmt;
use std::net::Ipv4Addr;

use crate::ethernet::Ether;

/// UDP port of a server.
pub const SERVER_PORT: u16 = 67;
/// UDP port of a client.
pub const CLIENT_PORT: u16 = 68;

const MAGIC: [u8; 4] = [99, 130, 83, 99];
const OPTIONS_AT: usize = 236;

const SUBNET_MASK: u8 = 1;
const REQUESTED_ADDRESS: u8 = 50;
const LEASE_SECONDS: u8 = 51;
const MESSAGE_TYPE: u8 = 53;
const SERVER: u8 = 54;
const PAD: u8 = 0;
const END: u8 = 255;

/// The kinds of messages that make a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A client looks for servers.
    Discover,
    /// A server offers an address.
    Offer,
    /// The client takes it.
    Request,
    /// The server agrees.
    Ack,
}

impl Kind {
    const ALL: [(u8, Self, &'static str); 4] = [
        (1, Self::Discover, "discover"),
        (2, Self::Offer, "offer"),
        (3, Self::Request, "request"),
        (5, Self::Ack, "ack"),
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, kind, _)| kind == self).map_or("", |(_, _, name)| name))
    }
}

/// A message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// What it says.
    pub kind: Kind,
    /// Which exchange it belongs to.
    pub transaction: u32,
    /// Whether the client asks for answers by broadcast.
    pub broadcast: bool,
    /// The client's station.
    pub client: Ether,
    /// The address that the server gives.
    pub yours: Ipv4Addr,
    /// The address that the client asks for.
    pub requested: Option<Ipv4Addr>,
    /// Which server is meant or speaks.
    pub server: Option<Ipv4Addr>,
}

impl Message {
    /// A client's first word.
    #[must_use]
    pub const fn discover(client: Ether, transaction: u32) -> Self {
        let yours = Ipv4Addr::UNSPECIFIED;
        Self { kind: Kind::Discover, transaction, broadcast: true, client, yours, requested: None, server: None }
    }

    /// A server's answer to a client: an offer to a discover, an ack to a request.
    #[must_use]
    pub fn answer(&self, server: Ipv4Addr, yours: Ipv4Addr) -> Option<Self> {
        let kind = match self.kind {
            Kind::Discover => Kind::Offer,
            Kind::Request => Kind::Ack,
            Kind::Offer | Kind::Ack => return None,
        };
        Some(Self { kind, yours, requested: None, server: Some(server), ..*self })
    }

    /// Its bytes, the data of a UDP datagram.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let from_server = matches!(self.kind, Kind::Offer | Kind::Ack);
        let mut bytes = vec![if from_server { 2 } else { 1 }, 1, 6, 0];
        bytes.extend(self.transaction.to_be_bytes());
        bytes.extend([0, 0, if self.broadcast { 0x80 } else { 0 }, 0]);
        bytes.extend([0; 4]);
        bytes.extend(self.yours.octets());
        bytes.extend([0; 8]);
        bytes.extend(self.client.0);
        bytes.resize(OPTIONS_AT, 0);
        bytes.extend(MAGIC);
        let number = Kind::ALL.iter().find(|(_, kind, _)| *kind == self.kind).map_or(0, |(number, ..)| *number);
        bytes.extend([MESSAGE_TYPE, 1, number]);
        for (code, address) in [(REQUESTED_ADDRESS, self.requested), (SERVER, self.server)] {
            bytes.extend(address.iter().flat_map(|address| [&[code, 4], &address.octets()[..]].concat()));
        }
        if from_server {
            bytes.extend([SUBNET_MASK, 4, 255, 255, 255, 0]);
            bytes.extend([LEASE_SECONDS, 4, 0, 0, 0x0e, 0x10]);
        }
        bytes.push(END);
        bytes
    }

    /// The message in the data of a UDP datagram; `None` when it is none of the four kinds.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(OPTIONS_AT)?;
        let options = rest.strip_prefix(&MAGIC)?;
        let number = *option(options, MESSAGE_TYPE)?.first()?;
        let address = |code| Some(Ipv4Addr::from(<[u8; 4]>::try_from(option(options, code)?).ok()?));
        Some(Self {
            kind: Kind::ALL.iter().find(|(n, ..)| *n == number)?.1,
            transaction: u32::from_be_bytes(header[4..8].try_into().ok()?),
            broadcast: header[10] & 0x80 != 0,
            client: Ether(header[28..34].try_into().ok()?),
            yours: Ipv4Addr::from(<[u8; 4]>::try_from(&header[16..20]).ok()?),
            requested: address(REQUESTED_ADDRESS),
            server: address(SERVER),
        })
    }
}

fn option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        let (code, rest) = options.split_first()?;
        options = match *code {
            END => return None,
            PAD => rest,
            _ => {
                let (length, rest) = rest.split_first()?;
                let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                if *code == wanted {
                    return Some(value);
                }
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_built_is_parsed_again(
            kind in 0..4_usize, transaction: u32, broadcast: bool, client: [u8; 6], yours: [u8; 4],
            requested: Option<[u8; 4]>, server: Option<[u8; 4]>,
        ) {
            let (requested, server) = (requested.map(Ipv4Addr::from), server.map(Ipv4Addr::from));
            let (kind, client, yours) = (Kind::ALL[kind].1, Ether(client), yours.into());
            let message = Message { kind, transaction, broadcast, client, yours, requested, server };
            prop_assert_eq!(Message::parse(&message.bytes()), Some(message));
        }

        #[test]
        fn any_options_never_panic(options: Vec<u8>) {
            let _ = Message::parse(&[vec![0; OPTIONS_AT], MAGIC.to_vec(), options].concat());
        }
    }

    #[test]
    fn a_discover_is_answered_by_an_offer_and_a_request_by_an_ack() {
        let (server, yours) = (Ipv4Addr::new(10, 13, 37, 1), Ipv4Addr::new(10, 13, 37, 40));
        let discover = Message::discover(Ether([2; 6]), 7);
        let offer = discover.answer(server, yours).unwrap();
        assert_eq!((offer.kind, offer.yours, offer.transaction), (Kind::Offer, yours, 7));
        let request = Message { kind: Kind::Request, requested: Some(yours), server: Some(server), ..discover };
        assert_eq!(request.answer(server, yours).unwrap().kind, Kind::Ack);
        assert_eq!(offer.answer(server, yours), None);
    }
}
