//! Things of which there can be one only: a second claim names both places.

use std::collections::BTreeMap;

use crate::manifest::location::Location;

/// Who holds what.
pub(super) struct Claims<K> {
    held: BTreeMap<K, (Location, String)>,
}

impl<K: Ord> Claims<K> {
    pub(super) fn new() -> Self {
        Self { held: BTreeMap::new() }
    }

    /// Holds the thing for somebody, or tells where and by whom it is held already.
    pub(super) fn claim(
        &mut self,
        thing: K,
        location: &Location,
        holder: impl Into<String>,
    ) -> Option<(Location, String)> {
        let holder = (location.clone(), holder.into());
        match self.held.get(&thing) {
            Some(earlier) => Some(earlier.clone()),
            None => {
                self.held.insert(thing, holder);
                None
            }
        }
    }
}
