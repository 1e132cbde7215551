//! What the manifest wants of libvirt, what libvirt has, and which of it is ours.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_types::{Cause, GuestName, IfName, Mac};
use serde::Serialize;

pub use super::definition::{Definition, DiskDefinition, NicDefinition};

/// XML namespace of the ownership mark: a metadata element `owned` in it, whose attribute `name` is the object's own
/// name. A copy of our domain under another name (`virt-clone` copies metadata) is thereby not ours.
pub const NAMESPACE: &str = "https://bulkhead.example/xmlns/1";

/// How much time guests have. The daemon gives what is the default; tests of a whole life give less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Timing {
    /// How long a guest that left the manifest may take to shut down before it is reported as kept.
    pub shutdown_timeout: Duration,
    /// The least time between two starts of one guest, so that one that dies at once does not keep the host busy.
    pub start_interval: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { shutdown_timeout: Duration::from_secs(60), start_interval: Duration::from_secs(30) }
    }
}

/// Everything the manifest wants of libvirt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Desired {
    /// Storage pools, by directory.
    pub pools: Vec<Pool>,
    /// Our bridges, published so that virt-manager sees them.
    pub networks: Vec<Network>,
    /// Guests.
    pub guests: Vec<Guest>,
    /// Whether libvirt's own NAT network `default` must be gone.
    pub default_network_absent: bool,
}

impl Desired {
    /// The image of a declared disk; `None` where its pool is not declared.
    #[must_use]
    pub fn image(&self, disk: &Disk) -> Option<PathBuf> {
        self.pools.iter().find(|pool| pool.name == disk.pool).map(|pool| pool.path.join(&disk.volume))
    }
}

/// A directory of disk images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pool {
    /// libvirt's name of it.
    pub name: String,
    /// The directory; a pool that exists at the same path under another name is used, never redefined.
    pub path: PathBuf,
    /// Mode of the directory where libvirt makes it, such as `0o711`.
    pub mode: u32,
    /// Whether its guests are held until a dm-crypt mount is really at (or above) `path`.
    pub encrypted: bool,
}

/// A libvirt network that only names one of our bridges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Network {
    /// libvirt's name of it, such as `LANBridge`.
    pub name: String,
    /// The bridge.
    pub bridge: IfName,
}

/// A guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Guest {
    /// Its name, also libvirt's.
    pub name: GuestName,
    /// RAM in bytes, a multiple of 1 MiB.
    pub memory: u64,
    /// CPUs at start.
    pub vcpus_now: u32,
    /// CPUs that can be added while it runs.
    pub vcpus_max: u32,
    /// Whether it runs; `false` defines it only, and leaves it as it is if somebody started it.
    pub start: bool,
    /// Disks, in boot order.
    pub disks: Vec<Disk>,
    /// NICs, in boot order after the disks.
    pub nics: Vec<Nic>,
}

/// A disk: a volume of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// The device in the guest, such as `vda`.
    pub target: String,
    /// The pool's name in the manifest.
    pub pool: String,
    /// The volume's name in the pool, `GUEST-TARGET.FORMAT` unless given.
    pub volume: String,
    /// Size in bytes where the volume is made; one that exists is never resized.
    pub size: u64,
    /// How the image is stored.
    pub format: Format,
}

impl Disk {
    /// The volume's name where none is given.
    #[must_use]
    pub fn derived_name(guest: &GuestName, target: &str, format: Format) -> String {
        format!("{guest}-{target}.{}", format.as_str())
    }

    /// The name that the volume would have in the other format; `None` where it has a name of its own.
    #[must_use]
    pub fn in_other_format(&self, guest: &GuestName) -> Option<String> {
        let other = match self.format {
            Format::Raw => Format::Qcow2,
            Format::Qcow2 => Format::Raw,
        };
        let derived = self.volume == Self::derived_name(guest, &self.target, self.format);
        derived.then(|| Self::derived_name(guest, &self.target, other))
    }
}

/// An image format, by libvirt's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Bytes as they are, sparse.
    Raw,
    /// QEMU's copy-on-write format, version 2.
    Qcow2,
}

impl Format {
    /// libvirt's and QEMU's name of it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// A NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Nic {
    /// Its port on the bridge, `bh-` and 12 hex digits.
    pub tap: IfName,
    /// Its address.
    pub mac: Mac,
    /// The bridge.
    pub bridge: IfName,
}

