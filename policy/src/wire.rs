//! What libnftables is told, as JSON (libnftables-json(5)), and how what it lists is compared with it.
//!
//! The crate `nftables` says most of it; what it cannot say stands in [`beyond`], all of it.

mod beyond;

use std::borrow::Cow;

use ipnet::IpNet;
use nftables::expr::{
    BinaryOperation, CT, CTDir, Expression, Exthdr, Map, Meta as MetaExpression, MetaKey, NamedExpression, Payload,
    PayloadBase, PayloadField,
};
use nftables::expr::{PayloadRaw, Prefix, Range, SetItem, Verdict as VerdictExpression};
use nftables::schema::{self, FlushObject, NfCmd, NfListObject, NfObject};
use nftables::stmt::{self, JumpTarget, Mangle, Match, Operator, VerdictMap};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use serde_json::Value as Json;

use crate::rule::{Ct, FRAGMENT_BITS, Field, Header, Meta, Right, Rule, Statement, Value, Verdict};
use crate::step::{Change, Step};
use crate::table::{Family, HookPoint};

pub(crate) use beyond::{claim, comparable, has_our_flags, list_table, our_flags, probe};

/// One transaction.
pub(crate) fn transaction(steps: &[Step]) -> Result<String, serde_json::Error> {
    let commands = steps.iter().map(|step| Ok(command(step)?.to_string())).collect::<Result<Vec<_>, _>>()?;
    Ok(beyond::commands(&commands))
}

fn command(step: &Step) -> Result<Json, serde_json::Error> {
    let (family, table) = (step.family, Cow::Borrowed(step.table));
    let known = |command| beyond::renamed(serde_json::to_value(NfObject::CmdObject(command))?);
    let chain = |name: &str| schema::Chain {
        family: nf_family(family),
        table: table.clone(),
        name: name.to_owned().into(),
        ..schema::Chain::default()
    };
    let counter = |name: &str| {
        NfListObject::Counter(schema::Counter {
            family: nf_family(family),
            table: table.clone(),
            name: name.to_owned().into(),
            ..schema::Counter::default()
        })
    };
    match &step.change {
        Change::AddTable { owned } => Ok(beyond::add_table(family, step.table, *owned)),
        Change::DeleteTable => {
            let table = schema::Table { family: nf_family(family), name: table.clone(), handle: None };
            known(NfCmd::Delete(NfListObject::Table(table)))
        }
        Change::AddCounter { name } => known(NfCmd::Add(counter(name))),
        Change::DeleteCounter { name } => known(NfCmd::Delete(counter(name))),
        Change::AddSet { name, key, verdicts } => Ok(beyond::add_set(family, step.table, name, key, *verdicts)),
        Change::AddElements { name, elements, .. } => {
            let elements = elements.iter().map(|(key, verdict)| element(key, verdict.as_ref())).collect::<Vec<_>>();
            known(NfCmd::Add(element_object(family, &table, name, elements)))
        }
        Change::DeleteElements { name, elements, .. } => {
            let elements = elements.iter().map(|key| element(key, None)).collect::<Vec<_>>();
            known(NfCmd::Delete(element_object(family, &table, name, elements)))
        }
        Change::AddChain { name, hook } => {
            let base = hook.map(|hook| schema::Chain {
                _type: Some(NfChainType::Filter),
                hook: Some(nf_hook(hook.point)),
                prio: Some(hook.priority),
                policy: Some(NfChainPolicy::Accept),
                ..chain(name)
            });
            known(NfCmd::Add(NfListObject::Chain(base.unwrap_or_else(|| chain(name)))))
        }
        Change::FlushChain { name } => known(NfCmd::Flush(FlushObject::Chain(chain(name)))),
        Change::DeleteChain { name } => known(NfCmd::Delete(NfListObject::Chain(chain(name)))),
        Change::AddRule { chain, rule } => known(NfCmd::Add(NfListObject::Rule(schema::Rule {
            family: nf_family(family),
            table: table.clone(),
            chain: chain.clone().into(),
            expr: expressions(rule).into(),
            ..schema::Rule::default()
        }))),
        Change::DeleteObject { kind, name } => Ok(beyond::delete(family, step.table, kind, name)),
    }
}

