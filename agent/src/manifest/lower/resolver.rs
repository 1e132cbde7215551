//! The host's DNS servers.

use super::Dns;
use crate::manifest::model::{Host, Segment};

pub(super) fn lower(segments: &[Segment]) -> Vec<Dns> {
    segments.iter().filter_map(servers).collect()
}

/// The servers of a segment, if it has any.
fn servers(segment: &Segment) -> Option<Dns> {
    let Segment { name: _, trunk: _, vlan: _, vlan_link: _, bridge, mtu: _, host, libvirt_network: _ } = segment;
    let Host { addresses: _, gateways: _, metric: _, dns } = host.as_ref()?;
    (!dns.is_empty()).then(|| Dns { bridge: bridge.clone(), servers: dns.clone() })
}