/// Everything libvirt has that the manifest could speak of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Observed {
    /// Why libvirt cannot be asked; everything below is empty then.
    pub down: Option<String>,
    /// What libvirt can run here.
    pub host: Host,
    /// All storage pools.
    pub pools: Vec<PoolFound>,
    /// Names of declared pools whose directory is there.
    pub directories: Vec<String>,
    /// Of each declared pool whose directory this process cannot look at, by its name in the manifest: why not.
    pub hidden: BTreeMap<String, String>,
    /// Of each declared pool that is active, by its name in the manifest: the volumes that declared disks name and that are
    /// there.
    pub volumes: BTreeMap<String, BTreeMap<String, VolumeFound>>,
    /// Of each declared encrypted pool that is not known to be on a dm-crypt mount, by its name: why not.
    pub unencrypted: BTreeMap<String, String>,
    /// All networks by name.
    pub networks: BTreeMap<String, NetworkFound>,
    /// All domains by name.
    pub domains: BTreeMap<String, DomainFound>,
    /// What is there and could not be read.
    pub unread: Unread,
    /// What was asked of guests a short while ago.
    pub recent: BTreeMap<GuestName, Recent>,
    /// How much time they have for it.
    pub timing: Timing,
}

impl Observed {
    /// What is known when libvirt cannot be asked.
    #[must_use]
    pub fn down(why: impl Into<String>) -> Self {
        Self { down: Some(why.into()), ..Self::default() }
    }

    /// Our domains that run, with their uuid: what can be read back from the kernel.
    pub fn running(&self) -> impl Iterator<Item = (GuestName, &str)> {
        let ours = self.domains.iter().filter(|(_, domain)| domain.owned && domain.state == State::Running);
        ours.filter_map(|(name, domain)| Some((name.parse().ok()?, domain.uuid.as_str())))
    }
}

/// What libvirt can run here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Host {
    /// The domain type of new definitions: `kvm` where libvirt offers it, else `qemu`.
    pub kind: String,
    /// The machine type of new definitions; `None` leaves it to libvirt.
    pub machine: Option<String>,
    /// The programs that libvirt itself runs guests with.
    pub emulators: BTreeSet<String>,
}

impl Host {
    /// Whether guests run on the CPU itself and not under QEMU's emulation.
    #[must_use]
    pub fn accelerated(&self) -> bool {
        self.kind == "kvm"
    }
}

/// Objects that libvirt has and that could not be read, by libvirt's name of them: why not. Each is unknown, whosever it
/// is; the others go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// Storage pools; one of the manifest also where its volumes could not be listed.
    pub pools: BTreeMap<String, String>,
    /// Networks.
    pub networks: BTreeMap<String, String>,
    /// Domains.
    pub domains: BTreeMap<String, String>,
}

/// A volume of a declared pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VolumeFound {
    /// Its size for the guest, in bytes.
    pub capacity: u64,
    /// Its image format as libvirt found it by the file's first bytes; `None` where libvirt does not say.
    pub format: Option<String>,
}

/// A storage pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolFound {
    /// libvirt's name of it.
    pub name: String,
    /// Its directory; `None` where its volumes are no files.
    pub path: Option<PathBuf>,
    /// Whether volumes can be made and listed.
    pub active: bool,
    /// Whether libvirtd starts it by itself.
    pub autostart: bool,
}

/// A libvirt network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkFound {
    /// Its identity; a definition with the same one replaces it.
    pub uuid: String,
    /// Whether it carries our mark under its own name.
    pub owned: bool,
    /// The definition that the next start uses.
    pub definition: NetworkDefinition,
    /// The definition that it runs with; `None` is inactive.
    pub running: Option<NetworkDefinition>,
    /// Whether it outlives its stop.
    pub persistent: bool,
    /// Whether libvirtd starts it by itself.
    pub autostart: bool,
}

impl NetworkFound {
    /// Whether it is the NAT network that libvirt's packages define, going by what it does; the name is the caller's to
    /// compare.
    #[must_use]
    pub fn is_nat(&self) -> bool {
        !self.owned && self.definition.forward.as_deref() == Some("nat")
    }
}

/// What we say of a libvirt network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NetworkDefinition {
    /// `bridge`, `nat`, ...; `None` is an isolated network.
    pub forward: Option<String>,
    /// The bridge it names.
    pub bridge: Option<String>,
}

