//! The rules of one allow: there for the opener's packets, back for the answers.
//!
//! Every rule looks at the packet that opened the flow (`ct original`), so that answers, and errors about the flow, need the
//! same allow as the flow itself: where it is taken away, what runs is cut.

use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::model::{Allow, IcmpType, Traffic};
use crate::rule::*;

const STATE: Field = Field::Ct(Ct::State);
const DIRECTION: Field = Field::Ct(Ct::Direction);
const PROTOCOL: Field = Field::Ct(Ct::Protocol);
const NEW: &[&str] = &["new"];
/// An expected flow begins as `related`; it still has to be what is allowed.
const GOING_ON: &[&str] = &["established", "related"];
const RELATED: &[&str] = &["related"];
const WITHOUT_FLOW: &[&str] = &["invalid", "untracked"];

/// The rules of one allow.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// In the direction of the allow.
    pub(super) there: Vec<Rule>,
    /// Against it.
    pub(super) back: Vec<Rule>,
}

/// A version of IP with the networks that narrow an allow in it; `None` stands for both versions, not narrowed.
struct Nets {
    version: Option<IpVersion>,
    from: Vec<Value>,
    to: Vec<Value>,
}

pub(super) fn flow(allow: &Allow, counter: &str) -> Flow {
    let mut flow = Flow::default();
    for nets in nets(allow) {
        let rules = AllowRules { nets: &nets, counter };
        let Traffic { any, tcp, udp, icmp } = &allow.what;
        if *any {
            rules.any(&mut flow);
        }
        rules.ports(Protocol::Tcp, tcp, &mut flow);
        rules.ports(Protocol::Udp, udp, &mut flow);
        rules.icmp(icmp, &mut flow);
    }
    flow
}

struct AllowRules<'a> {
    nets: &'a Nets,
    counter: &'a str,
}

impl AllowRules<'_> {
    /// Whatever the opener sends, with a flow or without; answers only within a flow.
    fn any(&self, flow: &mut Flow) {
        flow.there.push(self.original(Rule::new()).bits(STATE, NEW).count(self.counter).accept());
        flow.there.push(self.original(Rule::new()).is(DIRECTION, "original").bits(STATE, GOING_ON).accept());
        flow.there.push(self.packet(Rule::new()).bits(STATE, WITHOUT_FLOW).accept());
        flow.back.push(self.original(Rule::new()).is(DIRECTION, "reply").bits(STATE, GOING_ON).accept());
    }

    fn ports(&self, protocol: Protocol, ports: &[RangeInclusive<u16>], flow: &mut Flow) {
        let ports = merged(ports);
        if ports.is_empty() {
            return;
        }
        let to_port = |rule: Rule| self.original(rule.values(Field::Original(Original::ProtoDst), ports.clone()));
        let packets = || to_port(Rule::new().protocol(protocol));
        flow.there.push(packets().bits(STATE, NEW).count(self.counter).accept());
        flow.there.push(packets().is(DIRECTION, "original").bits(STATE, GOING_ON).accept());
        flow.back.push(packets().is(DIRECTION, "reply").bits(STATE, GOING_ON).accept());
        for version in self.versions() {
            let error = || to_port(Rule::new().protocol(version.icmp()).number(PROTOCOL, protocol.number()));
            flow.there.push(error().is(DIRECTION, "original").bits(STATE, RELATED).accept());
            flow.back.push(error().is(DIRECTION, "reply").bits(STATE, RELATED).accept());
        }
    }

    fn icmp(&self, types: &[IcmpType], flow: &mut Flow) {
        for version in self.versions() {
            let field = icmp_type(version);
            // In one order, each once, whatever the manifest's.
            for kind in IcmpType::ALL.into_iter().filter(|kind| types.contains(kind) && exists(*kind, version)) {
                let message = |name| Rule::new().is(field, name);
                let Some(reply) = kind.reply() else {
                    // An error without a flow of its own has no state to go by.
                    flow.there.push(self.packet(message(kind.name())).count(self.counter).accept());
                    continue;
                };
                flow.there.push(self.original(message(kind.name())).bits(STATE, NEW).count(self.counter).accept());
                let going = self.original(message(kind.name())).is(DIRECTION, "original");
                flow.there.push(going.bits(STATE, GOING_ON).accept());
                let replying = self.original(message(reply)).is(DIRECTION, "reply");
                flow.back.push(replying.bits(STATE, GOING_ON).accept());
                let icmp = version.icmp();
                let error = || self.original(Rule::new().protocol(icmp).number(PROTOCOL, icmp.number()));
                for (rules, direction) in [(&mut flow.there, "original"), (&mut flow.back, "reply")] {
                    rules.push(error().is(DIRECTION, direction).bits(STATE, RELATED).accept());
                }
            }
        }
    }

    fn versions(&self) -> Vec<IpVersion> {
        self.nets.version.map_or_else(|| vec![IpVersion::V4, IpVersion::V6], |version| vec![version])
    }

    /// Narrowed by the addresses of the packet that opened the flow.
    fn original(&self, rule: Rule) -> Rule {
        let Some(version) = self.nets.version else { return rule };
        self.narrowed(rule, Field::Original(Original::Saddr(version)), Field::Original(Original::Daddr(version)))
    }

    /// Narrowed by the packet's own addresses.
    fn packet(&self, rule: Rule) -> Rule {
        let Some(header) = self.nets.version.map(IpVersion::header) else { return rule };
        self.narrowed(rule, Field::Payload(header, "saddr"), Field::Payload(header, "daddr"))
    }

    fn narrowed(&self, mut rule: Rule, saddr: Field, daddr: Field) -> Rule {
        for (field, nets) in [(saddr, &self.nets.from), (daddr, &self.nets.to)] {
            if !nets.is_empty() {
                rule = rule.values(field, nets.clone());
            }
        }
        rule
    }
}

