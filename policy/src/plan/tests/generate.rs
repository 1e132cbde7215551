//! Manifests and states of the kernel, any of them, made of few names so that they meet.

use std::net::{Ipv4Addr, Ipv6Addr};

use bulkhead_types::{IfName, Mac, SegmentName};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::kernel_model::commit;
use crate::model::*;
use crate::plan::plan;

fn name(text: String) -> IfName {
    text.parse().unwrap()
}

/// The segment of a bridge of these tests: `lan20` of `br20`.
fn segment_of(bridge: &str) -> SegmentName {
    bridge.replacen("br", "lan", 1).parse().unwrap()
}

fn mac(last: u8) -> Mac {
    Mac::try_from([0x52, 0x54, 0, 0, 0, last]).unwrap()
}

fn bridge(number: u8, host: bool) -> Bridge {
    let addresses: &[&str] = if host { &["10.0.0.254/24", "2001:db8::254/64"] } else { &[] };
    Bridge {
        segment: Some(segment_of(&format!("br{number}"))),
        name: name(format!("br{number}")),
        outside: name(format!("vlan{number}")),
        mac: mac(0x80 + number),
        host,
        addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
    }
}

/// One guest with one NIC and one allow.
pub(super) fn one() -> Desired {
    let nic = nic(1, 20, 0b11, true);
    let what = Traffic { tcp: vec![443..=443, 444..=445, 80..=80], ..Traffic::default() };
    let (from, to) = (Endpoint::Guest(nic.guest.clone()), Endpoint::Outside(segment_of("br20")));
    let allow = Allow { from, to, from_net: Vec::new(), to_net: Vec::new(), what };
    Desired { bridges: vec![bridge(20, true)], nics: vec![nic], allows: vec![allow], ..Desired::default() }
}

fn nic(number: u8, bridge: u8, kinds: u8, dhcp: bool) -> Nic {
    let ipv4 = (kinds & 1 != 0).then_some(Ipv4Addr::new(10, 0, 0, number));
    let ipv6 = (kinds & 2 != 0).then_some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)));
    Nic {
        guest: format!("g{}", number / 2).parse().unwrap(),
        segment: segment_of(&format!("br{bridge}")),
        tap: name(format!("bh-{number}")),
        bridge: name(format!("br{bridge}")),
        mac: mac(number),
        ipv4: ipv4.into_iter().collect(),
        ipv6: ipv6.into_iter().collect(),
        dhcp,
    }
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let of_segment = || select(vec!["br20", "br30"]).prop_map(segment_of);
    prop_oneof![
        3 => (0..3_u8).prop_map(|n| Endpoint::Guest(format!("g{n}").parse().unwrap())),
        2 => of_segment().prop_map(Endpoint::Segment),
        2 => of_segment().prop_map(Endpoint::Outside),
        1 => Just(Endpoint::Host),
    ]
}

fn traffic() -> impl Strategy<Value = Traffic> {
    let ports = || vec((1..2000_u16, 0..200_u16).prop_map(|(first, more)| first..=first + more), 0..3);
    let lists = (ports(), ports(), proptest::sample::subsequence(IcmpType::ALL.to_vec(), 0..=6));
    prop_oneof![
        Just(Traffic { any: true, ..Traffic::default() }),
        lists.prop_map(|(tcp, udp, icmp)| Traffic { any: false, tcp, udp, icmp }),
    ]
}

