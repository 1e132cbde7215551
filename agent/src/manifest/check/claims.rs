//! Things of which there can be one only: a second claim names both locations.

use std::collections::BTreeMap;

use crate::manifest::location::Location;

/// Who claimed what, and where.
pub(super) struct Claims<K> {
    claimed: BTreeMap<K, (Location, String)>,
}

impl<K: Ord> Claims<K> {
    pub(super) fn new() -> Self {
        Self { claimed: BTreeMap::new() }
    }

    /// Claims the thing for somebody, or tells where and by whom it is claimed already.
    pub(super) fn claim(
        &mut self,
        thing: K,
        location: &Location,
        holder: impl Into<String>,
    ) -> Option<(Location, String)> {
        let holder = (location.clone(), holder.into());
        match self.claimed.get(&thing) {
            Some(earlier) => Some(earlier.clone()),
            None => {
                self.claimed.insert(thing, holder);
                None
            }
        }
    }
}
