//! The facets of a domain's definition that the manifest decides, and how two of them differ.
//!
//! A definition is compared facet by facet and never by text or hash: libvirt adds addresses, aliases and defaults of its
//! own, and what a person adds with `virsh edit` that opens no way out of the guest (a watchdog, a description) is theirs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bulkhead_sandbox::unit::partition;
use serde::Serialize;

use super::model::{Guest, Host, Pool};

/// The facets of a domain's definition that the manifest decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Definition {
    /// The domain type: `kvm` or `qemu`.
    pub kind: String,
    /// RAM in bytes.
    pub memory: u64,
    /// RAM in bytes that the balloon leaves the guest; the same, unless somebody changed it.
    pub memory_now: u64,
    /// CPUs at start.
    pub vcpus_now: u32,
    /// CPUs at most.
    pub vcpus_max: u32,
    /// The machine type; `None` leaves it to libvirt, which turns it into a versioned name. It never differs: a domain keeps
    /// the virtual hardware that it has for its whole life.
    pub machine: Option<String>,
    /// The cgroup partition.
    pub partition: Option<String>,
    /// Disks, by target.
    pub disks: Vec<DiskDefinition>,
    /// NICs, by target.
    pub nics: Vec<NicDefinition>,
    /// Whatever else the definition gives the guest that reaches beyond its walls, such as `hostdev` or
    /// `qemu:commandline`, in words.
    pub others: BTreeSet<String>,
}

/// A disk of a definition.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DiskDefinition {
    /// The device in the guest.
    pub target: String,
    /// The image; `None` where it is no file.
    pub path: Option<PathBuf>,
    /// QEMU's name of the image format.
    pub format: Option<String>,
    /// Its place in the boot order, from 1.
    pub boot: Option<u32>,
}

/// A NIC of a definition.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NicDefinition {
    /// The name of its tap; `None` lets libvirt choose.
    pub tap: Option<String>,
    /// Its address.
    pub mac: Option<String>,
    /// The bridge; `None` where it is on none, or on one that a libvirt network chooses.
    pub bridge: Option<String>,
    /// Its place in the boot order, from 1.
    pub boot: Option<u32>,
}

impl Definition {
    /// The definition of a guest of the manifest. Its images are files of the declared pools.
    #[must_use]
    pub fn of(guest: &Guest, pools: &[Pool], host: &Host) -> Self {
        let order = || (1..).map(Some);
        let after_disks = order().skip(guest.disks.len());
        let disks = guest.disks.iter().zip(order()).map(|(disk, boot)| DiskDefinition {
            target: disk.target.clone(),
            path: pools.iter().find(|pool| pool.name == disk.pool).map(|pool| pool.path.join(&disk.volume)),
            format: Some(disk.format.as_str().to_owned()),
            boot,
        });
        let nics = guest.nics.iter().zip(after_disks).map(|(nic, boot)| NicDefinition {
            tap: Some(nic.tap.to_string()),
            mac: Some(nic.mac.to_string()),
            bridge: Some(nic.bridge.to_string()),
            boot,
        });
        let definition = Self {
            kind: host.kind.clone(),
            memory: guest.memory,
            memory_now: guest.memory,
            vcpus_now: guest.vcpus_now,
            vcpus_max: guest.vcpus_max,
            machine: host.machine.clone(),
            partition: Some(partition(&guest.name)),
            disks: disks.collect(),
            nics: nics.collect(),
            others: BTreeSet::new(),
        };
        definition.sorted()
    }

    /// The same with devices in the one order in which definitions are compared. libvirt sorts disks its own way.
    pub(crate) fn sorted(mut self) -> Self {
        self.disks.sort();
        self.nics.sort();
        self
    }

    /// How the definition that was found differs from this one, in words; empty means not at all.
    #[must_use]
    pub fn differences(&self, found: &Self) -> Vec<String> {
        let mut words = self.lasting_differences(found);
        differ(&mut words, "current memory", &bytes(found.memory_now), &bytes(self.memory_now));
        differ(&mut words, "current vcpus", &found.vcpus_now, &self.vcpus_now);
        words
    }

    /// The same for the definition of a running domain, where balloon and CPUs may move within their bounds.
    #[must_use]
    pub fn lasting_differences(&self, found: &Self) -> Vec<String> {
        let mut words = Vec::new();
        differ(&mut words, "type", &found.kind, &self.kind);
        differ(&mut words, "memory", &bytes(found.memory), &bytes(self.memory));
        differ(&mut words, "vcpus", &found.vcpus_max, &self.vcpus_max);
        differ(&mut words, "partition", &shown(&found.partition), &shown(&self.partition));
        members(&mut words, &found.disks, &self.disks, |disk| {
            let path = disk.path.as_ref().map(|path| path.display().to_string());
            format!("disk {} {} {} boot {}", disk.target, shown(&disk.format), shown(&path), shown(&disk.boot))
        });
        members(&mut words, &found.nics, &self.nics, |nic| {
            let (tap, mac, bridge) = (shown(&nic.tap), shown(&nic.mac), shown(&nic.bridge));
            format!("nic {tap} {mac} on {bridge} boot {}", shown(&nic.boot))
        });
        words.extend(found.others.difference(&self.others).map(|other| format!("undeclared {other}")));
        words
    }
}

fn differ<T: PartialEq + std::fmt::Display>(words: &mut Vec<String>, what: &str, found: &T, wanted: &T) {
    if found != wanted {
        words.push(format!("{what} {found} instead of {wanted}"));
    }
}

fn members<T: PartialEq>(words: &mut Vec<String>, found: &[T], wanted: &[T], say: impl Fn(&T) -> String) {
    words.extend(found.iter().filter(|one| !wanted.contains(one)).map(|one| format!("undeclared {}", say(one))));
    words.extend(wanted.iter().filter(|one| !found.contains(one)).map(|one| format!("missing {}", say(one))));
    if words.is_empty() && found.len() != wanted.len() {
        words.push(format!("{} devices instead of {}", found.len(), wanted.len()));
    }
}

fn shown<T: std::fmt::Display>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)
}

fn bytes(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}
