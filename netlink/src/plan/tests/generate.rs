//! Manifests and kernel states by chance, from few names and numbers, so that they meet often.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_types::{IfName, Mac, SegmentName, VlanId};
use ipnet::IpNet;
use proptest::prelude::*;

use super::kernel_model::KernelOptions;
use crate::model::*;

pub(super) fn segment_name(number: u8) -> SegmentName {
    format!("s{number}").parse().unwrap()
}

pub(super) fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

pub(super) fn mac(last: u8) -> Mac {
    Mac::try_from([0x52, 0x54, 0, 0, 0, last]).unwrap()
}

const TRUNKS: [&str; 2] = ["eth0", "eth1"];
/// What they may be called instead.
const RENAMED: [&str; 2] = ["lan0", "lan1"];
/// Also names that the manifest knows: taps, bridges, VLAN links.
const NAMES: [&str; 14] =
    ["br1", "br2", "br3", "vlan1", "vlan2", "vlan3", "tap0", "tap1", "tap2", "docker0", "br9", "vlan9", "eth1", "wg0"];
const ADDRESSES: [&str; 9] = [
    "10.0.1.1/24",
    "10.0.1.2/24",
    "10.0.1.1/16",
    "10.0.2.1/24",
    "10.0.2.7/24",
    "2001:db8::1/64",
    "2001:db8::2/64",
    "10.0.3.3/32",
    "2001:db8:1::3/128",
];

fn addresses() -> impl Strategy<Value = Vec<IpNet>> {
    proptest::sample::subsequence(&ADDRESSES[..], 0..=4).prop_map(|texts| {
        let mut seen = BTreeSet::new();
        let parsed = texts.iter().map(|text| text.parse::<IpNet>().unwrap());
        parsed.filter(|net| seen.insert(net.addr())).collect()
    })
}

fn host() -> impl Strategy<Value = crate::model::Host> {
    (addresses(), prop_oneof![Just(DEFAULT_METRIC), Just(0), Just(100)], any::<(bool, bool, bool)>()).prop_map(
        |(addresses, metric, (v4, v6, link_local))| {
            let near = |wanted: bool, is: fn(&&IpNet) -> bool, gateway: &str| {
                let gateway: IpAddr = gateway.parse().unwrap();
                // A single address is no network, and its gateway is on the link.
                let reaches = |net: &IpNet| net.contains(&gateway) || net.prefix_len() == net.max_prefix_len();
                addresses.iter().filter(is).any(reaches).then_some(gateway).filter(|_| wanted)
            };
            let v4 = near(v4, |net| net.addr().is_ipv4(), "10.0.1.254");
            let v6 = near(v6, |net| net.addr().is_ipv6(), "2001:db8::fe");
            // On every link, whether the host has an IPv6 address there or not.
            let v6 = if link_local { "fe80::1".parse().ok() } else { v6 };
            crate::model::Host { gateways: v4.into_iter().chain(v6).collect(), addresses, metric }
        },
    )
}

fn segment(number: u8) -> impl Strategy<Value = Option<Segment>> {
    let mtu = prop_oneof![Just(None), Just(Some(1200)), Just(Some(1400)), Just(Some(9000))];
    let whole = (0..TRUNKS.len(), 1..=3_i64, mtu, proptest::option::of(host()));
    proptest::option::of(whole.prop_map(move |(trunk, vlan, mtu, host)| Segment {
        trunk: name(TRUNKS[trunk]),
        // One VLAN a segment and trunk, as the manifest demands.
        vlan: VlanId::try_from(vlan * 3 + i64::from(number) - 3).unwrap(),
        vlan_link: name(&format!("vlan{number}")),
        name: segment_name(number),
        bridge: name(&format!("br{number}")),
        mac: mac(number),
        mtu,
        host,
    }))
}

pub(super) fn desired() -> impl Strategy<Value = Desired> {
    let ports = proptest::collection::btree_map(0..3_u8, 1..4_u8, 0..3);
    ((segment(1), segment(2), segment(3)), ports).prop_map(|((a, b, c), ports)| {
        let segments: Vec<Segment> = [a, b, c].into_iter().flatten().collect();
        let port = |(tap, bridge)| {
            (
                name(&format!("tap{tap}")),
                Port { segment: segment_name(bridge), bridge: name(&format!("br{bridge}")), mac: mac(100 + tap) },
            )
        };
        let known = |(_, port): &(IfName, Port)| segments.iter().any(|s| s.bridge == port.bridge);
        let ports: BTreeMap<IfName, Port> = ports.into_iter().map(port).filter(known).collect();
        Desired { segments, ports }
    })
}

