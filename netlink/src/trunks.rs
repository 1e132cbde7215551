//! Which link is the trunk that the manifest names.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_types::IfName;

use crate::lookup::{Lookup, stays_ours};
use crate::model::{Kind, Link, trunk_alias};

/// What the manifest's name of a trunk leads to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trunk<'a> {
    /// A link of that name, or alternative name.
    Named(&'a Link),
    /// A link that had that name when our VLAN links were made on it, and has another one now.
    Renamed(&'a Link),
    /// A link of that name of which not all could be decoded.
    Unread(&'a Link),
    /// Nothing.
    Missing,
}

impl<'a> Trunk<'a> {
    /// The link to build on.
    pub(crate) fn link(self) -> Option<&'a Link> {
        match self {
            Self::Named(link) | Self::Renamed(link) => Some(link),
            Self::Unread(_) | Self::Missing => None,
        }
    }

    /// The link that carries what stands already. One of which not all could be decoded carries it still.
    pub(crate) fn carrier(self) -> Option<&'a Link> {
        match self {
            Self::Named(link) | Self::Renamed(link) | Self::Unread(link) => Some(link),
            Self::Missing => None,
        }
    }
}

/// Finds every trunk that a segment of the manifest names.
pub(crate) fn find<'a>(lookup: &Lookup<'a>) -> BTreeMap<&'a IfName, Trunk<'a>> {
    let mut trunks: BTreeMap<&IfName, Trunk<'_>> =
        lookup.segments().map(|segment| (&segment.trunk, named(lookup, &segment.trunk))).collect();
    let mut taken: BTreeSet<u32> = trunks.values().filter_map(|trunk| trunk.link()).map(|link| link.index).collect();
    let parents = parents(lookup);
    for (name, trunk) in &mut trunks {
        if !matches!(trunk, Trunk::Missing) {
            continue;
        }
        let parents = parents.get(&trunk_alias(name)).into_iter().flatten().filter_map(|index| lookup.link(*index));
        let fits = |link: &&Link| !taken.contains(&link.index) && link.own().is_none() && link.unread.is_none();
        let parents: Vec<&Link> = parents.filter(fits).collect();
        // Our VLAN links of one trunk stand on one link; where they do not, nobody knows which of them it is.
        if let [link] = parents.as_slice() {
            taken.insert(link.index);
            *trunk = Trunk::Renamed(link);
        }
    }
    trunks
}

fn named<'a>(lookup: &Lookup<'a>, name: &IfName) -> Trunk<'a> {
    match lookup.named(name).or_else(|| lookup.altnamed(name)) {
        Some(link) if link.unread.is_some() => Trunk::Unread(link),
        // A link of ours is no trunk: it may be gone before it is used.
        Some(link) if link.own().is_none() => Trunk::Named(link),
        _ => Trunk::Missing,
    }
}

/// The links that carry our VLAN links, by the alias of these.
fn parents(lookup: &Lookup<'_>) -> BTreeMap<String, BTreeSet<u32>> {
    let mut parents: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for link in lookup.links().filter(|link| stays_ours(link)) {
        if let (Kind::Vlan { parent: Some(parent), .. }, Some(alias)) = (&link.kind, &link.alias) {
            parents.entry(alias.clone()).or_default().insert(*parent);
        }
    }
    parents
}
