//! Single plans, each for one promise.

use std::collections::BTreeMap;

use super::generate::{mac, name, segment_name};
use super::*;
use crate::lookup::Lookup;

fn hidden(number: u8, trunk: &str) -> Segment {
    Segment {
        name: segment_name(number),
        trunk: name(trunk),
        vlan: i64::from(number).try_into().unwrap(),
        vlan_link: name(&format!("vlan{number}")),
        bridge: name(&format!("br{number}")),
        mac: mac(number),
        mtu: None,
        host: None,
    }
}

fn visible(number: u8, addresses: &[&str], gateways: &[&str]) -> Segment {
    let host = crate::model::Host {
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        gateways: gateways.iter().map(|text| text.parse().unwrap()).collect(),
        metric: DEFAULT_METRIC,
    };
    Segment { host: Some(host), ..hidden(number, "eth0") }
}

fn port(index: u32, name: &str) -> Link {
    Link { index, name: name.to_owned(), up: true, mtu: 1500, mac: Some(mac(9)), ipv6: Some(true), ..Link::default() }
}

fn host(ports: &[&str]) -> Observed {
    let ports = (2..).zip(ports).map(|(index, name)| port(index, name));
    Observed { links: ports.collect(), ..Observed::default() }
}

const KERNEL: KernelOptions = KernelOptions { promotes: false, ipv6: true };

fn made(desired: &Desired, mut observed: Observed) -> Observed {
    let rest = converge(desired, &mut observed, KERNEL).unwrap();
    assert!(rest.is_empty(), "{rest:#?}");
    observed
}

fn rename(observed: &mut Observed, index: u32, to: &str) {
    let link = observed.links.get(index).unwrap().clone();
    observed.links.insert(Link { name: to.to_owned(), ..link });
}

fn texts(plan: &Plan, cause: Cause) -> Vec<&str> {
    plan.notices.iter().filter(|notice| notice.cause == cause).map(|notice| notice.text.as_str()).collect()
}

#[test]
fn a_segment_that_moves_to_a_trunk_that_is_not_there_leaves_the_old_one() {
    let before = Desired { segments: vec![hidden(1, "eth0")], ..Desired::default() };
    let observed = made(&before, host(&["eth0"]));
    let after = Desired { segments: vec![hidden(1, "eth7")], ..Desired::default() };
    let plan = plan(&after, &observed);
    assert!(plan.steps.iter().any(|step| step.to_string() == "ip link delete vlan1"), "{plan:#?}");
    assert!(texts(&plan, Cause::Pending).iter().any(|text| text.contains("eth7 does not exist")), "{plan:#?}");
}

#[test]
fn a_vlan_link_that_gets_ipv6_with_its_mtu_is_down_meanwhile_also_where_its_trunk_comes_up() {
    let desired = Desired { segments: vec![hidden(1, "eth0")], ..Desired::default() };
    let mut observed = made(&desired, host(&["eth0"]));
    let trunk = observed.links.named(&name("eth0")).unwrap().clone();
    observed.links.insert(Link { up: false, ..trunk });
    let vlan = observed.links.named(&name("vlan1")).unwrap().clone();
    observed.links.insert(Link { up: false, mtu: 1200, ipv6: None, ..vlan });
    let steps: Vec<String> = plan(&desired, &observed).steps.iter().map(ToString::to_string).collect();
    let at = |text: &str| steps.iter().position(|step| step.starts_with(text));
    let (down, mtu) = (at("ip link set vlan1 down"), at("ip link set vlan1 mtu"));
    assert!(at("ip link set eth0 up") < down && down < mtu && down.is_some(), "{steps:#?}");
}

