//! What an apply would write on a host that is not asked: an empty one, or one that a text describes. It needs no daemon and no
//! privilege.

mod guests;
mod limits;
mod links;
mod policy;
mod text;

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulkhead_api::{Plan, Step};

use crate::manifest::{Desired, HostId};
use crate::rooms::{Room, State, States, View, Walk, Wanted, walk};
use crate::{guest, resolver};

/// What a host has, room by room.
#[derive(Debug)]
pub struct Observed {
    policy: bulkhead_policy::model::Observed,
    links: bulkhead_netlink::model::Observed,
    resolver: resolver::Observed,
    limits: bulkhead_sandbox::model::Observed,
    guests: guest::model::Observed,
}

/// Why a text describes no host.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct Error {
    path: PathBuf,
    why: String,
}

impl Observed {
    /// A host that has nothing but what every manifest takes for granted and no step of ours makes: the trunks, the directories of
    /// the pools and what they are encrypted by, a libvirt with KVM, and a kernel that can do everything.
    ///
    /// # Errors
    /// As of [`Self::applied`].
    pub fn empty(planned: &Desired) -> Result<Self, serde_json::Error> {
        Self::applied(&Desired::default(), planned, true)
    }

    /// The host once `base` was applied there, with what `planned` takes for granted; `holdable` is whether its kernel can hold
    /// tables against others.
    ///
    /// # Errors
    /// A rule of ours that nft has no form for: a bug.
    pub fn applied(base: &Desired, planned: &Desired, holdable: bool) -> Result<Self, serde_json::Error> {
        let links = links::applied(base, planned);
        Ok(Self {
            policy: bulkhead_policy::model::Observed::applied(&base.policy, holdable)?,
            resolver: resolver::Observed::applied(&resolver::Desired::of(base, Some(&links))),
            links,
            limits: limits::applied(base),
            guests: guests::applied(&base.guest, planned),
        })
    }

    /// The host that a text describes, for a plan of that manifest. docs/plan.md says what its keys mean.
    ///
    /// # Errors
    /// The file, or the manifest that it names, cannot be read or is wrong; it changes what is not there.
    pub fn read(path: &Path, planned: &Desired, host: &HostId) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string());
        let directory = path.parent().unwrap_or(Path::new(""));
        let observed = text.and_then(|text| text::host(&text, directory, planned, host));
        observed.map_err(|why| Error { path: path.to_owned(), why })
    }
}

/// Plans a manifest for a host, each room as if those before it had made what they plan.
#[must_use]
pub fn plan(desired: &Desired, observed: Observed) -> Plan {
    let Observed { policy, links, resolver, limits, guests } = observed;
    let states = States {
        policy: seen(policy),
        links: seen(links),
        resolver: seen(resolver),
        limits: seen(limits),
        guests: seen(guests),
        links_superseded: false,
    };
    let mut planner = Planner { wanted: Wanted { manifest: desired, force: false }, states, plan: Plan::default() };
    let Ok(()) = walk(&mut planner);
    planner.plan
}

fn seen<O, S>(observed: O) -> State<O, S> {
    State::Verified(View { observed: Arc::new(observed), notices: Arc::new([]) })
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
