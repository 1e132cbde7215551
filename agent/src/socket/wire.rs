//! Parameters and replies of the interface, as serde sees them. The interface file says the same; a test compares.

use std::borrow::Cow;

use bulkhead_api::{INTERFACE, ManifestInvalid, Problem, Why};
use serde::{Deserialize, Serialize};
use varlink::Reply;

use super::Refusal;
use crate::manifest::Problems;

impl From<&Problems> for ManifestInvalid {
    /// The errors among what is wrong with a manifest; warnings stop nothing.
    fn from(problems: &Problems) -> Self {
        // The documented form of `Problems` as JSON has every field of `Problem`, and more.
        let list = serde_json::to_value(problems).unwrap_or_default();
        let errors = list.as_array().into_iter().flatten().filter(|entry| entry["level"] == "error");
        let errors = errors.filter_map(|entry| Problem::deserialize(entry).ok()).collect();
        Self { errors, drawn: problems.render(false) }
    }
}

impl Refusal {
    /// For `Busy`.
    pub fn busy(why: impl Into<String>) -> Self {
        Self::Busy(Why { why: why.into() })
    }
}

/// Parameters of `Apply` and `Teardown`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Force {
    pub(super) force: Option<bool>,
}

/// Parameters of the methods that have none.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Parameters of `GetInterfaceDescription`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Interface {
    pub(super) interface: String,
}

/// A reply with one named value.
pub(super) fn one(name: &str, value: &impl Serialize) -> Reply {
    match serde_json::to_value(value) {
        Ok(value) => {
            Reply::parameters(Some(serde_json::Value::Object([(name.to_owned(), value)].into_iter().collect())))
        }
        Err(error) => unserialisable(&error),
    }
}

/// A reply whose parameters are the value itself.
pub(super) fn all(value: &impl Serialize) -> Reply {
    match serde_json::to_value(value) {
        Ok(value) => Reply::parameters(Some(value)),
        Err(error) => unserialisable(&error),
    }
}

/// An error of our own interface.
pub(super) fn error(name: &str, parameters: &impl Serialize) -> Reply {
    match serde_json::to_value(parameters) {
        Ok(value) => Reply::error(Cow::Owned(format!("{INTERFACE}.{name}")), Some(value)),
        Err(error) => unserialisable(&error),
    }
}

/// An error of `org.varlink.service`, with its one parameter.
pub(super) fn standard(name: &str, parameter: &str, value: &str) -> Reply {
    let parameters = serde_json::json!({ parameter: value });
    Reply::error(Cow::Owned(format!("org.varlink.service.{name}")), Some(parameters))
}

/// None of our types has a map with keys that are not text, which is all that could fail; the peer gets an answer even so.
fn unserialisable(error: &serde_json::Error) -> Reply {
    Reply::error(
        format!("{INTERFACE}.Busy"),
        Some(serde_json::json!({ "why": format!("write the reply as JSON: {error}") })),
    )
}

pub(super) fn refusal(refusal: &Refusal) -> Reply {
    match refusal {
        Refusal::ManifestInvalid(parameters) => error("ManifestInvalid", parameters),
        Refusal::Failed(parameters) => error("ApplyFailed", parameters),
        Refusal::Busy(parameters) => error("Busy", parameters),
    }
}