#[test]
fn a_trunk_that_cannot_be_decoded_keeps_what_stands_on_it() {
    let desired = Desired { segments: vec![hidden(1, "eth0"), hidden(2, "eth0")], ..Desired::default() };
    let stands = Desired { segments: vec![hidden(1, "eth0")], ..Desired::default() };
    let mut observed = made(&stands, host(&["eth0"]));
    let trunk = observed.links.named(&name("eth0")).unwrap().clone();
    observed.links.insert(Link { unread: Some("its MTU is torn".to_owned()), ..trunk });
    let plan = plan(&desired, &observed);
    assert!(plan.steps.is_empty(), "{plan:#?}");
    assert!(plan.notices.iter().any(|notice| notice.object == Object::Trunk(name("eth0"))), "{plan:#?}");
}

#[test]
fn what_cannot_be_decoded_on_a_bridge_and_a_port_of_ours_is_unknown_and_left_alone() {
    let tap = Port { segment: segment_name(1), bridge: name("br1"), mac: mac(100) };
    let desired = Desired { segments: vec![hidden(1, "eth0")], ports: BTreeMap::from([(name("tap0"), tap)]) };
    let mut observed = made(&desired, host(&["eth0"]));
    let bridge = observed.links.named(&name("br1")).unwrap().index;
    let torn = || "it is torn".to_owned();
    observed.links.insert(Link { master: Some(bridge), unread: Some(torn()), ..port(9, "tap0") });
    observed.unread.push(Unread { what: "address", index: Some(bridge), why: torn() });
    let plan = plan(&desired, &observed);
    assert!(plan.steps.is_empty(), "{plan:#?}");
    let unknown = texts(&plan, Cause::Unknown);
    assert!(unknown.iter().any(|text| text.contains("the address on br1 cannot be decoded")), "{plan:#?}");
    assert!(unknown.iter().any(|text| text.contains("tap0 on br1 cannot be decoded")), "{plan:#?}");
}

#[test]
fn a_trunk_that_takes_the_name_of_another_one_is_that_one() {
    let desired = Desired { segments: vec![hidden(1, "eth0"), hidden(2, "eth1")], ..Desired::default() };
    let mut observed = made(&desired, host(&["eth0", "eth1"]));
    for link in [3, 2] {
        rename(&mut observed, link, if link == 3 { "spare" } else { "eth1" });
    }
    let plan = plan(&desired, &observed);
    assert!(plan.notices.iter().any(|n| n.object == Object::Trunk(name("eth0")) && n.cause == Cause::Pending));
    let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    assert!(steps.contains(&"ip link delete vlan1".to_owned()) && steps.contains(&"ip link delete vlan2".to_owned()));
}

#[test]
fn a_missing_trunk_is_told_with_the_ports_that_it_could_be() {
    let mut observed = host(&["lan0", "used", "tap0", "wg0"]);
    let altnames = vec!["enp3s0".to_owned(), "enx525400000009".to_owned()];
    observed.links.insert(Link { altnames, ..port(2, "lan0") });
    observed.links.insert(Link { kind: Kind::Other("wireguard".to_owned()), mac: None, ..port(5, "wg0") });
    let tap = Port { segment: segment_name(1), bridge: name("br1"), mac: mac(100) };
    let desired =
        Desired { segments: vec![hidden(1, "eth0"), hidden(2, "used")], ports: BTreeMap::from([(name("tap0"), tap)]) };
    let plan = plan(&desired, &observed);
    let text = texts(&plan, Cause::Pending).into_iter().find(|text| text.contains("does not exist")).unwrap();
    assert!(text.contains("under another name: lan0 (also enp3s0, enx525400000009). If"), "{text}");
}

#[test]
fn a_trunk_is_found_by_an_alternative_name() {
    let mut observed = host(&["eth0"]);
    observed.links.insert(Link { altnames: vec!["enp3s0".to_owned()], up: false, ..port(2, "eth0") });
    let desired = Desired { segments: vec![hidden(1, "enp3s0")], ..Desired::default() };
    let plan = plan(&desired, &observed);
    assert_eq!((plan.steps[0].to_string().as_str(), plan.notices.len()), ("ip link set eth0 up", 0));
    assert!(crate::state(&desired, &made(&desired, observed))[0].stands());
}

