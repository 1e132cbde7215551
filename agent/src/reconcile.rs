//! The order of everything, once. Each line is observe, plan, apply, and verify by planning again ([`settle`]).

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use bulkhead_api::{Done, Step};
use bulkhead_netlink::{self as netlink, model::Kind};
use bulkhead_policy::{self as policy, model::Bridge};
use bulkhead_sandbox as sandbox;
use bulkhead_types::{Cause, GuestName, IfName, Notice, Object, chain};

use crate::guest;
use crate::manifest::Desired;
use crate::resolver::{self, Resolver};
use crate::room::{Guests, Settled, settle};
use crate::watch::Watches;

/// The ways to the kernel, systemd and libvirt.
#[derive(Debug)]
pub(crate) struct Rooms {
    pub(crate) policy: policy::Ruleset,
    pub(crate) links: netlink::Kernel,
    pub(crate) resolver: Resolver,
    pub(crate) limits: sandbox::Systemd,
    pub(crate) libvirt: Arc<guest::Libvirt>,
}

/// How every room stood at the end of a turn.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) policy: Settled<policy::model::Observed>,
    pub(crate) links: Settled<netlink::model::Observed>,
    pub(crate) resolver: Settled<resolver::Observed>,
    pub(crate) limits: Settled<sandbox::model::Observed>,
    pub(crate) guests: Settled<guest::model::Observed>,
}

/// One turn of THE loop: makes the host as desired.
///
/// The order, and why:
/// 1. the policy: rules name interfaces by name, so they stand before any interface does, and nothing ever forwards before
///    its rule. Bridges that leave stay walled until they are gone: port down before rule removed.
/// 2. links. With these two verified the network is ready, whatever libvirt does: `ready` is told.
/// 3. limits, so that no guest ever runs without them.
/// 4. pools, networks, guests: only a guest whose walls stand is started. Its taps are new ports, so links have the last word.
///
/// A policy that does not stand ends the turn: nothing is built behind a wall that is not there.
pub(crate) async fn reconcile(
    rooms: &mut Rooms,
    watches: &mut Watches,
    desired: &Desired,
    force: bool,
    ready: &mut dyn FnMut(&Host),
    progress: &mut (dyn FnMut(Done) + Send),
) -> Host {
    let mut host = Host::unknown();
    let walled = match rooms.links.observe(&desired.netlink).await {
        Ok(observed) => walls(desired, &observed),
        Err(error) => return Host { links: Settled::unread(chain(&error)), ..host },
    };
    host.policy = settle(&mut rooms.policy, &walled, progress).await;
    if !host.policy.verified() {
        return host;
    }
    host.links = settle(&mut rooms.links, &desired.netlink, progress).await;
    let walls = host.links.observed.as_ref().map_or_else(|| walled.clone(), |observed| walls(desired, observed));
    if walls != walled {
        host.policy.follow(settle(&mut rooms.policy, &walls, progress).await);
    }
    ready(&host);
    host.resolver = settle(&mut rooms.resolver, &resolver::Desired::of(desired), progress).await;
    host.limits = settle(&mut rooms.limits, &desired.sandbox, progress).await;
    guests(rooms, watches, desired, &walls, force, &mut host, progress).await;
    if !host.guests.done.is_empty() {
        host.links.follow(settle(&mut rooms.links, &desired.netlink, progress).await);
    }
    host
}

/// The last phase, and the walls around it meanwhile: a call of libvirt may take seconds, a frozen libvirtd keeps one for
/// longer, and a wall that falls in that time is mended at once.
async fn guests(
    rooms: &mut Rooms,
    watches: &mut Watches,
    desired: &Desired,
    walls: &policy::model::Desired,
    force: bool,
    host: &mut Host,
    progress: &mut (dyn FnMut(Done) + Send),
) {
    let progress = Mutex::new(progress);
    let tell = |done: Done| (progress.lock().unwrap_or_else(PoisonError::into_inner))(done);
    let (mut of_guests, mut of_walls) = (tell, tell);
    let given = guest::Given { blocked: blocked(desired, host), force };
    let mut libvirt = Guests { libvirt: &rooms.libvirt, given };
    let mut settling = pin!(settle(&mut libvirt, &desired.guest, &mut of_guests));
    loop {
        tokio::select! {
            settled = &mut settling => {
                host.guests = settled;
                return;
            }
            _ = watches.next() => {
                host.policy.follow(settle(&mut rooms.policy, walls, &mut of_walls).await);
                host.links.follow(settle(&mut rooms.links, &desired.netlink, &mut of_walls).await);
            }
        }
    }
}

