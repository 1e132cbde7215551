//! Replies as they go over the wire. The interface file says the same; a test compares.

use std::collections::BTreeMap;
use std::sync::Arc;

use bulkhead_api::{INTERFACE, ManifestInvalid, Problem, SERVICE, Why};
use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::manifest::Problems;

/// One reply with the NUL that ends it. It is shared: what many are told is written once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply(Arc<[u8]>);

#[derive(Serialize)]
struct Envelope<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    continues: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    parameters: &'a T,
}

impl Reply {
    /// With one named value.
    pub(super) fn one(name: &str, value: &impl Serialize) -> Self {
        Self::all(&BTreeMap::from([(name, value)]))
    }

    /// With one named value, and more replies to follow.
    pub(super) fn one_of_many(name: &str, value: &impl Serialize) -> Self {
        Self::write(&Envelope { continues: Some(true), error: None, parameters: &BTreeMap::from([(name, value)]) })
    }

    /// The parameters are the value itself.
    pub(super) fn all(value: &impl Serialize) -> Self {
        Self::write(&Envelope { continues: None, error: None, parameters: value })
    }

    /// An error of our own interface.
    pub(super) fn error(name: &str, parameters: &impl Serialize) -> Self {
        Self::write(&Envelope { continues: None, error: Some(format!("{INTERFACE}.{name}")), parameters })
    }

    /// An error of `org.varlink.service`, with its one parameter.
    pub(super) fn standard(name: &str, parameter: &str, value: &str) -> Self {
        let parameters = BTreeMap::from([(parameter, value)]);
        Self::write(&Envelope { continues: None, error: Some(format!("{SERVICE}.{name}")), parameters: &parameters })
    }

    /// Not now.
    pub(super) fn busy(why: &str) -> Self {
        Self::error("Busy", &Why { why: why.to_owned() })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn write(envelope: &Envelope<'_, impl Serialize>) -> Self {
        let mut bytes = serde_json::to_vec(envelope).unwrap_or_else(|error| unwritable(&error));
        bytes.push(0);
        Self(bytes.into())
    }
}

/// None of our types has a map with keys that are not text, which is all that could fail; the peer gets an answer even so.
fn unwritable(error: &serde_json::Error) -> Vec<u8> {
    let parameters = serde_json::json!({ "why": format!("write the reply as JSON: {error}") });
    serde_json::json!({ "error": format!("{INTERFACE}.Busy"), "parameters": parameters }).to_string().into_bytes()
}

impl From<&Refusal> for Reply {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::ManifestInvalid(parameters) => Self::error("ManifestInvalid", parameters),
            Refusal::Failed(parameters) => Self::error("ApplyFailed", parameters),
            Refusal::Busy(parameters) => Self::error("Busy", parameters),
        }
    }
}

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