#[test]
fn a_gateway_of_ipv6_where_the_host_has_none_is_named_and_everything_else_is_made() {
    let segments = vec![visible(1, &["10.0.1.1/24"], &["10.0.1.254", "fe80::1"])];
    let desired = Desired { segments, ..Desired::default() };
    let observed = made(&desired, host(&["eth0"]));
    assert_eq!(observed.routes.len(), 1);
    let rest = plan(&desired, &observed);
    let held = texts(&rest, Cause::Held);
    assert!(held.len() == 1 && held[0].contains("fe80::1") && held[0].contains("no IPv6"), "{rest:#?}");
    assert!(crate::state(&desired, &observed)[0].stands());
}

#[test]
fn a_kernel_without_ipv6_gets_what_it_can_have() {
    let segments = vec![visible(1, &["10.0.1.1/24", "2001:db8::1/64"], &["10.0.1.254", "2001:db8::fe"])];
    let desired = Desired { segments, ..Desired::default() };
    let mut observed = host(&["eth0"]);
    observed.links.get_mut(2).unwrap().ipv6 = None;
    let observed = made(&desired, observed);
    assert_eq!((observed.addresses.len(), observed.routes.len()), (1, 1));
    let rest = plan(&desired, &observed);
    assert!(texts(&rest, Cause::Held).iter().any(|text| text.contains("ipv6.disable=1")), "{rest:#?}");
}

#[test]
fn a_foreign_default_route_of_the_same_metric_is_no_clash_of_the_segment() {
    let segments = vec![visible(1, &["10.0.1.1/24"], &["10.0.1.254"])];
    let desired = Desired { segments, ..Desired::default() };
    let mut observed = host(&["eth0"]);
    observed.routes.push(Route {
        table: 254,
        destination: "0.0.0.0/0".parse().unwrap(),
        gateway: Some([192, 0, 2, 1].into()),
        index: Some(2),
        metric: DEFAULT_METRIC,
        protocol: 16,
    });
    let observed = made(&desired, observed);
    let rest = plan(&desired, &observed);
    assert_eq!(texts(&rest, Cause::Clash), [""; 0]);
    assert!(texts(&rest, Cause::Held).iter().any(|text| text.contains("via 192.0.2.1 dev eth0")), "{rest:#?}");
    assert!(crate::state(&desired, &observed)[0].stands());
}

#[test]
fn a_segment_without_its_vlan_link_on_its_bridge_does_not_stand() {
    let desired = Desired { segments: vec![hidden(1, "eth0")], ..Desired::default() };
    let observed = made(&desired, host(&["eth0"]));
    assert!(crate::state(&desired, &observed)[0].stands());
    for spoil in [|link: &mut Link| link.master = None, |link: &mut Link| link.up = false] {
        let mut observed = observed.clone();
        let vlan = observed.link(&name("vlan1")).unwrap().index;
        spoil(observed.links.get_mut(vlan).unwrap());
        assert!(!crate::state(&desired, &observed)[0].stands());
    }
}

/// A host with ten NICs on each of its segments, an address on each and a route for each, all as it should be.
fn large(segments: u32) -> (Desired, Observed) {
    let mut desired = Desired::default();
    let mut links = vec![port(1, "eth0")];
    let mut observed = Observed::default();
    for n in 0..segments {
        let (bridge, vlan) = (format!("b{n}"), format!("v{n}"));
        let segment = Segment {
            name: format!("s{n}").parse().unwrap(),
            vlan: i64::from(n % 4094 + 1).try_into().unwrap(),
            vlan_link: name(&vlan),
            bridge: name(&bridge),
            ..visible(1, &["10.0.1.1/24"], &[])
        };
        let first = 10 + n * 20;
        let kind = Kind::Bridge(BridgeOptions::default());
        links.push(Link { kind, group: LINK_GROUP, mac: Some(mac(1)), ..port(first, &bridge) });
        for tap in 0..10 {
            let (tap, index) = (format!("t{n}x{tap}"), first + 2 + tap);
            let flags = Some(PortFlags::guest(true));
            links.push(Link { master: Some(first), port: flags, ipv6: Some(false), ..port(index, &tap) });
            observed.fdb.push(FdbEntry { index, mac: mac(2), sticky: false });
            let port = Port { segment: segment.name.clone(), bridge: name(&bridge), mac: mac(2) };
            desired.ports.insert(name(&tap), port);
        }
        let address = "10.0.1.1/24".parse().unwrap();
        observed.addresses.push(Address {
            index: first,
            address,
            protocol: PROTOCOL,
            secondary: false,
            duplicate: false,
        });
        desired.segments.push(segment);
    }
    observed.links = links.into_iter().collect();
    (desired, observed)
}