impl Host {
    /// Nothing is known yet.
    pub(crate) fn unknown() -> Self {
        Self {
            policy: Settled::untried(),
            links: Settled::untried(),
            resolver: Settled::untried(),
            limits: Settled::untried(),
            guests: Settled::untried(),
        }
    }

    /// Policy and links are as desired, as far as what is there goes.
    pub(crate) fn network_verified(&self) -> bool {
        self.policy.verified() && self.links.verified()
    }

    /// Everything is as desired, as far as what is there goes.
    pub(crate) fn verified(&self) -> bool {
        self.network_verified() && self.resolver.verified() && self.limits.verified() && self.guests.verified()
    }

    /// Every write of the turn, in the order of the phases.
    pub(crate) fn done(&self) -> impl Iterator<Item = &Done> {
        let network = self.policy.done.iter().chain(&self.links.done).chain(&self.resolver.done);
        network.chain(&self.limits.done).chain(&self.guests.done)
    }

    /// What the last plans would still write.
    pub(crate) fn remaining(&self) -> Vec<Step> {
        let network = [&self.policy.remaining, &self.links.remaining, &self.resolver.remaining];
        network.into_iter().chain([&self.limits.remaining, &self.guests.remaining]).flatten().cloned().collect()
    }
}

/// The policy that must stand now: what is desired, and every bridge of ours that is still there, closed.
pub(crate) fn walls(desired: &Desired, observed: &netlink::model::Observed) -> policy::model::Desired {
    let mut walls = desired.policy.clone();
    let declared: BTreeSet<IfName> = walls.bridges.iter().map(|bridge| bridge.name.clone()).collect();
    for link in observed.links.values().filter(|link| matches!(link.kind, Kind::Bridge(_))) {
        let Some((name, mac)) = link.own().zip(link.mac).filter(|(name, _)| !declared.contains(name)) else { continue };
        let mut ports = observed.links.values().filter(|port| port.master == Some(link.index));
        let outside = ports.find_map(netlink::model::Link::own).unwrap_or_else(|| name.clone());
        walls.bridges.push(Bridge { segment: None, name, outside, mac, host: false });
    }
    walls
}

/// Guests that must not start, and why: a bridge of theirs or their limits do not stand.
fn blocked(desired: &Desired, host: &Host) -> BTreeMap<GuestName, String> {
    let mut blocked = BTreeMap::new();
    for guest in &desired.guest.guests {
        let bridge = guest.nics.iter().find_map(|nic| unfit_bridge(desired, host, &nic.bridge));
        let why = bridge.or_else(|| unfit_limits(host, &guest.name));
        blocked.extend(why.map(|why| (guest.name.clone(), why)));
    }
    blocked
}

/// Guests that no plan starts, because a bridge of theirs waits for what nobody here can make.
pub(crate) fn hindered(desired: &Desired, notices: &[Notice]) -> BTreeMap<GuestName, String> {
    let why = |guest: &guest::model::Guest| guest.nics.iter().find_map(|nic| missing(desired, notices, &nic.bridge));
    desired.guest.guests.iter().filter_map(|guest| Some((guest.name.clone(), why(guest)?))).collect()
}

/// What the bridge waits for and no step of ours brings: its trunk, or the leave of a foreign object.
fn missing(desired: &Desired, notices: &[Notice], bridge: &IfName) -> Option<String> {
    let segment = desired.netlink.segments.iter().find(|segment| segment.bridge == *bridge)?;
    let objects = [Object::Segment(segment.name.clone()), Object::Trunk(segment.trunk.clone())];
    let hinders =
        |notice: &&Notice| objects.contains(&notice.object) && matches!(notice.cause, Cause::Clash | Cause::Pending);
    notices.iter().find(hinders).map(|notice| notice.text.clone())
}

/// Why a bridge is not as the manifest says; `None` when it is.
pub(crate) fn unfit_bridge(desired: &Desired, host: &Host, bridge: &IfName) -> Option<String> {
    let Some(observed) = &host.links.observed else {
        let why = host.links.unread.as_deref().or(host.policy.unread.as_deref());
        return Some(
            why.map_or_else(|| "the policy does not stand yet".to_owned(), |why| format!("is not known: {why}")),
        );
    };
    let segment = desired.netlink.segments.iter().find(|segment| segment.bridge == *bridge)?;
    let object = Object::Segment(segment.name.clone());
    if let Some(why) = host.links.failed.get(&object) {
        return Some(why.clone());
    }
    if let Some(why) = missing(desired, &host.links.notices, bridge) {
        return Some(why);
    }
    let trunk = Object::Trunk(segment.trunk.clone());
    let mut left = host.links.remaining.iter().filter(|step| step.object == object || step.object == trunk);
    if let Some(step) = left.next() {
        return Some(format!("`{}` is still to be done", step.text));
    }
    let up = |name: &IfName| observed.link(name).is_some_and(|link| link.up);
    let down = [&segment.bridge, &segment.vlan_link].into_iter().find(|name| !up(name));
    down.map(|name| format!("{name} is not up"))
}

