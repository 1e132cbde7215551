//! The interface file against the types: each reply has exactly the fields that the file says, of the kinds it says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at the first surprise, in its functions too

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_api::*;
use bulkhead_types::{Cause, Notice, Object};
use serde_json::Value;

/// What a name stands for in the file: fields with their types, or the values of an enum.
enum Shape {
    Fields(BTreeMap<String, String>),
    Values(BTreeSet<String>),
}

/// `type`, `error` and the replies of `method` (as `NAME()`), by name.
fn shapes() -> BTreeMap<String, Shape> {
    let text: String = DESCRIPTION.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(" ");
    let mut words = text.split_whitespace().peekable();
    let mut declarations: Vec<String> = Vec::new();
    for word in words.by_ref() {
        match declarations.last_mut() {
            Some(last) if !matches!(word, "type" | "error" | "method" | "interface") => *last += &format!(" {word}"),
            _ => declarations.push(word.to_owned()),
        }
    }
    let split = |declaration: &String| {
        let (kind, rest) = declaration.split_once(' ').unwrap();
        let (name, body) = match kind {
            "interface" => return None,
            "method" => rest.split_once("->").map(|(n, b)| (format!("{}()", n.split('(').next().unwrap()), b))?,
            _ => rest.split_once('(').map(|(n, _)| (n.trim().to_owned(), &rest[n.len()..]))?,
        };
        let body = body.trim().strip_prefix('(')?.strip_suffix(')')?;
        let parts = body.split(',').map(str::trim).filter(|part| !part.is_empty());
        let shape = if body.contains(':') || body.trim().is_empty() {
            let field = |part: &str| part.split_once(':').map(|(n, t)| (n.trim().to_owned(), t.trim().to_owned()));
            Shape::Fields(parts.map(|part| field(part).expect(part)).collect())
        } else {
            Shape::Values(parts.map(str::to_owned).collect())
        };
        Some((name, shape))
    };
    declarations.iter().filter_map(split).collect()
}

fn check(shapes: &BTreeMap<String, Shape>, kind: &str, value: &Value, at: &str) {
    if let Some(kind) = kind.strip_prefix('?') {
        return check(shapes, kind, value, at);
    }
    if let Some(kind) = kind.strip_prefix("[]") {
        let list = value.as_array().unwrap_or_else(|| panic!("{at} is no list: {value}"));
        assert!(!list.is_empty(), "{at}: the sample must fill every list");
        return list.iter().for_each(|item| check(shapes, kind, item, at));
    }
    match (kind, shapes.get(kind)) {
        ("string", _) => assert!(value.is_string(), "{at}: {value}"),
        ("int", _) => assert!(value.is_i64() || value.is_u64(), "{at}: {value}"),
        ("bool", _) => assert!(value.is_boolean(), "{at}: {value}"),
        ("object", _) => assert!(value.is_object(), "{at}: {value}"),
        (_, Some(Shape::Values(values))) => assert!(values.contains(value.as_str().expect(at)), "{at}: {value}"),
        (_, Some(Shape::Fields(fields))) => {
            let object = value.as_object().unwrap_or_else(|| panic!("{at} is no object: {value}"));
            for name in object.keys() {
                assert!(fields.contains_key(name), "{at}.{name} is not in the interface file");
            }
            for (name, kind) in fields {
                match object.get(name) {
                    Some(value) => check(shapes, kind, value, &format!("{at}.{name}")),
                    None => assert!(kind.starts_with('?'), "{at}.{name} is not in the reply and not optional"),
                }
            }
        }
        (_, None) => panic!("{at}: the interface file has no type {kind}"),
    }
}

/// A status in which nothing is left out.
fn full() -> Status {
    let notice =
        Notice { object: Object::Segment("lan".parse().unwrap()), cause: Cause::Foreign, text: "t".to_owned() };
    let why = Some("because".to_owned());
    let nic = Nic {
        segment: "lan".parse().unwrap(),
        tap: "bh-0123456789ab".parse().unwrap(),
        mac: "52:54:00:00:00:01".parse().unwrap(),
        bridge: "br20".parse().unwrap(),
        addresses: vec!["10.0.0.2".parse().unwrap()],
        dhcp: true,
    };
    Status {
        version: "1".to_owned(),
        ready: true,
        verified: true,
        teardown: true,
        manifest: Manifest {
            generation: Some(3),
            sha256: Some("ab".to_owned()),
            applied_at_us: Some(1),
            pending: true,
            errors: vec![problem()],
        },
        phases: vec![PhaseTimes { phase: Phase::Policy, since_start_us: Some(1), since_boot_us: Some(2) }],
        policy_owner: Some(Owner::RepairedByEvent),
        trunks: vec![Trunk { name: "eth1".parse().unwrap(), state: State::Pending, why: why.clone() }],
        segments: vec![Segment {
            name: "lan".parse().unwrap(),
            trunk: "eth1".parse().unwrap(),
            vlan: 20.try_into().unwrap(),
            vlan_link: "vlan20".parse().unwrap(),
            bridge: "br20".parse().unwrap(),
            declared: vec!["10.0.0.1/24".parse().unwrap()],
            addresses: Some(vec!["10.0.0.1/24".parse().unwrap()]),
            gateways: Some(vec!["10.0.0.254".parse().unwrap()]),
            state: State::Failed,
            why: why.clone(),
        }],
        guests: vec![Guest {
            name: "web".parse().unwrap(),
            state: GuestState::Held,
            why: why.clone(),
            vcpus: Some(1),
            memory: Some(1 << 29),
            limits: vec![Limit {
                control: "memory".to_owned(),
                declared: Some(1 << 31),
                at: Some(1 << 30),
                tighter: true,
                group: Some("/machine.slice".to_owned()),
                unknown: why.clone(),
                text: "1 GiB".to_owned(),
            }],
            accelerated: Some(false),
            nics: vec![nic],
        }],
        allows: vec![Allow {
            from: "guest.web".to_owned(),
            to: "host".to_owned(),
            what: "any".to_owned(),
            packets: 1,
            bytes: 1,
        }],
        counters: vec![Counter { name: "spoofed".to_owned(), dropped: true, packets: 1, bytes: 1 }],
        counted_at_us: Some(1),
        notices: vec![notice],
        report: vec![done()],
        wakes: vec![Wake { reason: "links".to_owned(), at_us: 1, latency_us: 2, repairs: vec!["r".to_owned()] }],
        refused: Refused { strangers: 1, crowded: 1 },
    }
}