/// A host with the bridge of segment 1 and the tap of a NIC that is declared on it, set up as it should be.
fn tapped() -> (Desired, Observed) {
    let mut desired = Desired { segments: vec![hidden(1, "eth0")], ..Desired::default() };
    let declared = Port { segment: segment_name(1), bridge: name("br1"), mac: mac(5) };
    desired.ports.insert(name("tap0"), declared);
    let mut observed = made(&desired, host(&["eth0"]));
    let bridge = observed.link(&name("br1")).unwrap().index;
    let port = Some(PortFlags::uplink(true));
    observed.links.insert(Link { master: Some(bridge), port, ..port_of_tap() });
    let observed = made(&desired, observed);
    (desired, observed)
}

fn port_of_tap() -> Link {
    port(77, "tap0")
}

#[test]
fn a_declared_port_that_somebody_set_down_is_set_up() {
    let (desired, mut observed) = tapped();
    let tap = observed.links.get(77).unwrap().clone();
    observed.links.insert(Link { up: false, ..tap });
    let steps: Vec<_> = crate::plan(&desired, &observed).steps.iter().map(ToString::to_string).collect();
    assert_eq!(steps, ["ip link set tap0 up"]);
}

#[test]
fn a_declared_port_that_is_a_vlan_link_waits_for_the_link_that_carries_it() {
    let (desired, mut observed) = tapped();
    let tap = observed.links.get(77).unwrap().clone();
    let carrier = Link { master: None, port: None, up: false, ..port(78, "eth9") };
    observed.links.insert(Link { kind: Kind::Vlan { id: 9, parent: Some(78), dot1q: true }, up: false, ..tap });
    observed.links.insert(carrier.clone());
    assert!(crate::plan(&desired, &observed).steps.is_empty());
    observed.links.insert(Link { up: true, ..carrier });
    let steps: Vec<_> = crate::plan(&desired, &observed).steps.iter().map(ToString::to_string).collect();
    assert_eq!(steps, ["ip link set tap0 up"]);
}

#[test]
fn a_declared_port_on_somebody_else_s_bridge_or_on_none_is_named_and_not_touched() {
    let (desired, mut observed) = tapped();
    let tap = observed.links.get(77).unwrap().clone();
    observed.links.insert(Link { kind: Kind::Bridge(BridgeOptions::default()), ..port(90, "virbr0") });
    observed.links.insert(Link { master: Some(90), up: false, ..tap.clone() });
    let plan = crate::plan(&desired, &observed);
    assert!(plan.steps.is_empty(), "{plan:#?}");
    assert!(matches!(&texts(&plan, Cause::Held)[..], [text] if text.contains("on virbr0")), "{plan:#?}");
    observed.links.insert(Link { kind: Kind::Other("openvswitch".to_owned()), ..port(91, "ovs-system") });
    observed.links.insert(Link { master: Some(91), port: None, ..tap.clone() });
    let plan = crate::plan(&desired, &observed);
    assert!(matches!(&texts(&plan, Cause::Violation)[..], [text] if text.contains("is not filtered")), "{plan:#?}");
    observed.links.insert(Link { master: None, port: None, ..tap });
    let plan = crate::plan(&desired, &observed);
    assert!(matches!(&texts(&plan, Cause::Held)[..], [text] if text.contains("on no bridge")), "{plan:#?}");
}

