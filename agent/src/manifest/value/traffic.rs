//! Who and what an allow speaks of.

use std::ops::RangeInclusive;

use bulkhead_policy::model::{IcmpType, UnknownIcmpType};
use bulkhead_types::{GuestName, SegmentName};
use schemars::{Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::{List, Refusal, Scalar};
use crate::manifest::model::Endpoint;
use crate::manifest::problem::Problems;
use crate::manifest::read::{Node, Read};
use crate::manifest::spell::nearest;

const ENDPOINTS: &str =
    "write \"guest.NAME\", \"segment.NAME\" (every guest on it), \"outside.NAME\" (beyond the trunk) or \"host\"";

impl Scalar for Endpoint {
    const WHAT: &'static str = "an endpoint";
    const EXAMPLE: &'static str = "\"guest.NAME\", \"segment.NAME\", \"outside.NAME\" or \"host\"";

    fn json() -> Schema {
        json_schema!({
            "type": "string",
            "description": "`guest.NAME`, `segment.NAME` (every guest on it), `outside.NAME` (whatever is beyond the trunk) or `host`.",
            "pattern": "^(host|(guest|segment|outside)\\.[a-z0-9-]+)$",
        })
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        match text.split_once('.') {
            Some((kind @ "guest", name)) => GuestName::text(name).map(Self::Guest).map_err(|why| with_kind(kind, why)),
            Some((kind @ "segment", name)) => {
                SegmentName::text(name).map(Self::Segment).map_err(|why| with_kind(kind, why))
            }
            Some((kind @ "outside", name)) => {
                SegmentName::text(name).map(Self::Outside).map_err(|why| with_kind(kind, why))
            }
            None if text == "host" => Ok(Self::Host),
            None if matches!(text, "guest" | "segment" | "outside") => Err(Refusal::because(
                format!("is {text:?}, without a name"),
                format!("write \"{text}.NAME\" with the name of a {}", if text == "guest" { text } else { "segment" }),
            )),
            None if text.parse::<GuestName>().is_ok() => Err(Refusal::because(
                format!("is {text:?}, which does not say of what kind it is"),
                format!(
                    "write \"guest.{text}\" for a guest, \"segment.{text}\" for every guest on a segment, or \"outside.{text}\" for what is beyond its trunk"
                ),
            )),
            _ => Err(Refusal::because(format!("is {text:?}, which is not an endpoint"), ENDPOINTS)),
        }
    }
}

/// What is wrong with the name of an endpoint, with what to write instead as an endpoint.
fn with_kind(kind: &str, refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Because(why, help) => Refusal::Because(why, help.replacen("write \"", &format!("write \"{kind}."), 1)),
        Refusal::Kind => Refusal::Kind,
    }
}

/// Ports from one to another, both included; never 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ports(pub(crate) RangeInclusive<u16>);

/// The highest port.
const MOST_PORT: u64 = u16::MAX as u64;

/// The services that people name most, with their ports by IANA's registry.
const SERVICES: [(&str, u16); 14] = [
    ("ssh", 22),
    ("smtp", 25),
    ("dns", 53),
    ("domain", 53),
    ("http", 80),
    ("ntp", 123),
    ("imap", 143),
    ("ldap", 389),
    ("https", 443),
    ("ldaps", 636),
    ("imaps", 993),
    ("mysql", 3306),
    ("rdp", 3389),
    ("postgresql", 5432),
];

impl Scalar for Ports {
    const WHAT: &'static str = "a port or a range of ports";
    const EXAMPLE: &'static str = "443 or \"8000-8080\"";

    fn json() -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": 65535 },
                { "type": "string", "pattern": "^[0-9]{1,5}-[0-9]{1,5}$", "examples": ["8000-8080"] },
            ]
        })
    }

    fn integer(number: i64) -> Result<Self, Refusal> {
        match u16::try_from(number) {
            Ok(port @ 1..) => Ok(Self(port..=port)),
            _ => Err(Refusal::because(
                format!("is {number}, and ports go from 1 to 65535"),
                "write a port such as 443, or a range such as \"8000-8080\"",
            )),
        }
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
        if let Some(port) = port(text) {
            return Err(Refusal::because(format!("is {text:?}, a single port in quotes"), format!("write {port}")));
        }
        if let Some((_, port)) = SERVICES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)) {
            return Err(Refusal::because(format!("is {text:?}, a name and not a port"), format!("write {port}")));
        }
        if let Some((from, to)) = text.split_once('-').and_then(|(from, to)| Some((number(from)?, number(to)?)))
            && let Some(beyond) = [from, to].into_iter().find(|port| !(1..=MOST_PORT).contains(port))
        {
            return Err(Refusal::because(
                format!("is {text:?}, and ports go from 1 to {MOST_PORT}, without {beyond}"),
                format!("write \"{}-{}\"", from.clamp(1, MOST_PORT), to.clamp(1, MOST_PORT)),
            ));
        }
        match text.split_once('-').map(|(from, to)| (port(from), port(to))) {
            Some((Some(from), Some(to))) if from <= to => Ok(Self(from..=to)),
            Some((Some(from), Some(to))) => Err(Refusal::because(
                format!("is {text:?}, which ends before it begins"),
                format!("write \"{to}-{from}\""),
            )),
            _ => Err(Refusal::because(
                format!("is {text:?}, which is not a range of ports"),
                "write the first and the last port, such as \"8000-8080\"",
            )),
        }
    }
}

impl Scalar for IcmpType {
    const WHAT: &'static str = "the name of an ICMP type";
    const EXAMPLE: &'static str = "\"echo-request\"";

    fn json() -> Schema {
        json_schema!({ "enum": Self::ALL.map(Self::name) })
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        text.parse().map_err(|error: UnknownIcmpType| {
            let names = Self::ALL.map(Self::name);
            let help = nearest(text, names).map_or_else(
                || format!("write one of {}; replies and errors of an allowed flow need no allow", names.join(", ")),
                |name| format!("write {name:?}; possible are {}", names.join(", ")),
            );
            Refusal::because(format!("is {text:?}, which is {error}"), help)
        })
    }
}

/// Types of ICMP and ICMPv6 messages: `true` is a ping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Icmp(pub(crate) Vec<IcmpType>);

impl Read for Icmp {
    const WHAT: &'static str = "true or a list of ICMP types";
    const EXAMPLE: &'static str = "true (a ping) or [\"echo-request\"]";

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "boolean" }, <List<IcmpType> as Read>::schema(generator)] })
    }

    fn read(node: &Node<'_>, problems: &mut Problems) -> Option<Self> {
        match node.value {
            DeValue::Boolean(true) => Some(Self(vec![IcmpType::EchoRequest])),
            DeValue::Boolean(false) => Some(Self(Vec::new())),
            DeValue::String(_) | DeValue::Array(_) => {
                List::<IcmpType>::read(node, problems).map(|list| Self(list.0.into_iter().map(|at| at.value).collect()))
            }
            _ => {
                crate::manifest::read::wrong_kind::<Self>(node, problems);
                None
            }
        }
    }
}