fn allow() -> impl Strategy<Value = Allow> {
    let known = ["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "192.168.1.1/32", "2001:db8::/32", "::/0"];
    let net =
        move || vec(select(known.to_vec()), 0..3).prop_map(|nets| nets.iter().map(|n| n.parse().unwrap()).collect());
    (endpoint(), endpoint(), net(), net(), traffic()).prop_map(|(from, to, from_net, to_net, what)| Allow {
        from,
        to,
        from_net,
        to_net,
        what,
    })
}

pub(super) fn desired() -> impl Strategy<Value = Desired> {
    let bridges = vec(any::<bool>(), 0..=2)
        .prop_map(|hosts| hosts.into_iter().zip([20, 30]).map(|(host, number)| bridge(number, host)).collect());
    let nics = proptest::collection::btree_map(1..6_u8, (select(vec![20_u8, 30]), 0..4_u8, any::<bool>()), 0..5);
    let nics =
        nics.prop_map(|nics| nics.into_iter().map(|(n, (bridge, kinds, dhcp))| nic(n, bridge, kinds, dhcp)).collect());
    (bridges, nics, vec(allow(), 0..6)).prop_map(|(bridges, nics, allows)| Desired {
        bridges,
        nics,
        allows,
        ..Desired::default()
    })
}

/// Some of a dozen bridges, in any order.
pub(super) fn bridges() -> impl Strategy<Value = Vec<Bridge>> {
    let all: Vec<u8> = (20..32).collect();
    proptest::sample::subsequence(all, 1..=12)
        .prop_shuffle()
        .prop_map(|numbers| numbers.into_iter().map(|number| bridge(number, number % 2 == 0)).collect())
}

/// What somebody may have done to a table that nobody holds.
fn damage(found: &mut ObservedTable, (kind, at): (u8, Index)) {
    let chain = |found: &ObservedTable| {
        (!found.chains.is_empty()).then(|| found.chains.keys().nth(at.index(found.chains.len())).cloned())
    };
    let set = |found: &ObservedTable| {
        (!found.sets.is_empty()).then(|| found.sets.keys().nth(at.index(found.sets.len())).cloned())
    };
    let (chain, set) = (chain(found).flatten(), set(found).flatten());
    match (kind, chain, set) {
        (0, Some(chain), _) => found.chains.entry(chain).or_default().rules.clear(),
        (1, Some(chain), _) => {
            found.chains.entry(chain).or_default().rules.push(serde_json::json!([{ "accept": null }]))
        }
        (2, Some(chain), _) => found.chains.entry(chain).or_default().base = Some("type filter hook input".to_owned()),
        (3, _, Some(set)) => found.sets.entry(set).or_default().elements.clear(),
        (4, _, Some(set)) => found.sets.entry(set).or_default().key = vec!["mark".to_owned()],
        (5, _, Some(set)) => found.sets.entry(set).or_default().foreign_form = true,
        (6, ..) => {
            found.chains.insert(
                "theirs".to_owned(),
                ObservedChain { base: Some("type nat".to_owned()), ..ObservedChain::default() },
            );
        }
        (7, ..) => {
            found
                .sets
                .insert("theirs".to_owned(), ObservedSet { verdicts: at.index(2) == 0, ..ObservedSet::default() });
        }
        (8, ..) => found.foreign.push(("quota".to_owned(), "theirs".to_owned())),
        (9, ..) => drop(found.counters.insert("theirs".to_owned())),
        (10, ..) => drop(found.flags.remove("owner")),
        (11, ..) => found.flags.clear(),
        _ => {}
    }
}

/// What a kernel may have: nothing, or what some manifest wanted of it, with damage.
pub(super) fn observed() -> impl Strategy<Value = Observed> {
    let damages = vec((0..14_u8, any::<Index>()), 0..4);
    (desired(), any::<bool>(), any::<bool>(), 0..4_u8, damages).prop_map(
        |(desired, ownable, lockdown, gone, damages)| {
            let mut observed = Observed { ownable, lockdown, ..Observed::default() };
            let steps = plan(&desired, &observed).steps;
            commit(&mut observed, &steps).unwrap();
            observed.lockdown = lockdown;
            for (i, one) in damages.into_iter().enumerate() {
                let family = ["bridge", "arp", "inet"][i % 3];
                if let Some(found) = observed.tables.get_mut(family) {
                    damage(found, one);
                }
            }
            if gone == 1 {
                observed.tables.remove("inet");
            }
            observed
        },
    )
}