fn set_group(observed: &mut Observed, link: &str, group: u32) {
    let index = observed.link(&name(link)).unwrap().index;
    observed.links.get_mut(index).unwrap().group = group;
}

#[test]
fn a_bridge_that_lost_our_group_keeps_the_host_s_addresses_and_routes_and_says_how_it_is_given_back() {
    let segments = vec![visible(1, &["10.0.1.1/24"], &["10.0.1.254"])];
    let declared = Port { segment: segment_name(1), bridge: name("br1"), mac: mac(5) };
    let desired = Desired { segments, ports: BTreeMap::from([(name("tap0"), declared)]) };
    let mut observed = made(&desired, host(&["eth0"]));
    let bridge = observed.link(&name("br1")).unwrap().index;
    observed.links.insert(Link { master: Some(bridge), port: Some(PortFlags::uplink(true)), ..port_of_tap() });
    let whole = made(&desired, observed);
    for lost in ["br1", "vlan1"] {
        let mut observed = whole.clone();
        set_group(&mut observed, lost, 0);
        let rest = plan(&desired, &observed);
        assert!(rest.steps.is_empty(), "{rest:#?}");
        let back = format!("`ip link set {lost} group 25192` gives it back");
        assert!(matches!(&texts(&rest, Cause::Clash)[..], [text] if text.ends_with(&back)), "{rest:#?}");
        assert!(rest.notices.iter().all(|notice| !notice.text.contains("Put it back")), "{rest:#?}");
        set_group(&mut observed, lost, LINK_GROUP);
        assert!(plan(&desired, &observed).is_empty());
    }
    let mut gone = whole;
    set_group(&mut gone, "br1", 0);
    let hidden = plan(&Desired { segments: vec![hidden(1, "eth0")], ..desired }, &gone);
    let steps: Vec<String> = hidden.steps.iter().map(ToString::to_string).collect();
    assert_eq!(steps.len(), 2, "what is no longer declared goes from there: {steps:#?}");
}

#[test]
fn on_a_bridge_that_lost_our_group_an_address_that_is_not_declared_goes_unless_it_takes_a_declared_one_along() {
    let with = |addresses: &[&str]| Desired { segments: vec![visible(1, addresses, &[])], ..Desired::default() };
    let mut observed = made(&with(&["10.0.1.1/24", "10.0.1.2/24", "10.0.2.1/24"]), host(&["eth0"]));
    assert_eq!(observed.addresses.iter().filter(|address| address.secondary).count(), 1);
    set_group(&mut observed, "br1", 0);
    let rest = plan(&with(&["10.0.1.2/24"]), &observed);
    let steps: Vec<String> = rest.steps.iter().map(ToString::to_string).collect();
    assert_eq!(steps, ["ip address delete 10.0.2.1/24 dev br1"]);
    let kept = texts(&rest, Cause::Held);
    assert!(matches!(&kept[..], [text] if text.starts_with("10.0.1.1/24 stays on br1")), "{rest:#?}");
}

#[test]
fn the_work_of_a_plan_and_of_a_state_grows_as_the_host_does() {
    let visits = |segments: u32| {
        let (desired, observed) = large(segments);
        let lookup = Lookup::new(&desired, &observed);
        let plan = super::super::steps(&lookup);
        assert!(plan.steps.len() > 2 * segments as usize, "there is something to do");
        let planned = lookup.visits();
        crate::state::states(&lookup);
        (planned, lookup.visits() - planned)
    };
    let (small, large) = (visits(100), visits(1000));
    assert!(large.0 <= 11 * small.0 && large.1 <= 11 * small.1, "{small:?} things looked at, then {large:?}");
    // Of 12,000 links, as many addresses and ports: each a few times.
    assert!(large.0 < 200_000 && large.1 < 100_000, "{large:?}");
}