/// The rule as the kernel lists it, in the form that [`comparable`] gives to what is listed.
pub(crate) fn listed(rule: &Rule) -> Result<Json, serde_json::Error> {
    beyond::renamed(serde_json::to_value(expressions(rule))?).map(comparable)
}

/// The conntrack zones that a listed rule gives to bridges: the way back from [`Statement::Zone`]. What has another form
/// gives none.
pub(crate) fn zones(rule: &Json) -> Vec<(String, u16)> {
    let zone = |row: &Json| {
        let [bridge, zone] = row.as_array()?.as_slice() else { return None };
        Some((bridge.as_str()?.to_owned(), u16::try_from(zone.as_u64()?).ok()?))
    };
    let rows = |statement: &Json| {
        let zones = statement.pointer("/mangle/key/ct/key")? == "zone"
            && statement.pointer("/mangle/value/map/key/meta/key")? == "ibrname";
        let rows = statement.pointer("/mangle/value/map/data/set")?.as_array().filter(|_| zones)?;
        Some(rows.iter().filter_map(zone).collect::<Vec<_>>())
    };
    rule.as_array().into_iter().flatten().filter_map(rows).flatten().collect()
}

fn nf_family(family: Family) -> NfFamily {
    match family {
        Family::Bridge => NfFamily::Bridge,
        Family::Inet => NfFamily::INet,
        Family::Arp => NfFamily::ARP,
    }
}

fn nf_hook(point: HookPoint) -> NfHook {
    match point {
        HookPoint::Prerouting => NfHook::Prerouting,
        HookPoint::Input => NfHook::Input,
        HookPoint::Forward => NfHook::Forward,
        HookPoint::Output => NfHook::Output,
    }
}

fn element_object<'a>(
    family: Family,
    table: &Cow<'a, str>,
    name: &'a str,
    elements: Vec<Expression<'a>>,
) -> NfListObject<'a> {
    NfListObject::Element(schema::Element {
        family: nf_family(family),
        table: table.clone(),
        name: name.into(),
        elem: elements.into(),
    })
}

fn element<'a>(key: &'a [String], verdict: Option<&'a Verdict>) -> Expression<'a> {
    let key = words(key);
    match verdict {
        Some(verdict) => Expression::List(vec![key, Expression::Verdict(verdict_expression(verdict))]),
        None => key,
    }
}

fn words(words: &[String]) -> Expression<'_> {
    let text = |word: &'_ String| Expression::String(word.clone().into());
    match words {
        [one] => text(one),
        many => Expression::Named(NamedExpression::Concat(many.iter().map(text).collect())),
    }
}

fn verdict_expression(verdict: &Verdict) -> VerdictExpression<'_> {
    match verdict {
        Verdict::Accept => VerdictExpression::Accept,
        Verdict::Drop => VerdictExpression::Drop,
        Verdict::Jump(chain) => VerdictExpression::Jump(target(chain)),
        Verdict::Goto(chain) => VerdictExpression::Goto(target(chain)),
    }
}

fn target(chain: &str) -> JumpTarget<'_> {
    JumpTarget { target: chain.into() }
}

fn expressions(rule: &Rule) -> Vec<stmt::Statement<'_>> {
    rule.0.iter().map(statement).collect()
}