fn unfit_limits(host: &Host, guest: &GuestName) -> Option<String> {
    let object = Object::Guest(guest.clone());
    if let Some(why) = &host.limits.unread {
        return Some(format!("its limits are not known: {why}"));
    }
    if let Some(why) = host.limits.failed.get(&object) {
        return Some(format!("its limits do not hold: {why}"));
    }
    let left = host.limits.remaining.iter().find(|step| step.object == object);
    left.map(|step| format!("its limits do not hold: `{}` is still to be done", step.text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{self, HostId, Source};
    use bulkhead_netlink::model::{LINK_GROUP, Link, Observed};

    fn desired(text: &str) -> Desired {
        let id: HostId = "0123456789abcdef0123456789abcdef".parse().unwrap();
        manifest::parse(&[Source { path: "host.toml".into(), text: text.to_owned() }]).unwrap().lower(&id)
    }

    fn link(index: u32, name: &str, kind: Kind, group: u32, master: Option<u32>) -> Link {
        let mac = Some("02:00:00:00:00:07".parse().unwrap());
        Link { index, name: name.to_owned(), kind, group, up: true, mtu: 1500, mac, master, ..Link::default() }
    }

    fn observed() -> Observed {
        let vlan = || Kind::Vlan { id: 20, parent: Some(2), dot1q: true };
        let bridge = || Kind::Bridge(netlink::model::BridgeOptions::default());
        let links = [
            link(2, "eth1", Kind::Other(String::new()), 0, None),
            link(3, "br20", bridge(), LINK_GROUP, None),
            link(4, "vlan20", vlan(), LINK_GROUP, Some(3)),
            link(5, "docker0", bridge(), 0, None),
        ];
        Observed { links: links.into_iter().collect(), ..Observed::default() }
    }

    const LAN: &str = "[trunk.eth1]\n[segment.lan]\ntrunk = \"eth1\"\nvlan = 20\n";

    #[test]
    fn a_bridge_that_leaves_the_manifest_stays_walled_until_it_is_gone() {
        let walls = walls(&Desired::default(), &observed());
        let [bridge] = walls.bridges.as_slice() else { panic!("{walls:?}") };
        assert_eq!((bridge.name.as_str(), bridge.outside.as_str(), bridge.host), ("br20", "vlan20", false));
        assert!(walls.allows.is_empty() && walls.nics.is_empty());
    }

    #[test]
    fn a_declared_bridge_is_walled_once_and_a_foreign_one_never() {
        let desired = desired(LAN);
        assert_eq!(walls(&desired, &observed()), desired.policy);
    }

    #[test]
    fn a_segment_whose_trunk_is_missing_holds_its_guests_and_says_why() {
        let desired = desired(&format!(
            "{LAN}[pool.p]\npath = \"/srv/p\"\n[guest.web]\nmemory = \"64 MiB\"\ndisk.vda = {{ pool = \"p\", size = \"1 GiB\" }}\n\
             nic.lan = {{ address = [\"10.0.0.2\"] }}\n"
        ));
        let links = Observed::default();
        let plan = netlink::plan(&desired.netlink, &links);
        let mut host = Host::unknown();
        host.links = Settled { observed: Some(links), notices: plan.notices, ..Settled::untried() };
        host.limits = Settled { observed: Some(sandbox::model::Observed::default()), ..Settled::untried() };
        let web = "web".parse::<GuestName>().unwrap();
        assert!(hindered(&desired, &host.links.notices).contains_key(&web), "a plan does not start it either");
        let blocked = blocked(&desired, &host);
        let why = blocked.get(&web).unwrap();
        assert!(why.contains("eth1") && why.contains("does not exist"), "{why}");
    }

    #[test]
    fn limits_that_are_not_known_hold_a_guest() {
        let host = Host { limits: Settled::unread("no bus".to_owned()), ..Host::unknown() };
        let why = unfit_limits(&host, &"web".parse().unwrap()).unwrap();
        assert_eq!(why, "its limits are not known: no bus");
    }
}