/// A link before it is fitted to the others: what it is, whose, and where, as numbers to choose by.
type Draw = (u8, (bool, bool, bool), u8, u8, (bool, bool, bool), u32);

fn kind(draw: &Draw, trunks: &[u32]) -> Kind {
    let (what, _, id, parent, (stp, snooping, other), _) = *draw;
    match what % 3 {
        0 => Kind::Bridge(BridgeOptions {
            stp,
            mcast_snooping: snooping,
            vlan_filtering: other,
            group_fwd_mask: if parent % 2 == 0 { 0 } else { FORWARDED_GROUPS },
            no_linklocal_learn: [None, Some(false), Some(true)][usize::from(id) % 3],
        }),
        1 if !trunks.is_empty() => {
            let parent = trunks.get(usize::from(parent) % trunks.len()).copied();
            Kind::Vlan { id: u16::from(id % 9 + 1), parent, dot1q: stp || other }
        }
        _ => Kind::Other(if stp { "dummy" } else { "tun" }.to_owned()),
    }
}

/// Whether a trunk is there, up, its MTU, and whether its name, its alternative name, or nothing is as the manifest has it.
type TrunkDraw = (bool, bool, u32, u8);

fn links(trunks: Vec<TrunkDraw>, draws: Vec<(usize, Draw)>) -> BTreeMap<u32, Link> {
    let mut links = BTreeMap::new();
    let blank = |index: u32, name: &str, mtu: u32| Link {
        index,
        name: name.to_owned(),
        up: true,
        mtu,
        mac: Some(mac(9)),
        ipv6: (mtu >= 1280).then_some(true),
        ..Link::default()
    };
    links.insert(1, blank(1, "lo", 65536));
    for (i, (_, up, mtu, called)) in trunks.into_iter().enumerate().filter(|(_, trunk)| trunk.0) {
        let index = u32::try_from(i).unwrap() + 2;
        let name = if called < 2 { TRUNKS[i] } else { RENAMED[i] };
        let altnames = if called == 2 { vec![TRUNKS[i].to_owned()] } else { Vec::new() };
        links.insert(index, Link { up, altnames, ..blank(index, name, mtu) });
    }
    let trunks: Vec<u32> = links.keys().copied().filter(|index| *index > 1).collect();
    let mut tags = BTreeSet::new();
    for (i, (which, draw)) in draws.into_iter().enumerate() {
        let (index, text) = (u32::try_from(i).unwrap() + 5, NAMES[which]);
        let kind = kind(&draw, &trunks);
        let (_, (up, ours, ipv6), number, _, (_, _, leaving), mtu) = draw;
        let alias = TRUNKS.get(usize::from(number % 3)).map(|trunk| trunk_alias(&name(trunk)));
        let mut link = Link { up, mac: Some(mac(number % 4 + 1)), alias, ..blank(index, text, mtu) };
        if let Kind::Vlan { id, parent: Some(parent), .. } = kind {
            let carrier = &links[&parent];
            // A trunk that cannot come up is a failed step, and no matter of plans.
            if TRUNKS.contains(&text) {
                continue;
            }
            link.mtu = link.mtu.min(carrier.mtu);
            link.up &= carrier.up;
            if !tags.insert((parent, id)) {
                continue;
            }
        }
        if links.values().any(|other| other.name == text || other.altnames.iter().any(|name| name == text)) {
            continue;
        }
        link.ipv6 = (link.mtu >= 1280).then_some(ipv6);
        if ours && matches!(kind, Kind::Bridge(_) | Kind::Vlan { .. }) {
            link.group = if leaving && number % 5 == 0 { LEAVING_GROUP } else { LINK_GROUP };
        }
        // What cannot be decoded is known by the name of its kind alone.
        let unread = (number % 9 == 8).then(|| "torn".to_owned());
        let kind = if unread.is_some() { Kind::Other(kind.name().to_owned()) } else { kind };
        links.insert(index, Link { kind, unread, ..link });
    }
    links
}

/// Puts ports on bridges.
fn enslave(links: &mut BTreeMap<u32, Link>, choices: &[(u8, bool)]) {
    let bridges: Vec<u32> =
        links.values().filter(|link| matches!(link.kind, Kind::Bridge(_))).map(|link| link.index).collect();
    let ports = links.values_mut().filter(|link| link.index > 4 && !matches!(link.kind, Kind::Bridge(_)));
    for (link, (choice, guest)) in ports.zip(choices) {
        link.master = bridges.get(usize::from(*choice)).copied();
        link.port = link.master.map(|_| if *guest { PortFlags::guest(true) } else { PortFlags::uplink(true) });
    }
}

