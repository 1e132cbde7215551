//! The values of the manifest: each refuses at its door what the kernel, libvirt or systemd would refuse later, and says
//! what to write instead.

mod address;
mod list;
mod names;
mod number;
mod size;
mod traffic;
mod words;

use schemars::{Schema, SchemaGenerator};
use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

pub(crate) use address::{Net, special};
pub(crate) use list::{Entry, List, Many, Named};
pub(crate) use names::{LibvirtName, Name, PoolPath, Target, Volume};
pub(crate) use number::{Cpu, Metric, Mtu, Pids, Vcpus};
pub(crate) use size::{MIB, Size, show};
pub(crate) use traffic::{Icmp, Ports};
pub(crate) use words::Mode;

use super::problem::Problems;
use super::read::{Node, Read, wrong_kind, wrong_kind_for};

/// Why a value is refused.
pub(crate) enum Refusal {
    /// It is of another kind than wanted: a text where a number belongs.
    Kind,
    /// It is of the right kind; what follows the key in the title (`has no unit`), and what to write instead.
    Because(String, String),
}

impl Refusal {
    pub(crate) fn because(why: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Because(why.into(), help.into())
    }
}

/// A value that is one TOML scalar. Each kind that it can be written as has a function; the others are refused.
pub(crate) trait Scalar: Sized {
    /// What it is, after "is not".
    const WHAT: &'static str;
    /// How it is written in TOML.
    const EXAMPLE: &'static str;

    /// The same, as a JSON Schema.
    fn json() -> Schema;
    fn text(_: &str) -> Result<Self, Refusal> {
        Err(Refusal::Kind)
    }
    fn integer(_: i64) -> Result<Self, Refusal> {
        Err(Refusal::Kind)
    }
    fn float(_: f64) -> Result<Self, Refusal> {
        Err(Refusal::Kind)
    }
    fn boolean(_: bool) -> Result<Self, Refusal> {
        Err(Refusal::Kind)
    }
}

impl<T: Scalar> Read for T {
    const WHAT: &'static str = <T as Scalar>::WHAT;
    const EXAMPLE: &'static str = <T as Scalar>::EXAMPLE;

    fn schema(_: &mut SchemaGenerator) -> Schema {
        <T as Scalar>::json()
    }

    fn read(node: &Node<'_>, problems: &mut Problems) -> Option<Self> {
        match scalar(node.value) {
            Ok(value) => return Some(value),
            Err(Refusal::Kind) => match other_form::<T>(node.value) {
                Some(meant) => wrong_kind_for::<T>(node, &meant, problems),
                None => wrong_kind::<T>(node, problems),
            },
            Err(Refusal::Because(why, help)) => {
                problems.error(&node.location, format!("`{}` {why}", node.location.key)).help(help);
            }
        }
        None
    }
}

fn scalar<T: Scalar>(value: &DeValue<'_>) -> Result<T, Refusal> {
    match value {
        DeValue::String(text) => T::text(text),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => T::integer(number),
            Err(_) => {
                Err(Refusal::because("is a number beyond those of TOML", format!("write {}", <T as Scalar>::EXAMPLE)))
            }
        },
        DeValue::Float(number) => number.as_str().parse().map_err(|_| Refusal::Kind).and_then(T::float),
        DeValue::Boolean(value) => T::boolean(*value),
        _ => Err(Refusal::Kind),
    }
}

/// The same value in the form in which it is right: without its quotes, or out of its list.
fn other_form<T: Scalar>(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) if !text.contains(['\n', '#']) => {
            let bare = format!("x = {text}");
            let table = DeTable::parse(&bare).ok()?;
            scalar::<T>(table.get_ref().get("x")?.get_ref()).is_ok().then(|| text.trim().to_owned())
        }
        DeValue::Array(list) => match list.first().map(Spanned::get_ref) {
            Some(DeValue::String(text)) if list.len() == 1 && T::text(text).is_ok() => Some(format!("{text:?}")),
            _ => None,
        },
        _ => None,
    }
}
