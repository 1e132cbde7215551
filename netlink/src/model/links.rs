//! The links of a network namespace, found by index and by name without a search.

use std::collections::{BTreeMap, btree_map};

use bulkhead_types::IfName;
use serde::{Serialize, Serializer};

use super::Link;

/// Every link of a network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    by_index: BTreeMap<u32, Link>,
    /// Names of foreign links that are not UTF-8 may fall together here: no name of a manifest is among them.
    by_name: BTreeMap<String, u32>,
    /// Alternative names; the kernel lets nothing have one that is a name or an alternative name of another link.
    by_altname: BTreeMap<String, u32>,
}

impl Links {
    /// The link of that ifindex.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&Link> {
        self.by_index.get(&index)
    }

    /// The link of that name.
    #[must_use]
    pub fn named(&self, name: &IfName) -> Option<&Link> {
        self.by_name.get(name.as_str()).and_then(|index| self.by_index.get(index))
    }

    /// The link of that alternative name.
    #[must_use]
    pub fn altnamed(&self, name: &IfName) -> Option<&Link> {
        self.by_altname.get(name.as_str()).and_then(|index| self.by_index.get(index))
    }

    /// All of them, by ifindex.
    pub fn values(&self) -> btree_map::Values<'_, u32, Link> {
        self.by_index.values()
    }

    /// The highest ifindex in use.
    #[must_use]
    pub fn highest(&self) -> Option<u32> {
        self.by_index.keys().next_back().copied()
    }

    /// Adds a link, in the place of one of the same ifindex.
    pub fn insert(&mut self, link: Link) {
        self.remove(link.index);
        self.by_name.insert(link.name.clone(), link.index);
        self.by_altname.extend(link.altnames.iter().map(|name| (name.clone(), link.index)));
        self.by_index.insert(link.index, link);
    }

    /// Takes a link away.
    pub fn remove(&mut self, index: u32) -> Option<Link> {
        let link = self.by_index.remove(&index)?;
        // Another link may have the name by now, or its bytes may read the same.
        let forget = |names: &mut BTreeMap<String, u32>, name: &String| {
            if names.get(name) == Some(&index) {
                names.remove(name);
            }
        };
        forget(&mut self.by_name, &link.name);
        link.altnames.iter().for_each(|name| forget(&mut self.by_altname, name));
        Some(link)
    }

    /// A link, to change anything of it but index and names.
    #[cfg(test)]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut Link> {
        self.by_index.get_mut(&index)
    }
}

impl FromIterator<Link> for Links {
    fn from_iter<I: IntoIterator<Item = Link>>(links: I) -> Self {
        let mut all = Self::default();
        links.into_iter().for_each(|link| all.insert(link));
        all
    }
}

impl Serialize for Links {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.by_index.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link { index, name: name.to_owned(), ..Link::default() }
    }

    #[test]
    fn a_link_that_is_replaced_or_taken_away_is_not_found_by_its_name_any_more() {
        let altnames = vec!["enp3s0".to_owned()];
        let mut links = Links::from_iter([link(2, "eth0"), Link { altnames, ..link(3, "eth1") }]);
        let named = |links: &Links, name: &str| links.named(&name.parse().unwrap()).map(|link| link.index);
        assert_eq!((named(&links, "eth1"), links.highest()), (Some(3), Some(3)));
        let altnamed = |links: &Links| links.altnamed(&"enp3s0".parse().unwrap()).map(|link| link.index);
        assert_eq!(altnamed(&links), Some(3));
        links.insert(link(3, "lan0"));
        assert_eq!((named(&links, "eth1"), named(&links, "lan0"), altnamed(&links)), (None, Some(3), None));
        links.remove(3);
        assert_eq!((named(&links, "lan0"), links.values().count()), (None, 1));
    }
}
