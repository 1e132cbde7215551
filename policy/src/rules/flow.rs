//! The rules of one allow: there for the opener's packets, back for the answers.
//!
//! Every rule looks at the packet that opened the flow (`ct original`), so that answers, and errors about the flow, need the
//! same allow as the flow itself: where it is taken away, what runs is cut.

use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::model::{Allow, Traffic};
use crate::rule::*;

const STATE: Field = Field::Ct("state");
const DIRECTION: Field = Field::Ct("direction");
const PROTOCOL: Field = Field::Ct("protocol");
const NEW: &[&str] = &["new"];
/// An expected flow begins as `related`; it still has to be what is allowed.
const GOING_ON: &[&str] = &["established", "related"];
const RELATED: &[&str] = &["related"];
const WITHOUT_FLOW: &[&str] = &["invalid", "untracked"];
const ICMP: u32 = 1;
const TCP: u32 = 6;
const UDP: u32 = 17;
const ICMPV6: u32 = 58;

/// The rules of one allow.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// In the direction of the allow.
    pub(super) there: Vec<Rule>,
    /// Against it.
    pub(super) back: Vec<Rule>,
}

/// An address family with the networks that narrow an allow in it; `None` stands for both families, not narrowed.
struct Nets {
    family: Option<u32>,
    from: Vec<Value>,
    to: Vec<Value>,
}

pub(super) fn flow(allow: &Allow, counter: &str) -> Flow {
    let mut flow = Flow::default();
    for nets in nets(allow) {
        let draft = Draft { nets: &nets, counter };
        let Traffic { any, tcp, udp, icmp } = &allow.what;
        if *any {
            draft.any(&mut flow);
        }
        draft.ports(TCP, tcp, &mut flow);
        draft.ports(UDP, udp, &mut flow);
        draft.icmp(icmp, &mut flow);
    }
    flow
}

struct Draft<'a> {
    nets: &'a Nets,
    counter: &'a str,
}

impl Draft<'_> {
    /// Whatever the opener sends, with a flow or without; answers only within a flow.
    fn any(&self, flow: &mut Flow) {
        flow.there.push(self.original(Rule::new()).bits(STATE, NEW).count(self.counter).accept());
        flow.there.push(self.original(Rule::new()).is(DIRECTION, "original").bits(STATE, GOING_ON).accept());
        flow.there.push(self.packet(Rule::new()).bits(STATE, WITHOUT_FLOW).accept());
        flow.back.push(self.original(Rule::new()).is(DIRECTION, "reply").bits(STATE, GOING_ON).accept());
    }

    fn ports(&self, protocol: u32, ports: &[RangeInclusive<u16>], flow: &mut Flow) {
        let ports = merged(ports);
        if ports.is_empty() {
            return;
        }
        let to_port = |rule: Rule| self.original(rule.values(Field::Original("proto-dst"), ports.clone()));
        let packets = || to_port(Rule::new().number(L4PROTO, protocol));
        flow.there.push(packets().bits(STATE, NEW).count(self.counter).accept());
        flow.there.push(packets().is(DIRECTION, "original").bits(STATE, GOING_ON).accept());
        flow.back.push(packets().is(DIRECTION, "reply").bits(STATE, GOING_ON).accept());
        for carrier in self.carriers() {
            let error = || to_port(Rule::new().number(L4PROTO, carrier).number(PROTOCOL, protocol));
            flow.there.push(error().is(DIRECTION, "original").bits(STATE, RELATED).accept());
            flow.back.push(error().is(DIRECTION, "reply").bits(STATE, RELATED).accept());
        }
    }

    fn icmp(&self, names: &[String], flow: &mut Flow) {
        for carrier in self.carriers() {
            let (field, kinds) = if carrier == ICMP { (ICMP_TYPE, ICMP_KINDS) } else { (ICMPV6_TYPE, ICMPV6_KINDS) };
            for Kind { name, answer } in kinds.iter().filter(|kind| names.iter().any(|name| name == kind.name)) {
                let message = |name| Rule::new().is(field, name);
                let Some(answer) = answer else {
                    // An error without a flow of its own has no state to go by.
                    flow.there.push(self.packet(message(name)).count(self.counter).accept());
                    continue;
                };
                flow.there.push(self.original(message(name)).bits(STATE, NEW).count(self.counter).accept());
                let going = self.original(message(name)).is(DIRECTION, "original");
                flow.there.push(going.bits(STATE, GOING_ON).accept());
                let answering = self.original(message(answer)).is(DIRECTION, "reply");
                flow.back.push(answering.bits(STATE, GOING_ON).accept());
                let error = || self.original(Rule::new().number(L4PROTO, carrier).number(PROTOCOL, carrier));
                for (rules, direction) in [(&mut flow.there, "original"), (&mut flow.back, "reply")] {
                    rules.push(error().is(DIRECTION, direction).bits(STATE, RELATED).accept());
                }
            }
        }
    }

    fn carriers(&self) -> Vec<u32> {
        self.nets.family.map_or_else(|| vec![ICMP, ICMPV6], |family| vec![family])
    }

    /// Narrowed by the addresses of the packet that opened the flow.
    fn original(&self, rule: Rule) -> Rule {
        let (saddr, daddr) =
            if self.nets.family == Some(ICMPV6) { ("ip6 saddr", "ip6 daddr") } else { ("ip saddr", "ip daddr") };
        self.narrowed(rule, Field::Original(saddr), Field::Original(daddr))
    }

    /// Narrowed by the packet's own addresses.
    fn packet(&self, rule: Rule) -> Rule {
        let protocol = if self.nets.family == Some(ICMPV6) { "ip6" } else { "ip" };
        self.narrowed(rule, Field::Payload(protocol, "saddr"), Field::Payload(protocol, "daddr"))
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

/// An ICMP message that can be allowed, with the one that answers it.
struct Kind {
    name: &'static str,
    answer: Option<&'static str>,
}

const ICMP_KINDS: &[Kind] = &[
    Kind { name: "echo-request", answer: Some("echo-reply") },
    Kind { name: "timestamp-request", answer: Some("timestamp-reply") },
    Kind { name: "destination-unreachable", answer: None },
    Kind { name: "time-exceeded", answer: None },
    Kind { name: "parameter-problem", answer: None },
];
const ICMPV6_KINDS: &[Kind] = &[
    Kind { name: "echo-request", answer: Some("echo-reply") },
    Kind { name: "destination-unreachable", answer: None },
    Kind { name: "packet-too-big", answer: None },
    Kind { name: "time-exceeded", answer: None },
    Kind { name: "parameter-problem", answer: None },
];

/// The families in which an allow applies: both sides have to name networks of it, or none at all.
fn nets(allow: &Allow) -> Vec<Nets> {
    if allow.from_net.is_empty() && allow.to_net.is_empty() {
        return vec![Nets { family: None, from: Vec::new(), to: Vec::new() }];
    }
    let families = [(ICMP, true), (ICMPV6, false)];
    let of = |nets: &[IpNet], v4: bool| -> Option<Vec<Value>> {
        let own: Vec<IpNet> = nets.iter().copied().filter(|net| net.addr().is_ipv4() == v4).collect();
        if own.is_empty() && !nets.is_empty() { None } else { Some(merged_nets(&own)) }
    };
    let pick =
        |(family, v4)| Some(Nets { family: Some(family), from: of(&allow.from_net, v4)?, to: of(&allow.to_net, v4)? });
    families.into_iter().filter_map(pick).collect()
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
