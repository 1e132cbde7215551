//! The facets of a domain's definition that the manifest decides, and how what was found differs from them.
//!
//! A definition is compared facet by facet and never by text or hash: libvirt adds addresses, aliases and defaults of its
//! own, and what a person adds is theirs. What is theirs and breaks a wall is a [violation](Definition::violations).

use std::collections::BTreeSet;
use std::path::PathBuf;

use bulkhead_sandbox::unit::partition;
use serde::Serialize;

use super::model::{Guest, Host, Pool};

/// How the name of every port of ours begins; the manifest gives no other.
const PORT_PREFIX: &str = "bh-";

/// The facets of a domain's definition that the manifest decides, and in words what else it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Definition {
    /// The domain type, `kvm` or `qemu`: of a new definition only.
    pub kind: String,
    /// The machine type of a new definition; `None` leaves it to libvirt. A domain keeps the virtual hardware that it has
    /// for its whole life.
    pub machine: Option<String>,
    /// RAM in bytes.
    pub memory: u64,
    /// RAM in bytes that the balloon leaves the guest; the same, unless somebody changed it.
    pub memory_now: u64,
    /// CPUs at start.
    pub vcpus_now: u32,
    /// CPUs at most.
    pub vcpus_max: u32,
    /// What decides the memory beside its two numbers, such as NUMA cells: who changes one has to change the other, and only
    /// a person can.
    pub memory_decided_by: Option<&'static str>,
    /// The same of the CPUs, such as a topology.
    pub vcpus_decided_by: Option<&'static str>,
    /// The cgroup partition.
    pub partition: Option<String>,
    /// The program that runs it: of a definition that was found, the one that it names; of a wanted one, those that may.
    pub emulators: BTreeSet<String>,
    /// Disks, in their order.
    pub disks: Vec<DiskDefinition>,
    /// NICs, in their order.
    pub nics: Vec<NicDefinition>,
    /// What breaks a wall whatever the manifest says, such as a `hostdev` or `qemu:commandline`.
    pub breaches: BTreeSet<String>,
    /// Devices that a person added and that stay within the walls, such as a channel to a guest agent.
    pub added: BTreeSet<String>,
}

/// A disk of a definition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DiskDefinition {
    /// The device in the guest.
    pub target: String,
    /// What holds its bytes, by libvirt's word: `file`, `block`, `network` ...
    pub kind: String,
    /// The image; `None` where it is no file, or an empty drive.
    pub path: Option<PathBuf>,
    /// The device of the host that it is.
    pub device: Option<PathBuf>,
    /// The volume that it is, by libvirt's names of the pool and of the volume in it.
    pub volume: Option<(String, String)>,
    /// Whether others may have its image too: it is read only, or shareable.
    pub shared: bool,
    /// QEMU's name of the image format.
    pub format: Option<String>,
}

/// A NIC of a definition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NicDefinition {
    /// What it is plugged into, by libvirt's word: `bridge`, `network`, `direct`, `user` ...
    pub kind: String,
    /// The name of its tap; `None` lets libvirt choose.
    pub tap: Option<String>,
    /// Its address.
    pub mac: Option<String>,
    /// The bridge; `None` where it is on none, or on one that a libvirt network chooses.
    pub bridge: Option<String>,
}

impl NicDefinition {
    /// Whether the port has a name of ours, whatever the manifest says of it today.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.tap.as_deref().is_some_and(|tap| tap.starts_with(PORT_PREFIX))
    }

    /// Whether it is on a bridge, or on a libvirt network that chooses one. Anything else a person chose with care, so that
    /// it is named and not changed.
    #[must_use]
    pub fn is_bridged(&self) -> bool {
        matches!(self.kind.as_str(), "bridge" | "network")
    }
}

impl std::fmt::Display for NicDefinition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (tap, mac) = (shown(&self.tap), shown(&self.mac));
        match &self.bridge {
            Some(bridge) => write!(f, "NIC {tap} {mac} on {bridge}"),
            None => write!(f, "NIC {tap} {mac} of type {}", self.kind),
        }
    }
}

