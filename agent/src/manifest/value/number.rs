//! Numbers with a range.

use bulkhead_types::VlanId;
use schemars::{Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::{Refusal, Scalar};
use crate::manifest::location::Located;
use crate::manifest::problem::Problems;
use crate::manifest::read::{Node, Read, table};

/// Declares whole numbers: what each is called, how it is written, and from where to where it goes.
macro_rules! integers {
    ($($(#[doc = $doc:literal])+ $name:ident, $what:literal, $example:literal, $from:literal ..= $to:expr, $why:literal;)+) => { $(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) struct $name(pub(crate) u32);

        impl Scalar for $name {
            const WHAT: &'static str = $what;
            const EXAMPLE: &'static str = $example;

            fn json() -> Schema {
                json_schema!({ "type": "integer", "minimum": $from, "maximum": $to })
            }

            fn integer(number: i64) -> Result<Self, Refusal> {
                match u32::try_from(number) {
                    Ok(number @ $from..=$to) => Ok(Self(number)),
                    _ => {
                        let (bound, nearest) = if number < $from { ("least", $from) } else { ("most", $to) };
                        Err(Refusal::because(
                            format!("is {number}, which is not within {} to {}", $from, $to),
                            format!("{}: write at {bound} {nearest}", $why),
                        ))
                    }
                }
            }
        }
    )+ };
}

/// Beyond 255 CPUs a guest needs an interrupt-remapping IOMMU, which the domains here do not have.
const MOST_CPUS: u32 = 255;

integers! {
    /// Bytes of payload in a frame (1280 is the least that IPv6 lives with; 65535 the most a bridge takes).
    Mtu, "a number of bytes from 1280 to 65535", "1500", 1280..=65535, "the least is what IPv6 needs, the most what a bridge takes";
    /// Preference of a route: the lower wins. 0 would beat every other tool's routes.
    Metric, "a number from 1 to 4294967295", "4242", 1..=u32::MAX, "the lowest metric wins among default routes";
    /// Processes and threads in a slice.
    Pids, "a number of processes and threads", "256", 1..=4_194_304, "the most is the kernel's own limit of process ids";
    /// CPUs of a guest.
    Cpus, "a number of CPUs from 1 to 255", "1", 1..=MOST_CPUS, "a guest has at least one CPU and at most 255";
}

impl Scalar for VlanId {
    const WHAT: &'static str = "a number from 1 to 4094";
    const EXAMPLE: &'static str = "20";

    fn json() -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": 4094 })
    }

    fn integer(number: i64) -> Result<Self, Refusal> {
        VlanId::try_from(number)
            .map_err(|error| Refusal::because(error.to_string(), "write a number from 1 to 4094, such as 20"))
    }
}

impl Scalar for bool {
    const WHAT: &'static str = "true or false";
    const EXAMPLE: &'static str = "true or false, without quotes";

    fn json() -> Schema {
        json_schema!({ "type": "boolean" })
    }

    fn boolean(value: bool) -> Result<Self, Refusal> {
        Ok(value)
    }
}

/// CPU time as microseconds a second, from a hundredth of a CPU (the least quota the kernel takes, 1 ms in 100 ms) to 4096.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cpu(pub(crate) u64);

impl Scalar for Cpu {
    const WHAT: &'static str = "a number of CPUs";
    const EXAMPLE: &'static str = "1.0";

    fn json() -> Schema {
        json_schema!({ "type": "number", "minimum": 0.01, "maximum": 4096, "examples": [1.0, 0.5] })
    }

    fn text(text: &str) -> Result<Self, Refusal> {
        let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |percent| (percent, 100.0));
        match number.trim().parse::<f64>().map(|number| number / scale) {
            Ok(number) => Self::float(number).and_then(|_| {
                let why = format!("is {text:?}, a text, and not a number of CPUs");
                Err(Refusal::because(why, format!("write {number:?}")))
            }),
            Err(_) => Err(Refusal::Kind),
        }
    }

    fn integer(number: i64) -> Result<Self, Refusal> {
        // Every i64 up to 4096 is exact as f64; those beyond are refused there.
        Self::float(number as f64)
    }

    fn float(number: f64) -> Result<Self, Refusal> {
        let hundredths = (number * 100.0).round();
        if (0.01..=4096.0).contains(&number) && (number * 100.0 - hundredths).abs() > 1e-6 {
            // The kernel counts quota in microseconds of a period of 100 ms: finer values would not be read back as written.
            Err(Refusal::because(
                format!("is {number}, and CPU time goes in hundredths of a CPU"),
                format!("write {:.2}", hundredths.max(1.0) / 100.0),
            ))
        } else if (0.01..=4096.0).contains(&number) {
            Ok(Self(hundredths as u64 * 10_000))
        } else {
            Err(Refusal::because(
                format!("is {number}, and CPU time goes from 0.01 to 4096 CPUs"),
                "write 1.0 for the time of one CPU, 0.5 for half of it",
            ))
        }
    }
}

table! {
    /// CPUs that a guest has at start and can be given while it runs.
    "[guest.NAME.vcpus]" VcpusTable {
        /// CPUs at start.
        required "now" = now: Cpus,
        /// CPUs that can be added while the guest runs; at least `now`.
        required "max" = max: Cpus,
    }
}

/// CPUs of a guest: a number, or a table with `now` and `max`.
#[derive(Debug, Clone)]
pub(crate) struct Vcpus {
    pub(crate) now: Located<Cpus>,
    pub(crate) max: Located<Cpus>,
}

impl Read for Vcpus {
    const WHAT: &'static str = "a number of CPUs or { now = ..., max = ... }";
    const EXAMPLE: &'static str = "2 or { now = 1, max = 2 }";

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [Cpus::json(), generator.subschema_for::<VcpusTable>()] })
    }

    fn read(node: &Node<'_>, problems: &mut Problems) -> Option<Self> {
        match node.value {
            DeValue::Table(_) => {
                let table = VcpusTable::read(node, problems)?;
                Some(Self { now: table.now?, max: table.max? })
            }
            DeValue::Integer(_) => {
                let both: Located<Cpus> = Read::read(node, problems)?;
                Some(Self { now: both.clone(), max: both })
            }
            _ => {
                crate::manifest::read::wrong_kind::<Self>(node, problems);
                None
            }
        }
    }
}