fn address_of(links: &BTreeMap<u32, Link>, placed: Vec<(u8, usize, u8)>) -> Vec<Address> {
    let indexes: Vec<u32> = links.keys().copied().collect();
    let mut list: Vec<Address> = Vec::new();
    for (where_, which, protocol) in placed {
        let index = indexes[usize::from(where_) % indexes.len()];
        let address: IpNet = ADDRESSES[which].parse().unwrap();
        let on = |a: &&Address| a.index == index;
        let v6 = address.addr().is_ipv6();
        if list.iter().filter(on).any(|a| a.address == address || v6 && a.address.addr() == address.addr())
            || v6 && links[&index].ipv6 != Some(true)
        {
            continue;
        }
        let secondary = !v6 && list.iter().filter(on).any(|a| a.address.trunc() == address.trunc() && !a.secondary);
        let protocol = if protocol % 2 == 0 { PROTOCOL } else { 0 };
        list.push(Address { index, address, protocol, secondary, duplicate: false });
    }
    list
}

fn routes_of(links: &BTreeMap<u32, Link>, addresses: &[Address], placed: Vec<(u8, bool, u8, u8)>) -> Vec<Route> {
    let mut list: Vec<Route> = Vec::new();
    for (which, v6, metric, protocol) in placed {
        let gateway: IpAddr = if v6 { "2001:db8::fe" } else { "10.0.1.254" }.parse().unwrap();
        let near: Vec<&Address> =
            addresses.iter().filter(|a| a.address.contains(&gateway) && links[&a.index].up).collect();
        let Some(address) = near.get(usize::from(which) % near.len().max(1)) else { continue };
        let metric = [DEFAULT_METRIC, 100, 1024, 7][usize::from(metric) % 4];
        let destination: IpNet = if v6 { "::/0" } else { "0.0.0.0/0" }.parse().unwrap();
        if list.iter().any(|r| r.destination == destination && r.metric == metric) {
            continue;
        }
        let protocol = if protocol % 2 == 0 { PROTOCOL } else { 3 };
        let (gateway, index) = (Some(gateway), Some(address.index));
        list.push(Route { table: 254, destination, gateway, index, metric, protocol });
    }
    list
}

pub(super) fn observed() -> impl Strategy<Value = Observed> {
    let mtu = || prop_oneof![Just(1500_u32), Just(9000), Just(1400), Just(1200)];
    let trunks = proptest::collection::vec((proptest::bool::weighted(0.8), any::<bool>(), mtu(), 0..4_u8), 2);
    let has_ipv6 = proptest::bool::weighted(0.9);
    let draw = (any::<u8>(), any::<(bool, bool, bool)>(), any::<u8>(), any::<u8>(), any::<(bool, bool, bool)>(), mtu());
    let draws = proptest::collection::vec((0..NAMES.len(), draw), 0..12);
    let ports = proptest::collection::vec((0..4_u8, any::<bool>()), 12);
    let addresses = proptest::collection::vec((any::<u8>(), 0..ADDRESSES.len(), any::<u8>()), 0..8);
    let routes = proptest::collection::vec((any::<u8>(), any::<bool>(), any::<u8>(), any::<u8>()), 0..4);
    let fdb = proptest::collection::vec((any::<u8>(), 100..104_u8), 0..4);
    let all = (trunks, draws, ports, addresses, routes, fdb, has_ipv6);
    all.prop_map(|(trunks, draws, ports, addresses, routes, fdb, has_ipv6)| {
        let mut links = links(trunks, draws);
        if !has_ipv6 {
            links.values_mut().for_each(|link| link.ipv6 = None);
        }
        enslave(&mut links, &ports);
        let addresses = address_of(&links, addresses);
        let routes = routes_of(&links, &addresses, routes);
        let taps: Vec<u32> =
            links.values().filter(|l| l.port.is_some() && l.name.starts_with("tap")).map(|l| l.index).collect();
        let entry = |(which, last): (u8, u8)| {
            taps.get(usize::from(which) % taps.len().max(1)).map(|index| FdbEntry {
                index: *index,
                mac: mac(last),
                sticky: which % 2 == 0,
            })
        };
        let fdb: BTreeSet<FdbEntry> = fdb.into_iter().filter_map(entry).collect();
        let links = links.into_values().collect();
        Observed { links, addresses, routes, fdb: fdb.into_iter().collect(), unread: Vec::new() }
    })
}

pub(super) fn kernel() -> impl Strategy<Value = KernelOptions> {
    any::<(bool, bool)>().prop_map(|(promotes, ipv6)| KernelOptions { promotes, ipv6 })
}
