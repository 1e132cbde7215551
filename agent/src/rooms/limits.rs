//! The limits among the rooms.

use std::collections::BTreeMap;
use std::sync::Arc;

use bulkhead_api::{self as api, Phase, Status};
use bulkhead_sandbox::model::{self, Bounds, Control};
use bulkhead_sandbox::{self as sandbox, Systemd, unit};
use bulkhead_types::{Cancelled, GuestName, Known, Object, Plan, Progress, Report, Step as _, chain};

use super::{Name, OpenError, Room, State, StateOf, States, Unread, Wanted};
use crate::guest::{self, Hold, Lack, Libvirt};
use crate::manifest::Desired;
use crate::offline::{self, Host};
use crate::watch::Reason;

/// Slices of guests.
#[derive(Debug)]
pub(crate) struct Limits(Systemd);

impl Room for Limits {
    const NAME: Name = Name::Limits;
    const PHASE: Phase = Phase::Limits;
    const NEEDS: &'static [Name] = &[Name::Policy];
    const WALLED: bool = false;
    const SOURCE: Reason = Reason::Slices;
    type Desired = model::Desired;
    type Observed = model::Observed;
    type Step = sandbox::plan::Step;

    fn open(_: &Arc<Libvirt>) -> Result<Self, OpenError> {
        Ok(Self(Systemd::new()))
    }

    fn desired(wanted: Wanted<'_>, _: &States) -> Self::Desired {
        wanted.manifest.sandbox.clone()
    }

    fn state(states: &States) -> &StateOf<Self> {
        &states.limits
    }

    fn state_mut(states: &mut States) -> &mut StateOf<Self> {
        &mut states.limits
    }

    async fn observe(&mut self, _: &Self::Desired) -> Result<Self::Observed, Unread> {
        self.0.observe().await.map_err(|error| Unread::Refused(chain(&error)))
    }

    fn plan(desired: &Self::Desired, observed: &Self::Observed) -> Plan<Self::Step> {
        sandbox::plan::plan(desired, observed)
    }

    async fn apply(
        &mut self,
        plan: &Plan<Self::Step>,
        cancelled: Cancelled<'_>,
        progress: Progress<'_, Self::Step>,
    ) -> Report<Self::Step> {
        self.0.apply(plan, cancelled, progress).await
    }

    fn offline(host: &mut Host<'_>) -> Result<Self::Observed, String> {
        offline::limits::observed(host)
    }

    fn holds(manifest: &Desired, states: &States) -> BTreeMap<GuestName, Hold> {
        let hold = |guest: &guest::model::Guest| {
            let lack = lack(states, &guest.name)?;
            Some((guest.name.clone(), Hold { what: Some("its limits"), lack }))
        };
        manifest.guest.guests.iter().filter_map(hold).collect()
    }

    fn objects(manifest: &Desired) -> Vec<Object> {
        manifest.sandbox.guests.keys().map(|guest| Object::Guest(guest.clone())).collect()
    }

    /// The guests' own page shows each guest's limits beside its state.
    fn page(_: &Desired, _: &States, _: &mut Status) {}
}

/// What a guest lacks of its limits; `None` where they hold.
fn lack(states: &States, guest: &GuestName) -> Option<Lack> {
    let object = Object::Guest(guest.clone());
    match &states.limits {
        State::Unseen => Some(Lack::Unseen(None)),
        State::Unread(why, _) => Some(Lack::Unread(why.to_string())),
        State::Planned(..) | State::Verified(_) => None,
        State::Incomplete(_, left) => {
            let mut left = left.iter().filter(|left| left.step.object() == object);
            let left = left.clone().find(|left| left.refused.is_some()).or_else(|| left.next())?;
            Some(Lack::Left { step: left.step.to_string(), refused: left.refused.clone() })
        }
    }
}

/// The guests in whose slices processes run. One slice of which that is not known is enough not to know it. The kernel knows
/// better than a libvirt that does not answer.
pub(crate) fn populated(observed: &model::Observed) -> Known<String> {
    let mut names = Vec::new();
    for (name, slice) in &observed.slices {
        match slice.populated() {
            Known::Known(true) => names.push(name.as_str()),
            Known::Known(false) => {}
            Known::Unknown(why) => return Known::Unknown(format!("{name}: {why}")),
        }
    }
    Known::Known(names.join(", "))
}

/// What bounds a guest by each control, whose limit it is, and whether it is less than the manifest says.
pub(super) fn limits(manifest: &Desired, states: &States, name: &GuestName, runs: bool) -> Vec<api::Limit> {
    let declared = manifest.sandbox.guests.get(name).copied().unwrap_or_default().rounded();
    let bounds = bounds(states, name, runs);
    let limit = |control: Control| {
        let declared = declared[control];
        let mut limit = api::Limit {
            control: control.name().to_owned(),
            declared: declared.at(),
            at: None,
            tighter: false,
            group: None,
            unknown: None,
            text: "unknown".to_owned(),
        };
        match bounds.as_ref().map(|bounds| &bounds[control]) {
            Known::Known(Known::Known(bound)) => {
                limit.at = bound.limit.at();
                limit.tighter = bound.limit < declared && declared.at().is_some();
                limit.group = limit.at.map(|_| bound.group.clone());
                limit.text = limit.at.map_or_else(|| "no limit".to_owned(), |number| control.text(number));
            }
            Known::Known(Known::Unknown(why)) => limit.unknown = Some(why.clone()),
            Known::Unknown(why) => limit.unknown = Some(why),
        }
        limit
    };
    Control::ALL.map(limit).into()
}

