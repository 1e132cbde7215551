//! From what every room saw to what people and programs are told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_api::{Allow, Counter, Guest, GuestState, Limit, Nic, Owner, Segment, State, Trunk};
use bulkhead_netlink::{LinkState, SegmentState, state};
use bulkhead_policy as policy;
use bulkhead_sandbox::model::{Bounds, Control};
use bulkhead_sandbox::unit;
use bulkhead_types::{Cause, GuestName, IfName, Known, Notice, Object};

use crate::guest::model as guest;
use crate::manifest::Desired;
use crate::reconcile::{Host, unfit_bridge};
use crate::room::unread;
use crate::status;

/// The parts of a [`bulkhead_api::Status`] that one turn tells.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) owner: Option<Owner>,
    pub(crate) trunks: Vec<Trunk>,
    pub(crate) segments: Vec<Segment>,
    pub(crate) guests: Vec<Guest>,
    pub(crate) notices: Vec<Notice>,
}

/// Says how the host stands.
pub(crate) fn seen(desired: &Desired, host: &Host) -> Seen {
    let owner = |policy: &policy::model::Observed| if policy.held { Owner::Held } else { Owner::RepairedByEvent };
    let verified = host.policy.observed.as_ref().filter(|_| host.policy.verified());
    Seen {
        owner: verified.map(owner),
        trunks: desired.trunks.iter().map(|name| trunk(host, name)).collect(),
        segments: segments(desired, host),
        guests: desired.guest.guests.iter().map(|guest| self::guest(desired, host, guest)).collect(),
        notices: notices(desired, host),
    }
}

/// What each allow let through, and the ruleset's other counters.
pub(crate) fn counters(desired: &Desired, observed: &policy::model::Observed) -> (Vec<Allow>, Vec<Counter>) {
    let named: BTreeSet<String> = desired.policy.allows.iter().map(policy::counter).collect();
    let counted: BTreeMap<&str, &policy::model::Counter> =
        observed.counters.iter().map(|counter| (counter.name.as_str(), counter)).collect();
    let allow = |allow: &policy::model::Allow| {
        let counter = counted.get(policy::counter(allow).as_str());
        let (packets, bytes) = counter.map_or((0, 0), |counter| (counter.packets, counter.bytes));
        status::allow(allow, packets, bytes)
    };
    let counter = |counter: &policy::model::Counter| Counter {
        name: counter.name.clone(),
        dropped: counter.dropped,
        packets: counter.packets,
        bytes: counter.bytes,
    };
    let others = observed.counters.iter().filter(|counter| !named.contains(&counter.name));
    (desired.policy.allows.iter().map(allow).collect(), others.map(counter).collect())
}

fn trunk(host: &Host, name: &IfName) -> Trunk {
    let link = host.links.observed.as_ref().map(|observed| observed.link(name));
    let failed = host.links.failed.get(&Object::Trunk(name.clone()));
    let (state, why) = match (link, failed) {
        (_, Some(why)) => (State::Failed, Some(why.clone())),
        (None, _) => (State::Pending, Some("is not known yet".to_owned())),
        (Some(None), _) => (State::Pending, Some(format!("{name} does not exist"))),
        (Some(Some(link)), _) if !link.up => (State::Pending, Some(format!("{name} is not up"))),
        (Some(Some(_)), _) => (State::Ready, None),
    };
    Trunk { name: name.clone(), state, why }
}

fn segments(desired: &Desired, host: &Host) -> Vec<Segment> {
    let states: BTreeMap<IfName, SegmentState> = host
        .links
        .observed
        .iter()
        .flat_map(|observed| state(&desired.netlink, observed))
        .map(|state| (state.bridge.0.clone(), state))
        .collect();
    let segment = |segment: &bulkhead_netlink::model::Segment| {
        let why = unfit_bridge(desired, host, &segment.bridge);
        let found = states.get(&segment.bridge);
        // Only what the manifest can be blamed for, or a foreign object; the rest comes by itself.
        let object = Object::Segment(segment.name.clone());
        let clash = |notice: &Notice| notice.object == object && notice.cause == Cause::Clash;
        let bad = host.links.failed.contains_key(&object) || host.links.notices.iter().any(clash);
        let visible =
            |addresses: &[ipnet::IpNet]| segment.host.as_ref().map(|_| addresses.to_vec()).unwrap_or_default();
        Segment {
            name: segment.name.clone(),
            trunk: segment.trunk.clone(),
            vlan: segment.vlan,
            vlan_link: segment.vlan_link.clone(),
            bridge: segment.bridge.clone(),
            addresses: found.map(|found| visible(&found.addresses)).unwrap_or_default(),
            gateways: found.map(|found| found.gateways.clone()).unwrap_or_default(),
            state: match (&why, bad) {
                (None, _) if found.is_some_and(stands) => State::Ready,
                (_, true) => State::Failed,
                _ => State::Pending,
            },
            why,
        }
    };
    desired.netlink.segments.iter().map(segment).collect()
}

