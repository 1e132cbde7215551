//! Whether what is allowed can happen.

use std::collections::BTreeSet;

use bulkhead_types::SegmentName;

use super::reach;
use crate::manifest::location::Located;
use crate::manifest::model::Endpoint;
use crate::manifest::problem::Problems;
use crate::manifest::tables::Tables;
use crate::manifest::value::{List, Net};
use crate::manifest::wire::Allow;

pub(super) fn check(tables: &Tables, problems: &mut Problems) {
    for allow in &tables.allows {
        traffic(allow, problems);
        let (from, to) = (endpoints(allow.value.from.as_ref()), endpoints(allow.value.to.as_ref()));
        for at in from.iter().chain(to) {
            reach::declared(at, tables, problems);
        }
        let mut shared = BTreeSet::new();
        for (from, to) in from.iter().flat_map(|from| to.iter().map(move |to| (from, to))) {
            shared.extend(pair(from, to, tables, problems));
        }
        narrowed("from", from, allow.value.from_net.as_ref(), &shared, tables, problems);
        narrowed("to", to, allow.value.to_net.as_ref(), &shared, tables, problems);
        one_family(&allow.value, problems);
    }
}

fn endpoints(list: Option<&Located<List<Endpoint>>>) -> &[Located<Endpoint>] {
    list.map_or(&[], |list| &list.value.0)
}

/// Something, and not both everything and something.
fn traffic(allow: &Located<Allow>, problems: &mut Problems) {
    let Allow { tcp, udp, icmp, any, .. } = &allow.value;
    let some = [
        ("tcp", tcp.as_ref().map(|at| &at.location)),
        ("udp", udp.as_ref().map(|at| &at.location)),
        ("icmp", icmp.as_ref().map(|at| &at.location)),
    ];
    let kinds = || some.iter().filter_map(|(name, location)| location.map(|location| (*name, location)));
    match any.as_ref().filter(|any| any.value) {
        Some(any) => {
            for (name, location) in kinds() {
                problems
                    .error(location, format!("`{}` stands beside `any`, which allows everything already", location.key))
                    .also(&any.location, "everything")
                    .help(format!("leave out `any` to allow only what {name} names, or leave out `{name}`"));
            }
        }
        None => {
            let icmp_only = tcp.is_none() && udp.is_none() && icmp.as_ref().is_none_or(|at| at.value.0.is_empty());
            if icmp_only && !problems.within(allow.location.file, &allow.location.key) {
                problems
                    .error(&allow.location, format!("`{}` allows nothing", allow.location.key))
                    .label("no tcp, udp, icmp or any")
                    .help("write tcp = [443], udp = [53], icmp = true, or any = true for everything");
            }
        }
    }
}

/// The segments on which the two can meet; notes why there is none.
fn pair<'a>(
    from: &'a Located<Endpoint>,
    to: &'a Located<Endpoint>,
    tables: &'a Tables,
    problems: &mut Problems,
) -> BTreeSet<&'a SegmentName> {
    let (a, b) = (&from.value, &to.value);
    let (Some(on_a), Some(on_b)) = (reach::segments(a, tables), reach::segments(b, tables)) else {
        return BTreeSet::new();
    };
    let shared: BTreeSet<&SegmentName> = on_a.intersection(&on_b).copied().collect();
    let why = match (a, b) {
        (Endpoint::Guest(_), _) | (Endpoint::Host, Endpoint::Host) if a == b => Some((
            format!("`{}` is {b}, which `from` is too", to.location.key),
            "what stays within one machine needs no allow",
        )),
        (Endpoint::Outside(_) | Endpoint::Host, Endpoint::Outside(_) | Endpoint::Host) if !shared.is_empty() => Some((
            format!("`{}`: {a} and {b} speak without an allow", to.location.key),
            "leave it out: Bulkhead gates guests; host and outside speak as before",
        )),
        _ => None,
    };
    if let Some((title, help)) = why {
        problems.error(&to.location, title).label("to").also(&from.location, "from").help(help);
    } else if shared.is_empty() {
        apart(from, to, &on_a.union(&on_b).copied().collect(), problems);
    }
    shared
}

fn apart(from: &Located<Endpoint>, to: &Located<Endpoint>, on: &BTreeSet<&SegmentName>, problems: &mut Problems) {
    let host = [from, to].into_iter().find(|at| at.value == Endpoint::Host);
    let other = if from.value == Endpoint::Host { to } else { from };
    let segments = on.iter().map(|name| name.as_str()).collect::<Vec<_>>();
    match host {
        Some(host) => problems
            .error(&host.location, format!("`{}`: the host is on no segment of {}", host.location.key, other.value))
            .label("invisible there")
            .also(&other.location, "on another segment")
            .help("write host = { address = [\"...\"] } in that [segment.NAME]; Bulkhead does not route"),
        None => problems
            .error(&to.location, format!("`{}`: {} and {} share no segment", to.location.key, from.value, to.value))
            .label("to")
            .also(&from.location, "from")
            .help(format!(
                "Bulkhead does not route between segments ({}): give both a NIC on one of them",
                segments.join(", ")
            )),
    };
}

/// A network that holds no address of the side it narrows never matches: addresses are pinned.
fn narrowed(
    side: &str,
    endpoints: &[Located<Endpoint>],
    nets: Option<&Located<List<Net>>>,
    shared: &BTreeSet<&SegmentName>,
    tables: &Tables,
    problems: &mut Problems,
) {
    let anybody = endpoints.iter().any(|at| matches!(at.value, Endpoint::Outside(_)));
    let addresses: Vec<_> =
        endpoints.iter().flat_map(|at| shared.iter().flat_map(|on| reach::addresses(&at.value, on, tables))).collect();
    if anybody || addresses.is_empty() {
        return;
    }
    for net in nets.iter().flat_map(|nets| &nets.value.0) {
        if !addresses.iter().any(|address| net.value.0.contains(address)) {
            let known: Vec<String> = addresses.iter().take(4).map(ToString::to_string).collect();
            problems
                .error(
                    &net.location,
                    format!("`{}` is {}, where `{side}` has no address", net.location.key, net.value.0),
                )
                .label("never matches")
                .help(format!("write a network that holds one of {}, or leave it out", known.join(", ")));
        }
    }
}

fn one_family(allow: &Allow, problems: &mut Problems) {
    let (Some(from), Some(to)) = (&allow.from_net, &allow.to_net) else { return };
    let v4 =
        |nets: &Located<List<Net>>| nets.value.0.iter().map(|at| at.value.0.addr().is_ipv4()).collect::<BTreeSet<_>>();
    let (a, b) = (v4(from), v4(to));
    if !a.is_empty() && !b.is_empty() && a.is_disjoint(&b) {
        problems
            .error(&to.location, format!("`{}` and `from-net` are of different families", to.location.key))
            .label("no packet is both IPv4 and IPv6")
            .also(&from.location, "the other family")
            .help("write networks of one family on both sides");
    }
}
