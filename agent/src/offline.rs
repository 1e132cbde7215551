//! What an apply would write on a host that is not asked: an empty one, or one that a text describes. It needs no daemon and no
//! privilege.

pub(crate) mod guests;
pub(crate) mod limits;
pub(crate) mod links;
pub(crate) mod policy;
mod text;

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bulkhead_api::{Plan, Step};

use crate::manifest::{Desired, HostId};
use crate::rooms::{Room, State, States, View, Walk, Wanted, walk};
use text::Text;

/// What a host has, room by room.
#[derive(Debug)]
pub struct Observed(States);

/// Why there is no such host.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// A host that is not asked, as each room is told of it.
#[derive(Debug)]
pub(crate) struct Host<'a> {
    /// The manifest that was applied there last.
    pub(crate) base: &'a Desired,
    /// The one that is planned: what it takes for granted is there.
    pub(crate) planned: &'a Desired,
    /// Whether its kernel can own tables against others.
    ownable: bool,
    /// What became of it since. Each room takes what is its own.
    text: Text,
}

impl Observed {
    /// A host that has nothing but what every manifest takes for granted and no step of ours makes: the trunks, the directories of
    /// the pools and what they are encrypted by, a libvirt with KVM, and a kernel that can do everything.
    ///
    /// # Errors
    /// As of [`Self::applied`].
    pub fn empty(planned: &Desired) -> Result<Self, Error> {
        Self::applied(&Desired::default(), planned, true)
    }

    /// The host once `base` was applied there, with what `planned` takes for granted; `ownable` is whether its kernel can own
    /// tables against others.
    ///
    /// # Errors
    /// A rule of ours that nft has no form for: a bug.
    pub fn applied(base: &Desired, planned: &Desired, ownable: bool) -> Result<Self, Error> {
        Self::of(Host { base, planned, ownable, text: Text::default() }).map_err(Error)
    }

    /// The host that a text describes, for a plan of that manifest. docs/plan.md says what its keys mean.
    ///
    /// # Errors
    /// The file, or the manifest that it names, cannot be read or is wrong; it changes what is not there.
    pub fn read(path: &Path, planned: &Desired, host: &HostId) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string());
        let directory = path.parent().unwrap_or(Path::new(""));
        let observed = text.and_then(|text| text::host(&text, directory, planned, host));
        observed.map_err(|why| Error(format!("{}: {why}", path.display())))
    }

    fn of(host: Host<'_>) -> Result<Self, String> {
        let mut making = Making { host, states: States::default() };
        walk(&mut making)?;
        Ok(Self(making.states))
    }
}

/// Has each room say what there is of it.
struct Making<'a> {
    host: Host<'a>,
    states: States,
}

impl Walk for Making<'_> {
    type Error = String;

    fn room<R: Room>(&mut self) -> Result<(), String> {
        let observed = Arc::new(R::offline(&mut self.host)?);
        *R::state_mut(&mut self.states) = State::Verified(View { observed, notices: Arc::new([]) });
        Ok(())
    }
}

/// Plans a manifest for a host, each room as if those before it had made what they plan.
#[must_use]
pub fn plan(desired: &Desired, observed: Observed) -> Plan {
    let wanted = Wanted { manifest: desired, force: false };
    let mut planner = Planner { wanted, states: observed.0, plan: Plan::default() };
    let Ok(()) = walk(&mut planner);
    planner.plan
}

struct Planner<'a> {
    wanted: Wanted<'a>,
    states: States,
    plan: Plan,
}

impl Walk for Planner<'_> {
    type Error = Infallible;

    fn room<R: Room>(&mut self) -> Result<(), Infallible> {
        // Every room was seen.
        let Some(observed) = R::state(&self.states).last_known().map(Arc::clone) else { return Ok(()) };
        let plan = R::plan(&R::desired(self.wanted, &self.states), &observed);
        self.plan.steps.extend(plan.steps.iter().map(|step| Step::of(R::PHASE, step)));
        self.plan.notices.extend(plan.notices.iter().cloned());
        let view = View { observed, notices: plan.notices.into() };
        *R::state_mut(&mut self.states) =
            if plan.steps.is_empty() { State::Verified(view) } else { State::Planned(view, plan.steps) };
        Ok(())
    }
}