/// What the last look at the guest's slice found. Of a guest that runs elsewhere the slice says nothing.
fn bounds<'a>(states: &'a States, name: &GuestName, runs: bool) -> Known<&'a Bounds> {
    let slice = unit::slice(name);
    let observed = match &states.limits {
        State::Unseen => return Known::Unknown(format!("{slice} was not looked at yet")),
        State::Unread(why, _) => return Known::Unknown(why.to_string()),
        State::Planned(view, _) | State::Verified(view) | State::Incomplete(view, _) => &view.observed,
    };
    match observed.slices.get(name).map(|slice| &slice.cgroup) {
        Some(Known::Unknown(why)) => Known::Unknown(why.clone()),
        None | Some(Known::Known(None)) => Known::Unknown(format!("{slice} is not there")),
        Some(Known::Known(Some(group))) if runs && !group.populated => {
            Known::Unknown(format!("its QEMU was not in {slice} at the last look"))
        }
        Some(Known::Known(Some(group))) => Known::Known(&group.bounds),
    }
}

#[cfg(test)]
mod tests {
    use bulkhead_sandbox::model::{Bound, Cgroup, Observed, Slice};
    use bulkhead_types::Limit;

    use super::*;
    use crate::rooms::View;
    use crate::rooms::links::tests::{WITH_GUEST, desired};

    fn web() -> GuestName {
        "web".parse().unwrap()
    }

    /// A host on which this is web's slice, of which the manifest wants 64 tasks.
    fn pids(cgroup: Known<Option<Cgroup>>, runs: bool) -> api::Limit {
        let mut manifest = Desired::default();
        manifest.sandbox.guests.insert(web(), model::Limits::default().with(Control::Pids, Limit::At(64)));
        let slice = Slice { cgroup, ..Slice::default() };
        let observed = Observed { slices: BTreeMap::from([(web(), slice)]), ..Observed::default() };
        let view = View { observed: Arc::new(observed), notices: Vec::new().into() };
        let states = States { limits: State::Verified(view), ..States::default() };
        limits(&manifest, &states, &web(), runs).into_iter().find(|limit| limit.control == "pids").unwrap()
    }

    fn group(pids: Known<Bound>, populated: bool) -> Known<Option<Cgroup>> {
        let unlimited = |_| Known::Known(Bound { limit: Limit::Max, group: "/".to_owned() });
        let bounds = Bounds::from_fn(unlimited).with(Control::Pids, pids);
        Known::Known(Some(Cgroup { path: "/web".to_owned(), limits: model::Limits::default(), bounds, populated }))
    }

    #[test]
    fn a_limit_that_is_tighter_than_the_manifest_s_is_told_with_its_group() {
        let bound = |at, group: &str| Known::Known(Bound { limit: Limit::At(at), group: group.to_owned() });
        let own = pids(group(bound(64, "/web"), true), true);
        assert_eq!((own.declared, own.at, own.tighter, own.text.as_str()), (Some(64), Some(64), false, "64 tasks"));
        let less = pids(group(bound(32, "/web/libvirt"), true), true);
        assert_eq!((less.at, less.tighter, less.group.as_deref()), (Some(32), true, Some("/web/libvirt")));
    }

    #[test]
    fn what_was_not_read_is_unknown_and_never_no_limit() {
        let bound = || Known::Known(Bound { limit: Limit::At(64), group: "/web".to_owned() });
        for (limit, why) in [
            (pids(Known::Unknown("denied".to_owned()), true), "denied"),
            (pids(Known::Known(None), false), "machine-bulkhead-web.slice is not there"),
            (pids(group(Known::Unknown("pids.max is no limit".to_owned()), true), true), "pids.max is no limit"),
            // A QEMU that was started before it was ours runs where nobody looks.
            (pids(group(bound(), false), true), "its QEMU was not in machine-bulkhead-web.slice at the last look"),
        ] {
            assert_eq!((limit.at, limit.unknown.as_deref(), limit.text.as_str()), (None, Some(why), "unknown"));
        }
        assert_eq!(pids(group(bound(), false), false).at, Some(64), "the slice of a guest that does not run");
    }

    #[test]
    fn limits_that_are_not_known_hold_a_guest() {
        let unread = State::Unread(Unread::Refused("no bus".to_owned()), None);
        let states = States { limits: unread, ..States::default() };
        let holds = Limits::holds(&desired(WITH_GUEST), &states);
        assert_eq!(holds[&web()].to_string(), "its limits: is not known: no bus");
    }
}
