//! Where an endpoint of an allow stands: on which segments, and with which addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_types::SegmentName;

use super::{host, links};
use crate::manifest::location::Located;
use crate::manifest::model::Endpoint;
use crate::manifest::problem::Problems;
use crate::manifest::spell::nearest;
use crate::manifest::tables::Tables;

/// The segments that an endpoint is on; `None` if that cannot be said, because something else is wrong.
pub(super) fn segments<'a>(endpoint: &'a Endpoint, tables: &'a Tables) -> Option<BTreeSet<&'a SegmentName>> {
    match endpoint {
        Endpoint::Guest(name) => {
            let guest = tables.guests.get(name)?;
            let nics = guest.table.nic.iter().flat_map(|nics| &nics.value.0);
            nics.map(|nic| tables.segments.get(&nic.name).map(|segment| &segment.name)).collect()
        }
        Endpoint::Segment(name) | Endpoint::Outside(name) => {
            tables.segments.get(name).map(|segment| BTreeSet::from([&segment.name]))
        }
        Endpoint::Host => {
            Some(tables.segments.0.iter().filter(|s| s.table.host.is_some()).map(|segment| &segment.name).collect())
        }
    }
}

/// The addresses that an endpoint has on a segment; nothing where they are not known.
pub(super) fn addresses(endpoint: &Endpoint, on: &SegmentName, tables: &Tables) -> Vec<IpAddr> {
    let guests = tables.guests.0.iter().filter(|guest| match endpoint {
        Endpoint::Guest(name) => guest.name == *name,
        Endpoint::Segment(_) => true,
        Endpoint::Outside(_) | Endpoint::Host => false,
    });
    let nics = guests.flat_map(|guest| guest.table.nic.iter().flat_map(|nics| &nics.value.0));
    let addresses = nics.filter(|nic| nic.name == *on).filter_map(|nic| nic.table.address.as_ref());
    let mut known: Vec<IpAddr> = addresses.flat_map(|list| list.value.0.iter().map(|at| at.value)).collect();
    if *endpoint == Endpoint::Host {
        known.extend(tables.segments.get(on).iter().flat_map(|s| host::addresses(&s.table)).map(|at| at.value.addr()));
    }
    known
}

/// Notes an endpoint whose guest or segment is not declared.
pub(super) fn declared(at: &Located<Endpoint>, tables: &Tables, problems: &mut Problems) {
    match &at.value {
        Endpoint::Host => {}
        Endpoint::Segment(name) | Endpoint::Outside(name) => {
            if tables.segments.get(name).is_none() {
                links::no_segment(&at.location, name, tables, problems);
            }
        }
        Endpoint::Guest(name) => {
            if tables.guests.get(name).is_none() {
                let near = nearest(name.as_str(), tables.guests.0.iter().map(|guest| guest.name.as_str()));
                let problem = problems.absent(
                    &at.location,
                    format!("`{}` names the guest {name}, which is not declared", at.location.key),
                );
                problem.label("no such guest");
                match near {
                    Some(near) => problem.help(format!("write \"guest.{near}\"")),
                    None => problem.help(format!("declare it: [guest.{name}] with its memory")),
                };
            }
        }
    }
}
