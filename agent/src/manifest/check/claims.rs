//! Things of which there can be one only: a second claim names both places.

use std::collections::BTreeMap;

use crate::manifest::place::Place;

/// Who holds what.
pub(super) struct Claims<K> {
    held: BTreeMap<K, (Place, String)>,
}

impl<K: Ord> Claims<K> {
    pub(super) fn new() -> Self {
        Self { held: BTreeMap::new() }
    }

    /// Holds the thing for somebody, or tells where and by whom it is held already.
    pub(super) fn claim(&mut self, thing: K, place: &Place, holder: impl Into<String>) -> Option<(Place, String)> {
        let holder = (place.clone(), holder.into());
        match self.held.get(&thing) {
            Some(earlier) => Some(earlier.clone()),
            None => {
                self.held.insert(thing, holder);
                None
            }
        }
    }
}
