//! The links among the rooms.

use std::collections::BTreeMap;
use std::sync::Arc;

use bulkhead_api::{self as api, Phase, Status};
use bulkhead_netlink::{self as netlink, Kernel, LinkState, SegmentState, Step, model, state};
use bulkhead_types::{Cancelled, Cause, GuestName, IfName, Notice, Object, Plan, Progress, Report, chain};

use super::{Name, OpenError, RemainingStep, Room, State, StateOf, States, Unread, Wanted};
use crate::guest::{self, Hold, Lack, Libvirt};
use crate::manifest::Desired;
use crate::offline::{self, Host};
use crate::watch::Reason;

/// VLANs, bridges, ports, addresses and routes.
#[derive(Debug)]
pub(crate) struct Links(Kernel);

impl Room for Links {
    const NAME: Name = Name::Links;
    const PHASE: Phase = Phase::Links;
    const NEEDS: &'static [Name] = &[Name::Policy];
    const WALLED: bool = true;
    const SOURCE: Reason = Reason::Links;
    type Desired = model::Desired;
    type Observed = model::Observed;
    type Step = Step;

    fn open(_: &Arc<Libvirt>) -> Result<Self, OpenError> {
        Ok(Self(Kernel::open()?))
    }

    fn desired(wanted: Wanted<'_>, _: &States) -> Self::Desired {
        wanted.manifest.netlink.clone()
    }

    fn state(states: &States) -> &StateOf<Self> {
        &states.links
    }

    fn state_mut(states: &mut States) -> &mut StateOf<Self> {
        &mut states.links
    }

    async fn observe(&mut self, desired: &Self::Desired) -> Result<Self::Observed, Unread> {
        self.0.observe(desired).await.map_err(|error| match error {
            netlink::Error::Timeout { .. } => Unread::Late(chain(&error)),
            error => Unread::Refused(chain(&error)),
        })
    }

    fn plan(desired: &Self::Desired, observed: &Self::Observed) -> Plan<Self::Step> {
        netlink::plan(desired, observed)
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
        offline::links::observed(host)
    }

    fn holds(manifest: &Desired, states: &States) -> BTreeMap<GuestName, Hold> {
        let found = found(manifest, states);
        let found = found.iter().map(Some).chain(std::iter::repeat(None));
        let lacks = manifest.netlink.segments.iter().zip(found);
        let lacks = lacks.filter_map(|(one, found)| Some((&one.bridge, lack(states, one, found)?)));
        let lacks: BTreeMap<&IfName, Lack> = lacks.collect();
        let hold = |guest: &guest::model::Guest| {
            let lack = guest.nics.iter().find_map(|nic| lacks.get(&nic.bridge))?.clone();
            Some((guest.name.clone(), Hold { what: None, lack }))
        };
        manifest.guest.guests.iter().filter_map(hold).collect()
    }

    fn objects(manifest: &Desired) -> Vec<Object> {
        manifest.netlink.segments.iter().map(object).collect()
    }

    fn page(manifest: &Desired, states: &States, status: &mut Status) {
        let found = found(manifest, states);
        let segments = || manifest.netlink.segments.iter().zip(found.iter().map(Some).chain(std::iter::repeat(None)));
        let carried: BTreeMap<&IfName, LinkState> =
            found.iter().map(|segment| (&segment.trunk.0, segment.trunk.1)).collect();
        status.trunks = manifest.trunks.iter().map(|name| trunk(&states.links, name, carried.get(name))).collect();
        status.segments = segments().map(|(one, found)| segment(states, one, found)).collect();
    }
}

/// The segments as they were found, in the manifest's order; none where links could not be read.
fn found(manifest: &Desired, states: &States) -> Vec<SegmentState> {
    states.links.observed().map(|observed| state(&manifest.netlink, observed)).unwrap_or_default()
}

fn object(segment: &model::Segment) -> Object {
    Object::Segment(segment.name.clone())
}

/// `carried` is the state of the link that carries segments of this trunk, whatever that is called now.
fn trunk(links: &StateOf<Links>, name: &IfName, carried: Option<&LinkState>) -> api::Trunk {
    let presence = |observed: &model::Observed| match observed.link(name) {
        Some(link) if link.up => LinkState::Up,
        Some(_) => LinkState::Down,
        None => LinkState::Absent,
    };
    let found = carried.copied().or_else(|| links.observed().map(presence));
    let (state, why) = match (found, refused(links, &Object::Trunk(name.clone()))) {
        (_, Some(why)) => (api::State::Failed, Some(why.to_owned())),
        (None, None) => (api::State::Pending, Some("is not known yet".to_owned())),
        (Some(LinkState::Up), None) => (api::State::Ready, None),
        (Some(LinkState::Down | LinkState::Foreign), None) => (api::State::Pending, Some(format!("{name} is not up"))),
        (Some(LinkState::Absent), None) => (api::State::Pending, Some(format!("{name} does not exist"))),
    };
    api::Trunk { name: name.clone(), state, why }
}

