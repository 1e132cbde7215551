//! What would be written, what was written, and how it ended.

use bulkhead_types::{Cause, Notice, Object, Outcome};
use serde::{Deserialize, Serialize};

/// The phases of a reconcile, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The nftables ruleset.
    Policy,
    /// VLANs, bridges, addresses, routes.
    Links,
    /// Slices of guests.
    Limits,
    /// Pools, libvirt networks, domains.
    Guests,
}

impl Phase {
    /// Its name for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Links => "links",
            Self::Limits => "limits",
            Self::Guests => "guests",
        }
    }
}

/// A step of a plan, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The phase it belongs to.
    pub phase: Phase,
    /// The object it serves.
    pub object: Object,
    /// The write itself, in the words of ip, nft, systemd or libvirt.
    pub text: String,
}

impl Step {
    /// A room's step, for the wire.
    pub fn of<S: bulkhead_types::Step>(phase: Phase, step: &S) -> Self {
        Self { phase, object: step.object(), text: step.to_string() }
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Acknowledged.
    Done,
    /// Refused.
    Failed,
    /// Not tried.
    Skipped,
}

/// A step that was tried or skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The phase it belongs to.
    pub phase: Phase,
    /// The object it serves.
    pub object: Object,
    /// The write itself.
    pub text: String,
    /// How it ended.
    pub outcome: Ended,
    /// Why it failed or was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Done {
    /// A room's step and its end, for the wire.
    pub fn of<S: bulkhead_types::Step>(phase: Phase, step: &S, outcome: &Outcome) -> Self {
        let (ended, why) = match outcome {
            Outcome::Done => (Ended::Done, None),
            Outcome::Failed(why) => (Ended::Failed, Some(why.clone())),
            Outcome::Skipped(why) => (Ended::Skipped, Some(why.clone())),
        };
        Self { phase, object: step.object(), text: step.to_string(), outcome: ended, why }
    }
}

/// Reply of `Plan`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What an apply would write, in its order.
    pub steps: Vec<Step>,
    /// What no step covers.
    pub notices: Vec<Notice>,
}

impl Plan {
    /// Whether the host is as the manifest says: nothing is to be written, and nothing waits or is not known.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.steps.is_empty() && self.notices.iter().all(keeps_promises)
    }
}

/// Whether the manifest's promises hold in spite of this notice. The list is of what is known to be harmless, so that a
/// cause that is new here is not.
pub(crate) fn keeps_promises(notice: &Notice) -> bool {
    matches!(notice.cause, Cause::Foreign | Cause::Unsupported)
}

/// How an apply or a teardown ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The generation that the host now follows; `None` after a teardown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Steps that were acknowledged.
    pub done: u64,
    /// Steps that were refused.
    pub failed: u64,
    /// Steps that were not tried.
    pub skipped: u64,
    /// Whether a second plan is empty.
    pub verified: bool,
    /// What a second plan would still write.
    pub remaining: Vec<Step>,
    /// What no step covers.
    pub notices: Vec<Notice>,
    /// From the request to the verified host, in microseconds.
    pub duration_us: u64,
}

impl Summary {
    /// Whether the host is as the manifest says, and all of it was seen.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.verified && self.remaining.is_empty() && self.notices.iter().all(keeps_promises)
    }
}