const fn icmp_type(version: IpVersion) -> Field {
    match version {
        IpVersion::V4 => ICMP_TYPE,
        IpVersion::V6 => ICMPV6_TYPE,
    }
}

/// Whether the ICMP of that version has such a message.
fn exists(kind: IcmpType, version: IpVersion) -> bool {
    match version {
        IpVersion::V4 => kind.v4().is_some(),
        IpVersion::V6 => kind.v6().is_some(),
    }
}

/// The versions of IP in which an allow applies: both sides have to name networks of it, or none at all.
fn nets(allow: &Allow) -> Vec<Nets> {
    if allow.from_net.is_empty() && allow.to_net.is_empty() {
        return vec![Nets { version: None, from: Vec::new(), to: Vec::new() }];
    }
    let of = |nets: &[IpNet], version: IpVersion| -> Option<Vec<Value>> {
        let v4 = version == IpVersion::V4;
        let own: Vec<IpNet> = nets.iter().copied().filter(|net| net.addr().is_ipv4() == v4).collect();
        if own.is_empty() && !nets.is_empty() { None } else { Some(merged_nets(&own)) }
    };
    let pick = |version| {
        Some(Nets { version: Some(version), from: of(&allow.from_net, version)?, to: of(&allow.to_net, version)? })
    };
    [IpVersion::V4, IpVersion::V6].into_iter().filter_map(pick).collect()
}

/// As nft lists them: none within or beside another, a single address without its length.
fn merged_nets(nets: &[IpNet]) -> Vec<Value> {
    let value = |net: IpNet| {
        if net.prefix_len() == net.max_prefix_len() { Value::Word(net.addr().to_string()) } else { Value::Net(net) }
    };
    IpNet::aggregate(&nets.to_vec()).into_iter().map(value).collect()
}

/// As nft lists them: in order, none within or beside another.
fn merged(ports: &[RangeInclusive<u16>]) -> Vec<Value> {
    let mut sorted: Vec<(u16, u16)> = ports.iter().map(|range| (*range.start(), *range.end())).collect();
    sorted.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (first, last) in sorted.into_iter().filter(|(first, last)| first <= last) {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    let value = |(first, last)| if first == last { Value::Number(u32::from(first)) } else { Value::Range(first, last) };
    merged.into_iter().map(value).collect()
}