impl Definition {
    /// The definition of a guest of the manifest. Its images are files of the declared pools.
    #[must_use]
    pub fn of(guest: &Guest, pools: &[Pool], host: &Host) -> Self {
        let disks = guest.disks.iter().map(|disk| DiskDefinition {
            target: disk.target.clone(),
            kind: "file".to_owned(),
            path: pools.iter().find(|pool| pool.name == disk.pool).map(|pool| pool.path.join(&disk.volume)),
            format: Some(disk.format.as_str().to_owned()),
            ..DiskDefinition::default()
        });
        let nics = guest.nics.iter().map(|nic| NicDefinition {
            kind: "bridge".to_owned(),
            tap: Some(nic.tap.to_string()),
            mac: Some(nic.mac.to_string()),
            bridge: Some(nic.bridge.to_string()),
        });
        Self {
            kind: host.kind.clone(),
            machine: host.machine.clone(),
            memory: guest.memory,
            memory_now: guest.memory,
            vcpus_now: guest.vcpus_now,
            vcpus_max: guest.vcpus_max,
            partition: Some(partition(&guest.name)),
            emulators: host.emulators.clone(),
            disks: disks.collect(),
            nics: nics.collect(),
            ..Self::default()
        }
    }

    /// Of each NIC that was found, in their order: the one of this definition that it is, by its port's name or its address.
    /// Each is found once at most.
    pub(crate) fn declared<'a>(&'a self, found: &[NicDefinition]) -> Vec<Option<&'a NicDefinition>> {
        let mut left: Vec<&NicDefinition> = self.nics.iter().collect();
        let mut take = |same: &dyn Fn(&NicDefinition) -> bool| {
            let index = left.iter().position(|nic| same(nic))?;
            Some(left.remove(index))
        };
        let same = |nic: &NicDefinition, found: &NicDefinition| (nic.tap == found.tap, same_mac(nic, found));
        let mut declared = vec![None; found.len()];
        // Whoever has both goes first: a copy with one of the two is another NIC.
        for enough in [|(tap, mac): (bool, bool)| tap && mac, |(tap, mac): (bool, bool)| tap || mac] {
            for (found, declared) in found.iter().zip(&mut declared).filter(|(_, declared)| declared.is_none()) {
                *declared = take(&|nic| enough(same(nic, found)));
            }
        }
        declared
    }

    /// How the definition that was found differs from this one in what an edit can set, in words; empty means not at all.
    #[must_use]
    pub fn differences(&self, found: &Self) -> Vec<String> {
        let mut words = self.lasting_differences(found);
        if found.memory_decided_by.is_none() {
            differ(&mut words, "current memory", &bytes(found.memory_now), &bytes(self.memory_now));
        }
        if found.vcpus_decided_by.is_none() {
            differ(&mut words, "current vcpus", &found.vcpus_now, &self.vcpus_now);
        }
        words
    }

    /// The same for the definition of a running domain, where balloon and CPUs may move within their bounds.
    #[must_use]
    pub fn lasting_differences(&self, found: &Self) -> Vec<String> {
        let mut words = Vec::new();
        if found.memory_decided_by.is_none() {
            differ(&mut words, "memory", &bytes(found.memory), &bytes(self.memory));
        }
        if found.vcpus_decided_by.is_none() {
            differ(&mut words, "vcpus", &found.vcpus_max, &self.vcpus_max);
        }
        differ(&mut words, "partition", &shown(&found.partition), &shown(&self.partition));
        for disk in &self.disks {
            match found.disk(&disk.target) {
                Some(found) => {
                    let what = |facet| format!("disk {} {facet}", disk.target);
                    differ(&mut words, &what("image"), &image(found), &image(disk));
                    differ(&mut words, &what("format"), &shown(&found.format), &shown(&disk.format));
                }
                None => words.push(format!("missing disk {} {}", disk.target, image(disk))),
            }
        }
        let declared = self.declared(&found.nics);
        for (found, declared) in found.nics.iter().zip(&declared) {
            match declared {
                Some(nic) if found.is_bridged() => {
                    let same = same_mac(nic, found) && (&nic.tap, &nic.bridge) == (&found.tap, &found.bridge);
                    if !same {
                        words.push(format!("{found} instead of {nic}"));
                    }
                }
                None if found.is_ours() => words.push(format!("{found}, which left the manifest")),
                _ => {}
            }
        }
        let missing = self.nics.iter().filter(|nic| !declared.contains(&Some(nic)));
        words.extend(missing.map(|nic| format!("missing {nic}")));
        words
    }

    /// What of a definition that was found differs from this one and cannot be set, because something else in it has to change
    /// with it: in words, and what to do.
    #[must_use]
    pub fn fixed_differences(&self, found: &Self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(by) = found.memory_decided_by.filter(|_| found.memory != self.memory) {
            let (is, wanted) = (bytes(found.memory), bytes(self.memory));
            words.push(format!("memory {is} instead of {wanted}, which its {by} decide"));
        }
        let vcpus = (found.vcpus_now, found.vcpus_max) != (self.vcpus_now, self.vcpus_max);
        if let Some(by) = found.vcpus_decided_by.filter(|_| vcpus) {
            let ((now, max), (wanted_now, wanted_max)) =
                ((found.vcpus_now, found.vcpus_max), (self.vcpus_now, self.vcpus_max));
            words.push(format!("{now} of {max} vcpus instead of {wanted_now} of {wanted_max}, which its {by} decides"));
        }
        words
    }

    /// What of a definition that was found leads past the walls around this guest, in words; empty means nothing. It is a
    /// person's, so that no edit takes it away.
    #[must_use]
    pub fn violations(&self, found: &Self) -> Vec<String> {
        let nics = found.nics.iter().zip(self.declared(&found.nics)).filter_map(|(found, declared)| match declared {
            Some(_) if found.is_bridged() => None,
            Some(nic) => Some(format!("{found} instead of {nic}")),
            None if found.is_ours() => None,
            None => Some(format!("undeclared {found}")),
        });
        // Another program than libvirt's own may do with its arguments what it likes.
        let strange = found.emulators.difference(&self.emulators).filter(|_| !self.emulators.is_empty());
        let strange = strange.map(|program| format!("emulator {program}"));
        found.breaches.iter().cloned().chain(strange).chain(nics).collect()
    }

    /// The same of the definition that a domain runs with, where a difference that the next start mends is a violation today.
    #[must_use]
    pub fn running_violations(&self, found: &Self) -> Vec<String> {
        let mut words = self.violations(found);
        differ(&mut words, "partition", &shown(&found.partition), &shown(&self.partition));
        let nics = found.nics.iter().zip(self.declared(&found.nics));
        let bridged = nics.filter(|(found, _)| found.is_bridged());
        words.extend(bridged.filter_map(|(found, declared)| {
            let nic = declared?;
            (nic.bridge != found.bridge).then(|| format!("{found} instead of {nic}"))
        }));
        words
    }

    /// Devices of a definition that was found that the manifest does not name and that stay within the walls, in words.
    #[must_use]
    pub fn undeclared(&self, found: &Self) -> Vec<String> {
        let disks = found.disks.iter().filter(|found| self.disk(&found.target).is_none());
        let disks = disks.map(|disk| format!("disk {} {}", disk.target, image(disk)).trim_end().to_owned());
        disks.chain(found.added.iter().cloned()).collect()
    }

    /// The disk of that device in the guest.
    #[must_use]
    pub fn disk(&self, target: &str) -> Option<&DiskDefinition> {
        self.disks.iter().find(|disk| disk.target == target)
    }
}

fn same_mac(one: &NicDefinition, other: &NicDefinition) -> bool {
    match (&one.mac, &other.mac) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        (one, other) => one == other,
    }
}

fn differ<T: PartialEq + std::fmt::Display>(words: &mut Vec<String>, what: &str, found: &T, wanted: &T) {
    if found != wanted {
        words.push(format!("{what} {found} instead of {wanted}"));
    }
}

/// What a disk's bytes are in.
fn image(disk: &DiskDefinition) -> String {
    match (disk.path.as_ref().or(disk.device.as_ref()), &disk.volume, disk.kind.as_str()) {
        (Some(path), _, _) => path.display().to_string(),
        (None, Some((pool, volume)), _) => format!("volume {volume} of pool {pool}"),
        (None, None, "file") => "without an image".to_owned(),
        (None, None, kind) => format!("of type {kind}"),
    }
}

fn shown<T: std::fmt::Display>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)
}

fn bytes(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}