fn segment(states: &States, segment: &model::Segment, found: Option<&SegmentState>) -> api::Segment {
    let object = object(segment);
    let refused = refused(&states.links, &object);
    // Only what the manifest can be blamed for, or a foreign object; the rest comes by itself.
    let clash = |notice: &Notice| notice.object == object && notice.cause == Cause::Clash;
    let failed = refused.is_some() || states.links.notices().iter().any(clash);
    let lack = lack(states, segment, found).map(|lack| lack.to_string());
    let why = lack.or_else(|| refused.map(str::to_owned));
    let seen = found.filter(|_| decoded(&states.links, segment));
    api::Segment {
        name: segment.name.clone(),
        trunk: segment.trunk.clone(),
        vlan: segment.vlan,
        vlan_link: segment.vlan_link.clone(),
        bridge: segment.bridge.clone(),
        declared: segment.host.as_ref().map(|host| host.addresses.clone()).unwrap_or_default(),
        addresses: seen.map(|found| found.addresses.clone()),
        gateways: seen.map(|found| found.gateways.clone()),
        state: match (&why, failed) {
            (_, true) => api::State::Failed,
            (None, false) if found.is_some_and(SegmentState::stands) => api::State::Ready,
            _ => api::State::Pending,
        },
        why,
    }
}

/// Whether all that is on a segment's bridge could be decoded: of an address that could not, nobody knows which it is.
fn decoded(links: &StateOf<Links>, segment: &model::Segment) -> bool {
    let unread = |observed: &model::Observed| {
        let bridge = observed.link(&segment.bridge).map(|bridge| bridge.index);
        observed.unread.iter().any(|unread| bridge.is_some() && unread.index == bridge)
    };
    !links.observed().is_some_and(unread)
}

/// Why the first refused step of an object was refused.
fn refused<'a>(links: &'a StateOf<Links>, object: &Object) -> Option<&'a str> {
    let of = |left: &&RemainingStep<Step>| bulkhead_types::Step::object(&left.step) == *object;
    links.remaining().iter().filter(of).find_map(|left| left.refused.as_deref())
}

/// What a segment or its trunk waits for that no step brings: a trunk that is not there, or a foreign link in the place of ours.
fn waits<'a>(links: &'a StateOf<Links>, segment: &model::Segment) -> Option<&'a Notice> {
    let waits = |notice: &&Notice| {
        objects(segment).contains(&notice.object) && matches!(notice.cause, Cause::Clash | Cause::Pending)
    };
    links.notices().iter().find(waits)
}

/// What is left of the steps of a segment and its trunk without which no frame passes; the first that was refused, if any was.
fn remaining<'a>(links: &'a StateOf<Links>, segment: &model::Segment) -> Option<&'a RemainingStep<Step>> {
    let own = |left: &&RemainingStep<Step>| {
        objects(segment).contains(&bulkhead_types::Step::object(&left.step))
            && bulkhead_types::Step::required(&left.step)
    };
    let mut left = links.remaining().iter().filter(own);
    left.clone().find(|left| left.refused.is_some()).or_else(|| left.next())
}

fn objects(segment: &model::Segment) -> [Object; 2] {
    [object(segment), Object::Trunk(segment.trunk.clone())]
}

/// Whether links were read, and those of every segment stand unless it waits for what no step brings.
pub(super) fn stand(manifest: &Desired, states: &States) -> bool {
    let links = &states.links;
    let found = found(manifest, states);
    let stands = |(segment, found): (&model::Segment, &SegmentState)| {
        remaining(links, segment).is_none() && (found.stands() || waits(links, segment).is_some())
    };
    links.observed().is_some() && manifest.netlink.segments.iter().zip(&found).all(stands)
}