fn stands(state: &SegmentState) -> bool {
    [&state.trunk, &state.vlan, &state.bridge].into_iter().all(|(_, state)| *state == LinkState::Up)
}

fn guest(desired: &Desired, host: &Host, wanted: &guest::Guest) -> Guest {
    let object = Object::Guest(wanted.name.clone());
    let libvirt = host.guests.observed.as_ref().filter(|observed| observed.down.is_none());
    let found = libvirt.and_then(|observed| observed.domains.get(wanted.name.as_str())).filter(|found| found.owned);
    let said = |causes: &[Cause]| {
        let mut notices = host.guests.notices.iter().filter(|notice| notice.object == object);
        notices.find(|notice| causes.contains(&notice.cause)).map(|notice| notice.text.clone())
    };
    let failed = host.guests.failed.get(&object).cloned();
    let waits = failed.or_else(|| said(&[Cause::Held, Cause::Clash, Cause::Pending]));
    let state = match (found.map(|found| &found.state), &waits) {
        (Some(guest::State::Running), _) => GuestState::Running,
        (Some(guest::State::Paused(_)), _) => GuestState::Paused,
        (Some(guest::State::Other(_)), _) => GuestState::Stopping,
        (_, Some(_)) if libvirt.is_some() && wanted.start => GuestState::Held,
        (Some(guest::State::ShutOff), _) => GuestState::Stopped,
        (None, _) => GuestState::Unknown,
    };
    let running = found.and_then(|found| found.running.as_ref());
    Guest {
        name: wanted.name.clone(),
        state,
        why: if state == GuestState::Running { None } else { waits },
        vcpus: wanted.vcpus_now,
        memory: wanted.memory,
        limits: limits(desired, host, &wanted.name, matches!(state, GuestState::Running | GuestState::Paused)),
        accelerated: running.map(|running| running.kind == "kvm"),
        nics: nics(desired, &wanted.name),
    }
}

/// What bounds a guest by each control, whose limit it is, and whether it is less than the manifest says.
fn limits(desired: &Desired, host: &Host, name: &GuestName, runs: bool) -> Vec<Limit> {
    let declared = desired.sandbox.guests.get(name).copied().unwrap_or_default().held();
    let bounds = bounds(host, name, runs);
    let limit = |control: Control| {
        let declared = declared[control];
        let mut told = Limit {
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
                told.at = bound.limit.at();
                told.tighter = bound.limit < declared && declared.at().is_some();
                told.group = told.at.map(|_| bound.group.clone());
                told.text = told.at.map_or_else(|| "no limit".to_owned(), |number| control.text(number));
            }
            Known::Known(Known::Unknown(why)) => told.unknown = Some(why.clone()),
            Known::Unknown(why) => told.unknown = Some(why),
        }
        told
    };
    Control::ALL.map(limit).into()
}