fn done() -> Done {
    let why = Some("because".to_owned());
    Done { phase: Phase::Guests, object: Object::Resolver, text: "t".to_owned(), outcome: Ended::Skipped, why }
}

fn problem() -> Problem {
    let help = vec!["write 1".to_owned()];
    Problem { file: "f".to_owned(), line: 1, column: 1, message: "m".to_owned(), help }
}

fn summary() -> Summary {
    let step = Step { phase: Phase::Limits, object: Object::Policy, text: "t".to_owned() };
    let notices = full().notices;
    Summary { generation: Some(1), remaining: vec![step], notices, ..Summary::default() }
}

#[test]
fn every_reply_has_exactly_the_fields_of_the_interface_file() {
    let shapes = shapes();
    let value = |v: serde_json::Result<Value>| v.unwrap();
    let plan = Plan { steps: summary().remaining, notices: full().notices };
    check(&shapes, "HostStatus", &value(serde_json::to_value(full())), "HostStatus");
    check(&shapes, "Plan()", &value(serde_json::to_value(plan)), "Plan()");
    for method in ["Apply()", "Teardown()"] {
        check(&shapes, method, &serde_json::json!({ "step": done() }), method);
        check(&shapes, method, &serde_json::json!({ "summary": summary() }), method);
    }
    check(&shapes, "Status()", &serde_json::json!({ "status": full() }), "Status()");
    check(&shapes, "Schema()", &serde_json::json!({ "schema": {} }), "Schema()");
    let why = Why { why: "w".to_owned() };
    let invalid = ManifestInvalid { errors: vec![problem()], drawn: "d".to_owned() };
    let failed = ApplyFailed { why: "w".to_owned(), summary: summary() };
    check(&shapes, "PermissionDenied", &value(serde_json::to_value(&why)), "PermissionDenied");
    check(&shapes, "NotServed", &value(serde_json::to_value(&why)), "NotServed");
    check(&shapes, "Busy", &value(serde_json::to_value(&why)), "Busy");
    check(&shapes, "ManifestInvalid", &value(serde_json::to_value(invalid)), "ManifestInvalid");
    check(&shapes, "ApplyFailed", &value(serde_json::to_value(failed)), "ApplyFailed");
}

#[test]
fn no_name_of_the_interface_file_means_two_things() {
    // systemd refuses a file in which a type and a method share a name; found with varlinkctl 257.
    let names = shapes().into_keys().map(|name| name.trim_end_matches("()").to_owned());
    let mut seen = BTreeSet::new();
    for name in names {
        assert!(seen.insert(name.clone()), "{name}");
    }
}

#[test]
fn every_value_of_an_enum_is_in_the_interface_file() {
    let shapes = shapes();
    let all = |kind: &str, values: &[Value]| {
        let Some(Shape::Values(expected)) = shapes.get(kind) else { panic!("{kind} is no enum of the file") };
        let said: BTreeSet<_> = values.iter().map(|value| value.as_str().unwrap().to_owned()).collect();
        assert_eq!(&said, expected, "{kind}");
    };
    macro_rules! values {
        ($($value:expr),+ $(,)?) => { &[$(serde_json::to_value($value).unwrap()),+] };
    }
    all("Phase", values![Phase::Policy, Phase::Links, Phase::Limits, Phase::Guests]);
    all("Ended", values![Ended::Done, Ended::Failed, Ended::Skipped]);
    all("State", values![State::Ready, State::Pending, State::Failed]);
    all("Owner", values![Owner::Held, Owner::RepairedByEvent]);
    use Cause::{Clash, Foreign, Pending, Unsupported, Violation};
    all("Cause", values![Pending, Clash, Foreign, Unsupported, Cause::Held, Violation, Cause::Unknown]);
    use GuestState::{Held, Paused, Running, Stopped, Stopping, Unknown};
    all("GuestState", values![Running, Paused, Stopped, Held, Stopping, Unknown]);
    let kind = |object: Object| serde_json::to_value(object).unwrap()["kind"].clone();
    let name = "br20".parse::<bulkhead_types::IfName>().unwrap();
    let kinds = [
        kind(Object::Policy),
        kind(Object::Trunk(name.clone())),
        kind(Object::Segment("lan".parse().unwrap())),
        kind(Object::Bridge(name)),
        kind(Object::Guest("web".parse().unwrap())),
        kind(Object::Pool(String::new())),
        kind(Object::Network(String::new())),
        kind(Object::Resolver),
    ];
    all("ObjectKind", &kinds);
}

#[test]
fn a_status_is_read_back_as_it_was_written() {
    for status in [full(), Status::default()] {
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
    }
}
