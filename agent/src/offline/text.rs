//! A host as a text: the manifest that was applied there last, and what became of it since.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bulkhead_types::{GuestName, Mac};
use ipnet::IpNet;
use serde::Deserialize;

use super::{Host, Observed};
use crate::manifest::{self, Desired, HostId};

/// The whole text. Each table changes an object that is there, by the name that it has, or else adds a foreign one.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Text {
    /// The manifest that was applied last, from the text's own directory; none leaves the host empty.
    applied: Option<PathBuf>,
    pub(super) link: BTreeMap<String, Link>,
    pub(super) table: BTreeMap<Family, Table>,
    pub(super) slice: BTreeMap<GuestName, Slice>,
    pub(super) network: BTreeMap<String, Network>,
    pub(super) domain: BTreeMap<String, Domain>,
}

/// A link, in the words of ip-link(8). What is not given is as it was; a link that is added is up, with an MTU of 1500.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Link {
    /// It is gone, with what was on it.
    pub(super) absent: bool,
    /// Its new name.
    pub(super) name: Option<String>,
    pub(super) altnames: Option<Vec<String>>,
    /// `bridge`, `dummy` ...; none is a physical port.
    pub(super) kind: Option<String>,
    /// The tag of a VLAN link.
    pub(super) vlan: Option<u16>,
    /// What that VLAN link is on.
    pub(super) parent: Option<String>,
    /// The bridge it is a port of. Its flags there are the kernel's defaults.
    pub(super) master: Option<String>,
    pub(super) up: Option<bool>,
    pub(super) mtu: Option<u32>,
    pub(super) mac: Option<Mac>,
    pub(super) group: Option<u32>,
    /// Addresses that somebody else added.
    pub(super) addresses: Vec<IpNet>,
}

/// The family of a table of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Family {
    Bridge,
    Inet,
    Arp,
}

/// A table of ours that somebody changed, which a kernel lets nobody do that can hold tables: this one cannot.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Table {
    /// It is gone.
    pub(super) absent: bool,
    /// Chains of ours without their rules.
    pub(super) flushed: Vec<String>,
    /// Chains of somebody else.
    pub(super) added: Vec<String>,
}

/// A guest's slice.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Slice {
    /// It is gone.
    pub(super) absent: bool,
    /// What its cgroup has by now, by the name of the control and in its unit.
    pub(super) limits: BTreeMap<String, u64>,
}

/// A libvirt network.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Network {
    /// It is gone.
    pub(super) absent: bool,
    /// `nat`, `bridge` ...
    pub(super) forward: Option<String>,
    pub(super) bridge: Option<String>,
}

/// A domain.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Domain {
    /// It is gone.
    pub(super) absent: bool,
    pub(super) running: Option<bool>,
    pub(super) autostart: Option<bool>,
    /// Images on top of a disk's volume, the uppermost first, by the disk.
    pub(super) overlays: BTreeMap<String, Vec<PathBuf>>,
}

/// The host that a text describes; files that it names are in that directory.
pub(super) fn host(text: &str, directory: &Path, planned: &Desired, host: &HostId) -> Result<Observed, String> {
    let mut text: Text = toml::from_str(text).map_err(|error| error.to_string())?;
    let base = match text.applied.take() {
        Some(file) => lower(&directory.join(file), host)?,
        None => Desired::default(),
    };
    let ownable = text.table.is_empty();
    Observed::of(Host { base: &base, planned, ownable, text })
}

fn lower(file: &Path, host: &HostId) -> Result<Desired, String> {
    let sources = manifest::read(file).map_err(|error| error.to_string())?;
    let manifest = manifest::parse(&sources).map_err(|problems| problems.render(false))?;
    Ok(manifest.lower(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let id: HostId = "0123456789abcdef0123456789abcdef".parse().unwrap();
        host(text, Path::new("/nonexistent"), &Desired::default(), &id).map(drop).unwrap_err()
    }

    #[test]
    fn a_key_that_nobody_knows_is_named_with_its_line() {
        let said = refused("[link.eth1]\nmtu = 1400\nmty = 1400\n");
        assert!(said.contains("line 3") && said.contains("mty"), "{said}");
    }

    #[test]
    fn a_change_of_what_is_not_there_is_refused_and_named() {
        for (text, named) in [
            ("[table.bridge]\nflushed = [\"forward\"]", "no chain forward"),
            ("[table.bridge]\nadded = [\"mine\"]", "chain mine"),
            ("[table.inet]\nabsent = true", "table inet bulkhead"),
            ("[link.vlan20]\nabsent = true", "no link vlan20"),
            ("[link.tap0]\nmaster = \"br20\"", "no link br20"),
            ("[slice.web]\nabsent = true", "guest web"),
            ("[domain.web]\noverlays.vda = [\"/srv/web.snap\"]", "no disk vda"),
            ("applied = \"before.toml\"", "/nonexistent/before.toml"),
        ] {
            let said = refused(text);
            assert!(said.contains(named), "{text}: {said}");
        }
    }
}