fn statement(statement: &Statement) -> stmt::Statement<'_> {
    match statement {
        Statement::Match(fields, right) => {
            let op = if matches!(right, Right::Bits(_)) { Operator::IN } else { Operator::EQ };
            stmt::Statement::Match(Match { left: fields_expression(fields), right: right_expression(right), op })
        }
        Statement::Ipv4Fragment => {
            let field = field(Field::Payload(Header::Ip, "frag-off"));
            let bits = BinaryOperation::AND(field, Expression::Number(FRAGMENT_BITS));
            let left = Expression::BinaryOperation(Box::new(bits));
            stmt::Statement::Match(Match { left, right: Expression::Number(0), op: Operator::NEQ })
        }
        Statement::Count(counter) => stmt::Statement::Counter(stmt::Counter::Named(counter.into())),
        Statement::Verdict(Verdict::Accept) => stmt::Statement::Accept(None),
        Statement::Verdict(Verdict::Drop) => stmt::Statement::Drop(None),
        Statement::Verdict(Verdict::Jump(chain)) => stmt::Statement::Jump(target(chain)),
        Statement::Verdict(Verdict::Goto(chain)) => stmt::Statement::Goto(target(chain)),
        Statement::Lookup(fields, map) => {
            let data = Expression::String(format!("@{map}").into());
            stmt::Statement::VerdictMap(VerdictMap { key: fields_expression(fields), data })
        }
        Statement::Choose(key, cases) => {
            let case = |(value, chain): &(&'static str, &'static str)| {
                let verdict = Expression::Verdict(VerdictExpression::Goto(target(chain)));
                SetItem::Mapping(Expression::String((*value).into()), verdict)
            };
            let data = Expression::Named(NamedExpression::Set(cases.iter().map(case).collect()));
            stmt::Statement::VerdictMap(VerdictMap { key: field(*key), data })
        }
        Statement::Zone(zones) => {
            let zone = |(bridge, zone): &(String, u16)| {
                SetItem::Mapping(Expression::String(bridge.clone().into()), Expression::Number(u32::from(*zone)))
            };
            let data = Expression::Named(NamedExpression::Set(zones.iter().map(zone).collect()));
            let value =
                Expression::Named(NamedExpression::Map(Box::new(Map { key: field(crate::rule::IBRNAME), data })));
            stmt::Statement::Mangle(Mangle { key: field(Field::Ct(Ct::Zone)), value })
        }
    }
}

fn fields_expression(fields: &[Field]) -> Expression<'static> {
    match fields {
        [one] => field(*one),
        many => Expression::Named(NamedExpression::Concat(many.iter().copied().map(field).collect())),
    }
}

fn field(field: Field) -> Expression<'static> {
    Expression::Named(match field {
        Field::Meta(key) => NamedExpression::Meta(MetaExpression { key: meta_key(key) }),
        Field::Payload(header, field) => NamedExpression::Payload(Payload::PayloadField(PayloadField {
            protocol: header.as_str().into(),
            field: field.into(),
        })),
        Field::Ct(key) => NamedExpression::CT(CT { key: key.as_str().into(), family: None, dir: None }),
        Field::Original(key) => {
            NamedExpression::CT(CT { key: key.as_str().into(), family: None, dir: Some(CTDir::Original) })
        }
        Field::Fragment => NamedExpression::Exthdr(Exthdr { name: "frag".into(), field: None, offset: None }),
        Field::Transport(offset, len) => {
            NamedExpression::Payload(Payload::PayloadRaw(PayloadRaw { base: PayloadBase::TH, offset, len }))
        }
    })
}

fn meta_key(key: Meta) -> MetaKey {
    match key {
        Meta::Iifname => MetaKey::Iifname,
        Meta::Oifname => MetaKey::Oifname,
        Meta::Ibrname => MetaKey::Ibridgename,
        Meta::Obrname => MetaKey::Obridgename,
        Meta::Pkttype => MetaKey::Pkttype,
        Meta::L4proto => MetaKey::L4proto,
    }
}

fn right_expression(right: &Right) -> Expression<'_> {
    match right {
        Right::Is(is) => value(is),
        Right::Exists => Expression::Boolean(true),
        Right::Among(values) => {
            Expression::Named(NamedExpression::Set(values.iter().map(|v| SetItem::Element(value(v))).collect()))
        }
        Right::In(set) => Expression::String(format!("@{set}").into()),
        Right::Bits([bit]) => Expression::String((*bit).into()),
        Right::Bits(bits) => Expression::List(bits.iter().map(|bit| Expression::String((*bit).into())).collect()),
    }
}

fn value(value: &Value) -> Expression<'_> {
    match value {
        Value::Word(word) => Expression::String(word.into()),
        Value::Number(number) => Expression::Number(*number),
        Value::Range(first, last) => {
            let range = [*first, *last].map(|port| Expression::Number(u32::from(port)));
            Expression::Range(Box::new(Range { range }))
        }
        Value::Net(net) => prefix(net),
        Value::Words(list) => words(list),
    }
}

fn prefix(net: &IpNet) -> Expression<'static> {
    let addr = Box::new(Expression::String(net.network().to_string().into()));
    Expression::Named(NamedExpression::Prefix(Prefix { addr, len: u32::from(net.prefix_len()) }))
}
