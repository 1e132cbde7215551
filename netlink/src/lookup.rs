//! What is desired and what is observed, each found without a search, so that a plan for ten thousand NICs takes ten times as
//! long as one for a thousand.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_types::{IfName, Mac};

use crate::model::{Address, Desired, Host, Kind, LINK_GROUP, Link, Observed, Port, Route, Segment, Unread};

/// One manifest and one look at the kernel.
pub(crate) struct Lookup<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    segments: BTreeMap<&'a str, &'a Segment>,
    ports: BTreeMap<u32, Vec<&'a Link>>,
    addresses: BTreeMap<u32, Vec<&'a Address>>,
    fdb: BTreeMap<u32, BTreeSet<(Mac, bool)>>,
    vlans: BTreeMap<(u32, u16), &'a Link>,
    #[cfg(test)]
    visits: std::cell::Cell<usize>,
}

impl<'a> Lookup<'a> {
    pub(crate) fn new(desired: &'a Desired, observed: &'a Observed) -> Self {
        let mut lookup = Self {
            desired,
            observed,
            segments: BTreeMap::new(),
            ports: BTreeMap::new(),
            addresses: BTreeMap::new(),
            fdb: BTreeMap::new(),
            vlans: BTreeMap::new(),
            #[cfg(test)]
            visits: std::cell::Cell::default(),
        };
        for segment in &desired.segments {
            lookup.segments.extend([&segment.vlan_link, &segment.bridge].map(|name| (name.as_str(), segment)));
        }
        for link in observed.links.values() {
            if let Some(master) = link.master {
                lookup.ports.entry(master).or_default().push(link);
            }
            if let Kind::Vlan { id, parent: Some(parent), dot1q: true } = link.kind {
                lookup.vlans.insert((parent, id), link);
            }
        }
        for address in &observed.addresses {
            lookup.addresses.entry(address.index).or_default().push(address);
        }
        for entry in &observed.fdb {
            lookup.fdb.entry(entry.index).or_default().insert((entry.mac, entry.sticky));
        }
        lookup
    }

    /// Hands things out one by one; tests count them.
    fn each<T>(&self, things: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        things.inspect(|_| {
            #[cfg(test)]
            self.visits.set(self.visits.get() + 1);
        })
    }

    /// How many things were handed out.
    #[cfg(test)]
    pub(crate) fn visits(&self) -> usize {
        self.visits.get()
    }

    /// Every segment of the manifest.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &'a Segment> {
        self.each(self.desired.segments.iter())
    }

    /// Every declared port.
    pub(crate) fn declared_ports(&self) -> impl Iterator<Item = (&'a IfName, &'a Port)> {
        self.each(self.desired.ports.iter())
    }

    /// The declared port of that name.
    pub(crate) fn declared_port(&self, link: &Link) -> Option<&'a Port> {
        link.name.parse().ok().and_then(|name: IfName| self.desired.ports.get(&name))
    }

    /// The segment whose bridge or VLAN link has that name.
    pub(crate) fn segment_of(&self, name: &str) -> Option<&'a Segment> {
        self.segments.get(name).copied()
    }

    /// What the manifest gives the host on the bridge of that name, if the link is not ours, or no longer: its group may have been
    /// changed by somebody, and what we put there is declared still.
    pub(crate) fn declared_on_foreign(&self, link: &Link) -> Option<&'a Host> {
        let segment = self.segment_of(&link.name).filter(|segment| segment.bridge.as_str() == link.name);
        segment.filter(|_| link.own().is_none()).and_then(|segment| segment.host.as_ref())
    }

    /// Every link.
    pub(crate) fn links(&self) -> impl Iterator<Item = &'a Link> {
        self.each(self.observed.links.values())
    }

    /// The link of that ifindex.
    pub(crate) fn link(&self, index: u32) -> Option<&'a Link> {
        self.observed.links.get(index)
    }

    /// The link of that name.
    pub(crate) fn named(&self, name: &IfName) -> Option<&'a Link> {
        self.observed.links.named(name)
    }

    /// The link of that alternative name.
    pub(crate) fn altnamed(&self, name: &IfName) -> Option<&'a Link> {
        self.observed.links.altnamed(name)
    }

    /// The highest ifindex in use.
    pub(crate) fn highest(&self) -> Option<u32> {
        self.observed.links.highest()
    }

    /// Whether this kernel has IPv6 at all.
    pub(crate) fn has_ipv6(&self) -> bool {
        self.observed.has_ipv6()
    }

    /// The 802.1Q VLAN link with that parent and tag: the kernel has at most one, whatever its name.
    pub(crate) fn vlan(&self, parent: u32, tag: u16) -> Option<&'a Link> {
        self.vlans.get(&(parent, tag)).copied()
    }

    /// The links with that master.
    pub(crate) fn ports_of(&self, master: u32) -> impl Iterator<Item = &'a Link> {
        self.each(self.ports.get(&master).into_iter().flatten().copied())
    }

    /// The addresses on a link.
    pub(crate) fn addresses_on(&self, index: u32) -> impl Iterator<Item = &'a Address> {
        self.each(self.addresses.get(&index).into_iter().flatten().copied())
    }

    /// The static FDB entries of a port.
    pub(crate) fn fdb_of(&self, port: u32) -> impl Iterator<Item = (Mac, bool)> {
        self.each(self.fdb.get(&port).into_iter().flatten().copied())
    }

    /// The routes that were observed.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &'a Route> {
        self.each(self.observed.routes.iter())
    }

    /// What could not be decoded.
    pub(crate) fn unread(&self) -> impl Iterator<Item = &'a Unread> {
        self.each(self.observed.unread.iter())
    }
}

/// Whether a link is one of ours that is not being deleted.
pub(crate) fn stays_ours(link: &Link) -> bool {
    link.group == LINK_GROUP && link.own().is_some()
}