impl NetworkDefinition {
    /// The definition of a network that only names one of our bridges.
    #[must_use]
    pub fn of(network: &Network) -> Self {
        Self { forward: Some("bridge".to_owned()), bridge: Some(network.bridge.to_string()) }
    }
}

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DomainFound {
    /// Its identity; a definition with the same one replaces it.
    pub uuid: String,
    /// Whether it carries our mark under its own name.
    pub owned: bool,
    /// What it does.
    pub state: State,
    /// The definition that the next start uses.
    pub definition: Definition,
    /// The definition that it runs with; `None` is inactive.
    pub running: Option<Definition>,
    /// Whether it outlives its stop.
    pub persistent: bool,
    /// Whether libvirtd starts it by itself; never wanted.
    pub autostart: bool,
    /// Where it went, as our mark in its definition says.
    pub noted_away: Option<Away>,
    /// What somebody else does with it, or did, so that it is left alone.
    pub occupied: Option<Occupied>,
    /// Its saved memory, from which the next start goes on: the definition in it, or why that cannot be read.
    pub saved: Option<Result<Definition, String>>,
    /// Of each disk of a declared guest whose image is not the declared volume, by its target: the images that it is made of,
    /// the uppermost first, or why they are not known. Of an undeclared one that is read only or shareable it is not asked.
    pub chains: BTreeMap<String, Result<Vec<PathBuf>, String>>,
    /// The same of all disks with which a domain runs, whosever it is, where libvirt says it.
    pub running_chains: BTreeMap<String, Vec<PathBuf>>,
    /// What would be lost if libvirt forgot the domain, in words; looked at where it left the manifest.
    pub irreplaceable: Vec<String>,
}

impl DomainFound {
    /// Whether it is one of ours that is to be ended or forgotten once it has left the manifest.
    #[must_use]
    pub fn goes(&self) -> bool {
        self.owned && (self.state != State::ShutOff || self.irreplaceable.is_empty())
    }

    /// A domain of that identity, ours or not, which does nothing special.
    #[must_use]
    pub fn new(uuid: String, owned: bool, state: State, definition: Definition) -> Self {
        Self {
            uuid,
            owned,
            state,
            definition,
            running: None,
            persistent: true,
            autostart: false,
            noted_away: None,
            occupied: None,
            saved: None,
            chains: BTreeMap::new(),
            running_chains: BTreeMap::new(),
            irreplaceable: Vec::new(),
        }
    }
}

/// What somebody else does with a domain, or did, so that it is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Occupied {
    /// A job of libvirt's is running on it: it is saved, dumped, migrated, backed up or put into a snapshot.
    Job,
    /// A block job is running on that disk: it is copied, committed or pulled.
    BlockJob(String),
    /// An installer runs in it, whose definition ends it at its reboot.
    Installed,
    /// It is shut off and goes on elsewhere.
    Away(Away),
    /// Whether something is running on it could not be read; the text says why.
    Unknown(String),
}

/// Where a guest that is shut off here goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Away {
    /// On another host.
    Migrated,
    /// From a file with its memory: a start from its disks would make that file useless.
    Saved,
}

impl Away {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Migrated, Self::Saved];

    /// The word for it in our mark.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Migrated => "migrated",
            Self::Saved => "saved",
        }
    }
}

impl Occupied {
    /// Where the guest is, if it is not here.
    #[must_use]
    pub const fn away(&self) -> Option<Away> {
        match self {
            Self::Away(away) => Some(*away),
            Self::Job | Self::BlockJob(_) | Self::Installed | Self::Unknown(_) => None,
        }
    }

    /// What kind of notice it is worth.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        match self {
            Self::Job | Self::BlockJob(_) | Self::Installed => Cause::Pending,
            Self::Away(_) => Cause::Held,
            Self::Unknown(_) => Cause::Unknown,
        }
    }

    /// What it is, and what a person can do about it.
    #[must_use]
    pub fn words(&self, guest: &GuestName) -> String {
        match self {
            Self::Job => format!("libvirt is at work on it; `virsh domjobinfo {guest}` shows what it does"),
            Self::BlockJob(disk) => {
                format!("a block job is running on its disk {disk}; `virsh blockjob {guest} {disk}` shows it")
            }
            Self::Installed => "an installer runs in it, whose definition ends it at its reboot".to_owned(),
            Self::Away(Away::Migrated) => format!(
                "it moved to another host; take it out of the manifest, or `virsh start {guest}` if it runs nowhere else"
            ),
            Self::Away(Away::Saved) => format!(
                "its memory was saved to a file; `virsh restore FILE` goes on with it, `virsh start {guest}` begins anew"
            ),
            Self::Unknown(why) => format!("whether libvirt is at work on it is not known: {why}"),
        }
    }
}

/// What a domain does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It runs.
    Running,
    /// It does not run.
    ShutOff,
    /// It exists as a process and does not run; the text is libvirt's reason.
    Paused(&'static str),
    /// It is on its way down, or crashed and kept for a dump, or asleep.
    Other(&'static str),
}

/// What was asked of a guest a short while ago. Not truth, only patience: a restart of the daemon forgets it, and then
/// asks once more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Recent {
    /// How long ago its start was asked, where that is less than [`Timing::start_interval`].
    pub started: Option<Duration>,
    /// Why that start failed.
    pub failure: Option<String>,
    /// How long ago its shutdown was asked.
    pub shut_down: Option<Duration>,
}
