//! An allow of the policy room, in the words of the manifest.

use bulkhead_api::Allow;
use bulkhead_policy::model as policy;
use ipnet::IpNet;

/// An allow with what it has counted.
pub(crate) fn allow(allow: &policy::Allow, packets: u64, bytes: u64) -> Allow {
    let endpoint = |end: &policy::Endpoint| match end {
        policy::Endpoint::Guest(name) => format!("guest.{name}"),
        policy::Endpoint::Segment(name) => format!("segment.{name}"),
        policy::Endpoint::Outside(name) => format!("outside.{name}"),
        policy::Endpoint::Host => "host".to_owned(),
    };
    Allow { from: endpoint(&allow.from), to: endpoint(&allow.to), what: what(allow), packets, bytes }
}

fn what(allow: &policy::Allow) -> String {
    let ports = |protocol: &str, ranges: &[std::ops::RangeInclusive<u16>]| {
        let list = ranges.iter().map(|r| match (r.start(), r.end()) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        });
        (!ranges.is_empty()).then(|| format!("{protocol} {}", list.collect::<Vec<_>>().join(", ")))
    };
    let nets = |word: &str, nets: &[IpNet]| {
        let list = nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        (!nets.is_empty()).then(|| format!(" {word} {list}"))
    };
    let traffic = &allow.what;
    let types: Vec<&str> = traffic.icmp.iter().copied().map(policy::IcmpType::name).collect();
    let icmp = (!types.is_empty()).then(|| format!("icmp {}", types.join(", ")));
    let any = traffic.any.then(|| "any".to_owned());
    let kinds = [any, ports("tcp", &traffic.tcp), ports("udp", &traffic.udp), icmp];
    let mut text = kinds.into_iter().flatten().collect::<Vec<_>>().join(" + ");
    text.extend([nets("from", &allow.from_net), nets("to", &allow.to_net)].into_iter().flatten());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allow_reads_as_the_manifest_writes_it() {
        let allow = policy::Allow {
            from: policy::Endpoint::Guest("web".parse().unwrap()),
            to: policy::Endpoint::Outside("lan".parse().unwrap()),
            from_net: Vec::new(),
            to_net: vec!["10.0.0.0/8".parse().unwrap()],
            what: policy::Traffic {
                tcp: vec![80..=80, 8000..=8010],
                icmp: vec![policy::IcmpType::EchoRequest],
                ..policy::Traffic::default()
            },
        };
        let words = super::allow(&allow, 3, 180);
        assert_eq!((words.from.as_str(), words.to.as_str()), ("guest.web", "outside.lan"));
        assert_eq!(words.what, "tcp 80, 8000-8010 + icmp echo-request to 10.0.0.0/8");
    }
}
