//! The files as one manifest.

use bulkhead_types::{GuestName, IfName, SegmentName};

use super::location::{Located, Location};
use super::problem::Problems;
use super::value::{Name, Named};
use super::wire::{Allow, Guest, Libvirt, Pool, Root, Segment, Trunk};

/// The tables of all files, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    pub(crate) trunks: Named<IfName, Trunk>,
    pub(crate) segments: Named<SegmentName, Segment>,
    pub(crate) pools: Named<Name, Pool>,
    pub(crate) guests: Named<GuestName, Guest>,
    pub(crate) allows: Vec<Located<Allow>>,
    pub(crate) libvirt: Option<Located<Libvirt>>,
}

impl Tables {
    /// Adds the tables of one more file. A table that stands in an earlier file too is a problem of both locations.
    pub(crate) fn add(&mut self, file: Root, problems: &mut Problems) {
        merge(&mut self.trunks, file.trunk, problems);
        merge(&mut self.segments, file.segment, problems);
        merge(&mut self.pools, file.pool, problems);
        merge(&mut self.guests, file.guest, problems);
        self.allows.extend(file.allow.into_iter().flat_map(|at| at.value.0));
        match (&self.libvirt, file.libvirt) {
            (Some(first), Some(second)) => twice(&first.location, &second.location, problems),
            (None, libvirt) => self.libvirt = libvirt,
            (Some(_), None) => {}
        }
    }
}

fn merge<N: PartialEq, T>(into: &mut Named<N, T>, from: Option<Located<Named<N, T>>>, problems: &mut Problems) {
    for entry in from.into_iter().flat_map(|at| at.value.0) {
        match into.0.iter().find(|earlier| earlier.name == entry.name) {
            Some(earlier) => twice(&earlier.location, &entry.location, problems),
            None => into.0.push(entry),
        }
    }
}

fn twice(first: &Location, second: &Location, problems: &mut Problems) {
    problems.not_absent(second);
    problems
        .error(second, format!("`{}` is declared in two files", second.key))
        .label("declared again")
        .also(first, "first declared here")
        .help("keep one of them, and write all keys of a table into one file");
}
