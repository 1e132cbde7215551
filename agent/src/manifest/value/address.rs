//! Addresses and networks.

use std::net::IpAddr;

use bulkhead_types::Mac;
use ipnet::IpNet;
use schemars::{Schema, json_schema};

use super::{Refusal, Scalar};

/// Why an address cannot belong to one station, if it cannot.
fn nobody(address: IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("is the address that means \"none\""),
        _ if address.is_loopback() => Some("is a loopback address, which never leaves a machine"),
        _ if address.is_multicast() => Some("is a multicast address, and a station has one of its own"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("is the broadcast address"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("is an IPv4 address in the form of IPv6"),
        _ => None,
    }
}

/// An address of a station within a network, to show one.
fn station(net: IpNet) -> IpAddr {
    let example = if net.addr().is_ipv4() {
        IpAddr::from([10, 13, 37, 40])
    } else {
        IpAddr::from([0xfd00, 0x20, 0, 0, 0, 0, 0, 0x40])
    };
    net.hosts().find(|address| nobody(*address).is_none()).filter(|_| net.prefix_len() > 0).unwrap_or(example)
}

impl Scalar for IpAddr {
    const WHAT: &'static str = "an IPv4 or IPv6 address";
    const EXAMPLE: &'static str = "\"10.13.37.40\"";

    fn json() -> Schema {
        json_schema!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] })
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        if let Some((address, _)) = text.split_once('/').filter(|(_, prefix)| prefix.parse::<u8>().is_ok()) {
            let network =
                text.parse::<IpNet>().ok().filter(|net| net.trunc() == *net && net.prefix_len() < net.max_prefix_len());
            return Err(match network {
                // A network's own address is the address of nobody.
                Some(net) => Refusal::because(
                    format!("is {text:?}, a whole network"),
                    format!("write single addresses, each of one station, such as \"{}\"", station(net)),
                ),
                None => Refusal::because(
                    format!("is {text:?}, with a prefix length that does not belong here"),
                    format!("write {address:?}"),
                ),
            });
        }
        let address = text.parse::<IpAddr>().map_err(|_| {
            Refusal::because(
                format!("is {text:?}, which is not an address"),
                "write an IPv4 or IPv6 address, such as \"10.13.37.40\" or \"fd00:20::40\"",
            )
        })?;
        match nobody(address) {
            None => Ok(address),
            Some(why) => Err(Refusal::because(why, "write the address of one station, such as \"10.13.37.40\"")),
        }
    }
}

/// The host's own address with the prefix length of its segment; the host bits are kept.
impl Scalar for IpNet {
    const WHAT: &'static str = "an address with its prefix length";
    const EXAMPLE: &'static str = "\"10.13.37.30/24\"";

    fn json() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9a-fA-F.:]+/[0-9]{1,3}$", "examples": ["10.13.37.30/24"] })
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        if let Ok(address) = text.parse::<IpAddr>() {
            let prefix = if address.is_ipv4() { 24 } else { 64 };
            return Err(Refusal::because(
                format!("is {text:?}, without its prefix length"),
                format!("write \"{address}/{prefix}\", or the segment's own prefix length"),
            ));
        }
        let net = text.parse::<IpNet>().map_err(|_| {
            Refusal::because(
                format!("is {text:?}, which is not an address with a prefix length"),
                "write for example \"10.13.37.30/24\" or \"fd00:20::30/64\"",
            )
        })?;
        if let Some(why) = nobody(net.addr()) {
            return Err(Refusal::because(why, "write the host's own address, such as \"10.13.37.30/24\""));
        }
        match special(&net) {
            None => Ok(net),
            Some(what) => Err(Refusal::because(
                format!("is the {what} of {}", net.trunc()),
                "write an address between the network's own and its broadcast address",
            )),
        }
    }
}

/// What an IPv4 address means in its network instead of one station. Networks of /31 have no such addresses (RFC 3021).
pub(crate) fn special(net: &IpNet) -> Option<&'static str> {
    match net {
        IpNet::V4(v4) if v4.prefix_len() < 31 && v4.addr() == v4.network() => Some("network address"),
        IpNet::V4(v4) if v4.prefix_len() < 31 && v4.addr() == v4.broadcast() => Some("broadcast address"),
        _ => None,
    }
}

/// A network that narrows an allow: no host bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Net(pub(crate) IpNet);

impl Scalar for Net {
    const WHAT: &'static str = "a network";
    const EXAMPLE: &'static str = "\"10.13.37.0/24\"";

    fn json() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9a-fA-F.:]+(/[0-9]{1,3})?$", "examples": ["10.13.37.0/24"] })
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(IpNet::from(address)));
        }
        let net = text.parse::<IpNet>().map_err(|_| {
            Refusal::because(
                format!("is {text:?}, which is not a network"),
                "write for example \"10.13.37.0/24\", \"fd00:20::/64\" or one address",
            )
        })?;
        if net.trunc() == net {
            Ok(Self(net))
        } else {
            let bits = net.prefix_len();
            Err(Refusal::because(
                format!("is {text:?}, with bits set behind its prefix of {bits}"),
                format!("write \"{}\" for the whole network, or \"{}\" for the one address", net.trunc(), net.addr()),
            ))
        }
    }
}

impl Scalar for Mac {
    const WHAT: &'static str = "a MAC address";
    const EXAMPLE: &'static str = "\"52:54:00:12:34:56\"";

    fn json() -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$" })
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        text.parse().map_err(|error| {
            let help = match rewritten(text) {
                Some(mac) => format!("write \"{mac}\""),
                None => {
                    "leave it out, then it is derived; or write six pairs of hex digits, such as \"52:54:00:12:34:56\""
                        .to_owned()
                }
            };
            Refusal::because(format!("is {text:?}, which {error}"), help)
        })
    }
}

/// An address that is written as Windows or switches write it.
fn rewritten(text: &str) -> Option<Mac> {
    let digits: String = text.chars().filter(|sign| !matches!(sign, '-' | '.' | ':')).collect();
    let pairs: Vec<&str> = (0..digits.len()).step_by(2).filter_map(|at| digits.get(at..at + 2)).collect();
    pairs.join(":").parse().ok().filter(|_| pairs.len() == 6)
}
