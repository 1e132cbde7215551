//! The files as one manifest.

use bulkhead_types::{GuestName, IfName, SegmentName};

use super::place::{At, Place};
use super::problem::Problems;
use super::value::{Name, Named};
use super::wire::{Allow, Guest, Libvirt, Pool, Root, Segment, Trunk};

/// The tables of all files, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Whole {
    pub(crate) trunks: Named<IfName, Trunk>,
    pub(crate) segments: Named<SegmentName, Segment>,
    pub(crate) pools: Named<Name, Pool>,
    pub(crate) guests: Named<GuestName, Guest>,
    pub(crate) allows: Vec<At<Allow>>,
    pub(crate) libvirt: Option<At<Libvirt>>,
}

impl Whole {
    /// Whether no table stands anywhere of which something is made: a trunk alone is not touched.
    pub(crate) fn makes_nothing(&self) -> bool {
        let names = self.segments.0.is_empty() && self.pools.0.is_empty() && self.guests.0.is_empty();
        names && self.allows.is_empty() && self.libvirt.is_none()
    }

    /// Adds the tables of one more file. A table that stands in an earlier file too is a problem of both places.
    pub(crate) fn add(&mut self, file: Root, problems: &mut Problems) {
        merge(&mut self.trunks, file.trunk, problems);
        merge(&mut self.segments, file.segment, problems);
        merge(&mut self.pools, file.pool, problems);
        merge(&mut self.guests, file.guest, problems);
        self.allows.extend(file.allow.into_iter().flat_map(|at| at.value.0));
        match (&self.libvirt, file.libvirt) {
            (Some(first), Some(second)) => twice(&first.place, &second.place, problems),
            (None, libvirt) => self.libvirt = libvirt,
            (Some(_), None) => {}
        }
    }
}

fn merge<N: PartialEq, T>(into: &mut Named<N, T>, from: Option<At<Named<N, T>>>, problems: &mut Problems) {
    for entry in from.into_iter().flat_map(|at| at.value.0) {
        match into.0.iter().find(|earlier| earlier.name == entry.name) {
            Some(earlier) => twice(&earlier.place, &entry.place, problems),
            None => into.0.push(entry),
        }
    }
}

fn twice(first: &Place, second: &Place, problems: &mut Problems) {
    problems.not_absent(second);
    problems
        .error(second, format!("`{}` is declared in two files", second.key))
        .label("declared again")
        .also(first, "first declared here")
        .help("keep one of them, and write all keys of a table into one file");
}