/// What the last look at the guest's slice found. Of a guest that runs elsewhere the slice says nothing.
fn bounds<'a>(host: &'a Host, name: &GuestName, runs: bool) -> Known<&'a Bounds> {
    let slice = unit::slice(name);
    let observed = match (&host.limits.observed, &host.limits.unread) {
        (_, Some(why)) => return Known::Unknown(why.clone()),
        (None, None) => return Known::Unknown(format!("{slice} was not looked at yet")),
        (Some(observed), None) => observed,
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

fn nics(desired: &Desired, guest: &GuestName) -> Vec<Nic> {
    let nic = |nic: &policy::model::Nic| {
        let v4 = nic.ipv4.iter().copied().map(IpAddr::from);
        Nic {
            segment: nic.segment.clone(),
            tap: nic.tap.clone(),
            mac: nic.mac,
            bridge: nic.bridge.clone(),
            addresses: v4.chain(nic.ipv6.iter().copied().map(IpAddr::from)).collect(),
            dhcp: nic.dhcp,
        }
    };
    desired.policy.nics.iter().filter(|nic| nic.guest == *guest).map(nic).collect()
}

/// What every room says, and of a room that could not be read, that its objects are not known.
pub(crate) fn notices(desired: &Desired, host: &Host) -> Vec<Notice> {
    let mut notices: Vec<Notice> = [&host.policy.notices, &host.links.notices, &host.resolver.notices]
        .into_iter()
        .chain([&host.limits.notices, &host.guests.notices])
        .flatten()
        .cloned()
        .collect();
    let guests = || desired.guest.guests.iter().map(|guest| Object::Guest(guest.name.clone()));
    let bridges = || desired.netlink.segments.iter().map(|segment| Object::Segment(segment.name.clone()));
    if let Some(why) = &host.policy.unread {
        notices.extend(unread([Object::Policy], why));
    }
    if let Some(why) = &host.links.unread {
        notices.extend(unread(bridges(), why));
    }
    if let Some(why) = &host.resolver.unread {
        notices.extend(unread([Object::Resolver], why));
    }
    for why in [&host.limits.unread, &host.guests.unread].into_iter().flatten() {
        notices.extend(unread(guests(), why));
    }
    notices
}

#[cfg(test)]
mod tests {
    use bulkhead_sandbox::model::{Bound, Cgroup, Limits, Observed, Slice};
    use bulkhead_types::Limit as At;

    use super::*;
    use crate::room::Settled;

    fn web() -> GuestName {
        "web".parse().unwrap()
    }

    /// A host that saw this of web's slice, of which the manifest wants 64 tasks.
    fn told(cgroup: Known<Option<Cgroup>>, runs: bool) -> Limit {
        let mut desired = Desired::default();
        desired.sandbox.guests.insert(web(), Limits::default().with(Control::Pids, At::At(64)));
        let slice = Slice { cgroup, ..Slice::default() };
        let observed = Observed { slices: BTreeMap::from([(web(), slice)]), ..Observed::default() };
        let limits = Settled { observed: Some(observed), ..Settled::untried() };
        let host = Host { limits, ..Host::unknown() };
        super::limits(&desired, &host, &web(), runs).into_iter().find(|limit| limit.control == "pids").unwrap()
    }

    fn group(pids: Known<Bound>, populated: bool) -> Known<Option<Cgroup>> {
        let unlimited = |_| Known::Known(Bound { limit: At::Max, group: "/".to_owned() });
        let bounds = Bounds::from_fn(unlimited).with(Control::Pids, pids);
        Known::Known(Some(Cgroup { path: "/web".to_owned(), limits: Limits::default(), bounds, populated }))
    }

    #[test]
    fn a_limit_that_is_tighter_than_the_manifest_s_is_told_with_its_group() {
        let bound = |at, group: &str| Known::Known(Bound { limit: At::At(at), group: group.to_owned() });
        let own = told(group(bound(64, "/web"), true), true);
        assert_eq!((own.declared, own.at, own.tighter, own.text.as_str()), (Some(64), Some(64), false, "64 tasks"));
        let less = told(group(bound(32, "/web/libvirt"), true), true);
        assert_eq!((less.at, less.tighter, less.group.as_deref()), (Some(32), true, Some("/web/libvirt")));
    }

    #[test]
    fn what_was_not_read_is_unknown_and_never_no_limit() {
        let bound = || Known::Known(Bound { limit: At::At(64), group: "/web".to_owned() });
        for (limit, why) in [
            (told(Known::Unknown("denied".to_owned()), true), "denied"),
            (told(Known::Known(None), false), "machine-bulkhead-web.slice is not there"),
            (told(group(Known::Unknown("pids.max is no limit".to_owned()), true), true), "pids.max is no limit"),
            // A QEMU that was started before it was ours runs where nobody looks.
            (told(group(bound(), false), true), "its QEMU was not in machine-bulkhead-web.slice at the last look"),
        ] {
            assert_eq!((limit.at, limit.unknown.as_deref(), limit.text.as_str()), (None, Some(why), "unknown"));
        }
        assert_eq!(told(group(bound(), false), false).at, Some(64), "the slice of a guest that does not run");
    }
}
