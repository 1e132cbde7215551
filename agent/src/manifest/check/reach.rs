//! Where an endpoint of an allow stands: on which segments, and with which addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_types::SegmentName;

use super::{host, links};
use crate::manifest::place::At;
use crate::manifest::problem::Problems;
use crate::manifest::spell::nearest;
use crate::manifest::value::Endpoint;
use crate::manifest::whole::Whole;

/// The segments that an endpoint is on; `None` if that cannot be said, because something else is wrong.
pub(super) fn segments<'a>(endpoint: &'a Endpoint, whole: &'a Whole) -> Option<BTreeSet<&'a SegmentName>> {
    match endpoint {
        Endpoint::Guest(name) => {
            let guest = whole.guests.get(name)?;
            let nics = guest.table.nic.iter().flat_map(|nics| &nics.value.0);
            nics.map(|nic| whole.segments.get(&nic.name).map(|segment| &segment.name)).collect()
        }
        Endpoint::Segment(name) | Endpoint::Outside(name) => {
            whole.segments.get(name).map(|segment| BTreeSet::from([&segment.name]))
        }
        Endpoint::Host => {
            Some(whole.segments.0.iter().filter(|s| s.table.host.is_some()).map(|segment| &segment.name).collect())
        }
    }
}

/// The addresses that an endpoint has on a segment; nothing where they are not known.
pub(super) fn addresses(endpoint: &Endpoint, on: &SegmentName, whole: &Whole) -> Vec<IpAddr> {
    let guests = whole.guests.0.iter().filter(|guest| match endpoint {
        Endpoint::Guest(name) => guest.name == *name,
        Endpoint::Segment(_) => true,
        Endpoint::Outside(_) | Endpoint::Host => false,
    });
    let nics = guests.flat_map(|guest| guest.table.nic.iter().flat_map(|nics| &nics.value.0));
    let addresses = nics.filter(|nic| nic.name == *on).filter_map(|nic| nic.table.address.as_ref());
    let mut known: Vec<IpAddr> = addresses.flat_map(|list| list.value.0.iter().map(|at| at.value)).collect();
    if *endpoint == Endpoint::Host {
        known.extend(whole.segments.get(on).iter().flat_map(|s| host::addresses(&s.table)).map(|at| at.value.addr()));
    }
    known
}

/// Notes an endpoint whose guest or segment is not declared.
pub(super) fn declared(at: &At<Endpoint>, whole: &Whole, problems: &mut Problems) {
    match &at.value {
        Endpoint::Host => {}
        Endpoint::Segment(name) | Endpoint::Outside(name) => {
            if whole.segments.get(name).is_none() {
                links::no_segment(&at.place, name, whole, problems);
            }
        }
        Endpoint::Guest(name) => {
            if whole.guests.get(name).is_none() {
                let near = nearest(name.as_str(), whole.guests.0.iter().map(|guest| guest.name.as_str()));
                let problem = problems
                    .absent(&at.place, format!("`{}` names the guest {name}, which is not declared", at.place.key));
                problem.label("no such guest");
                match near {
                    Some(near) => problem.help(format!("write \"guest.{near}\"")),
                    None => problem.help(format!("declare it: [guest.{name}] with its memory")),
                };
            }
        }
    }
}
