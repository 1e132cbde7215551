//! What the manifest wants of libvirt, what libvirt has, and which of it is ours.

use std::path::PathBuf;

use bulkhead_types::{GuestName, IfName, Mac};
use serde::Serialize;

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

/// An image format, by libvirt's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Bytes as they are, sparse.
    Raw,
    /// QEMU's copy-on-write format, version 2.
    Qcow2,
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