/// What a guest on this segment would lack; `None` where its bridge stands.
///
/// The host's own addresses and routes are not required: what the kernel refuses of them is said of the segment and holds no
/// guest.
fn lack(states: &States, segment: &model::Segment, found: Option<&SegmentState>) -> Option<Lack> {
    let links = &states.links;
    match links {
        State::Unseen => return Some(Lack::Unseen(states.policy.unread().map(ToString::to_string))),
        State::Unread(why, _) => return Some(Lack::Unread(why.to_string())),
        State::Planned(..) | State::Verified(_) | State::Incomplete(..) => {}
    }
    if let Some(notice) = waits(links, segment) {
        return Some(Lack::Waits(notice.text.clone()));
    }
    // What a plan would write is as good as there, for the plan of what comes after it.
    if matches!(links, State::Planned(..)) {
        return None;
    }
    if let Some(left) = remaining(links, segment) {
        return Some(Lack::Left { step: left.step.to_string(), refused: left.refused.clone() });
    }
    match found {
        Some(found) if found.stands() => None,
        found => {
            let links = found.into_iter().flat_map(|found| [&found.vlan, &found.bridge]);
            let down = links.into_iter().find(|(_, state)| *state != LinkState::Up).map(|(name, _)| name.clone());
            Some(Lack::Down(down.unwrap_or_else(|| segment.bridge.clone())))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::manifest::{self, HostId, Source};
    use crate::rooms::View;
    use bulkhead_netlink::SegmentBridge;
    use bulkhead_netlink::model::{BridgeOptions, Kind, LINK_GROUP, Link, Observed};
    use std::sync::Arc;

    pub(in crate::rooms) const LAN: &str = "[trunk.eth1]\n[segment.lan]\ntrunk = \"eth1\"\nvlan = 20\n";
    pub(in crate::rooms) const WITH_GUEST: &str = "[trunk.eth1]\n[segment.lan]\ntrunk = \"eth1\"\nvlan = 20\n[pool.p]\npath = \"/srv/p\"\n[guest.web]\nmemory = \"64 MiB\"\n\
         disk.vda = { pool = \"p\", size = \"1 GiB\" }\nnic.lan = { address = [\"10.0.0.2\"] }\n";

    pub(in crate::rooms) fn desired(text: &str) -> Desired {
        let id: HostId = "0123456789abcdef0123456789abcdef".parse().unwrap();
        manifest::parse(&[Source { path: "host.toml".into(), text: text.to_owned() }]).unwrap().lower(&id)
    }

    fn link(index: u32, name: &str, kind: Kind, group: u32, master: Option<u32>) -> Link {
        let mac = Some("02:00:00:00:00:07".parse().unwrap());
        let alias = matches!(kind, Kind::Vlan { .. }).then(|| model::trunk_alias(&"eth1".parse().unwrap()));
        Link { index, name: name.to_owned(), kind, group, up: true, mtu: 1500, mac, master, alias, ..Link::default() }
    }

    /// A host with one segment, and a bridge of somebody else.
    pub(in crate::rooms) fn observed() -> Observed {
        let vlan = || Kind::Vlan { id: 20, parent: Some(2), dot1q: true };
        let bridge = || Kind::Bridge(BridgeOptions::default());
        let links = [
            link(2, "eth1", Kind::Other(String::new()), 0, None),
            link(3, "br20", bridge(), LINK_GROUP, None),
            link(4, "vlan20", vlan(), LINK_GROUP, Some(3)),
            link(5, "docker0", bridge(), 0, None),
        ];
        Observed { links: links.into_iter().collect(), ..Observed::default() }
    }

    fn with(left: Vec<RemainingStep<Step>>) -> States {
        let view = View { observed: Arc::new(observed()), notices: Vec::new().into() };
        States { links: State::Incomplete(view, left), ..States::default() }
    }

    #[test]
    fn a_route_that_the_kernel_refuses_is_said_of_its_segment_and_holds_no_guest() {
        let desired = desired(LAN);
        let bridge = SegmentBridge::from(&desired.netlink.segments[0]);
        let step =
            Step::AddRoute { bridge, index: 3, gateway: "fe80::1".parse().unwrap(), metric: 4242, on_link: false };
        let states = with(vec![RemainingStep { step, refused: Some("Permission denied".to_owned()) }]);
        assert_eq!(lack(&states, &desired.netlink.segments[0], found(&desired, &states).first()), None);
        let mut status = Status::default();
        Links::page(&desired, &states, &mut status);
        assert_eq!(status.segments[0].state, api::State::Failed);
        assert_eq!(status.segments[0].why.as_deref(), Some("Permission denied"));
    }

    #[test]
    fn the_addresses_of_a_bridge_are_unknown_where_links_or_one_of_them_could_not_be_read() {
        let desired = desired(&format!("{LAN}host = {{ address = [\"10.0.0.1/24\"] }}\n"));
        let page = |links| {
            let mut status = Status::default();
            Links::page(&desired, &States { links, ..States::default() }, &mut status);
            let segment = status.segments.swap_remove(0);
            assert_eq!(segment.declared, ["10.0.0.1/24".parse().unwrap()]);
            (segment.addresses, segment.gateways)
        };
        let verified = |observed| State::Verified(View { observed: Arc::new(observed), notices: Vec::new().into() });
        assert_eq!(page(verified(observed())), (Some(Vec::new()), Some(Vec::new())), "none is there");
        let of = |index| model::Unread { what: "address", index, why: "torn".to_owned() };
        let torn = |index| verified(Observed { unread: vec![of(index)], ..observed() });
        assert_eq!(page(torn(Some(3))), (None, None), "br20");
        assert_eq!(page(torn(Some(2))), page(verified(observed())), "another link's");
        assert_eq!(page(State::Unread(Unread::Refused("no".to_owned()), Some(Arc::new(observed())))), (None, None));
    }

    /// Whether a host with a policy that stands and these links is ready.
    fn ready(links: StateOf<Links>) -> bool {
        let policy = State::Verified(View { observed: Arc::default(), notices: Vec::new().into() });
        States { policy, links, ..States::default() }.ready(&desired(LAN))
    }

    /// The same host with one of its links changed.
    fn with_link(index: u32, change: impl FnOnce(&mut Link)) -> Observed {
        let mut observed = observed();
        let mut link = observed.links.get(index).unwrap().clone();
        change(&mut link);
        observed.links.insert(link);
        observed
    }

    /// The links room as a look at this leaves it, where this step was refused.
    fn left_with(observed: Observed, step: Step) -> StateOf<Links> {
        let notices = netlink::plan(&desired(LAN).netlink, &observed).notices.into();
        let refused = Some("Invalid argument".to_owned());
        State::Incomplete(View { observed: Arc::new(observed), notices }, vec![RemainingStep { step, refused }])
    }

    #[test]
    fn a_vlan_or_a_bridge_that_failed_is_not_ready_and_an_address_or_a_route_that_was_refused_is() {
        let desired = desired(LAN);
        let segment = &desired.netlink.segments[0];
        let bridge = || SegmentBridge::from(segment);
        let without = |index| {
            let mut observed = observed();
            observed.links.remove(index);
            observed
        };
        let (index, mtu) = (3, 1500);
        let create_vlan = Step::CreateVlan {
            bridge: bridge(),
            link: segment.vlan_link.clone(),
            index: 4,
            trunk: "eth1".to_owned(),
            parent: 2,
            vlan: segment.vlan,
            master: index,
            mtu,
        };
        let create_bridge = Step::CreateBridge { bridge: bridge(), index, mac: segment.mac, mtu };
        assert!(!ready(left_with(without(4), create_vlan)));
        assert!(!ready(left_with(without(3), create_bridge)));
        let gateway = "fe80::1".parse().unwrap();
        let route = Step::AddRoute { bridge: bridge(), index, gateway, metric: 4242, on_link: false };
        let address = Step::AddAddress { bridge: bridge(), index, address: "10.0.0.1/24".parse().unwrap() };
        assert!(ready(left_with(observed(), route)) && ready(left_with(observed(), address)));
    }

    #[test]
    fn a_trunk_that_is_missing_and_a_foreign_link_in_the_place_of_ours_do_not_delay_what_is_ready() {
        let gone = Step::DeleteLink {
            bridge: SegmentBridge::left("br30".parse().unwrap()),
            link: "br30".parse().unwrap(),
            index: 9,
            is_bridge: true,
            by_group: false,
        };
        assert!(ready(left_with(Observed::default(), gone.clone())), "the trunk comes by itself or does not");
        let clash = with_link(3, |bridge| bridge.group = 0);
        assert!(ready(left_with(clash, gone)), "only a person mends that");
        assert!(!ready(State::Unread(Unread::Refused("no".to_owned()), Some(Arc::new(observed())))));
        assert!(!ready(State::Planned(
            View { observed: Arc::new(observed()), notices: Vec::new().into() },
            Vec::new()
        )));
    }

    #[test]
    fn a_trunk_with_another_name_now_is_shown_as_what_carries_its_segments() {
        let desired = desired(LAN);
        let observed = with_link(2, |trunk| trunk.name = "wan0".to_owned());
        let view = View { observed: Arc::new(observed), notices: Vec::new().into() };
        let mut status = Status::default();
        Links::page(&desired, &States { links: State::Verified(view), ..States::default() }, &mut status);
        assert_eq!((status.trunks[0].state, status.trunks[0].why.as_deref()), (api::State::Ready, None));
    }

    #[test]
    fn a_bridge_that_cannot_be_made_holds_its_guests_with_the_reason() {
        let desired = desired(LAN);
        let bridge = SegmentBridge::from(&desired.netlink.segments[0]);
        let step = Step::LinkUp { bridge, link: "br20".parse().unwrap(), index: 3, by_group: false };
        let refused = Some("Device or resource busy".to_owned());
        let states = with(vec![RemainingStep { step: step.clone(), refused: refused.clone() }]);
        let lack = lack(&states, &desired.netlink.segments[0], found(&desired, &states).first());
        assert_eq!(lack, Some(Lack::Left { step: step.to_string(), refused }));
    }
}
