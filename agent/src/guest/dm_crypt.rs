//! Whether a directory really is on an encrypted disk: a dm-crypt mount at or above it.
//!
//! The kernel's own view decides (`/proc/self/mountinfo`, and `/sys` for the devices below the mount), not what a person
//! wrote in `/etc/crypttab`. What it does not know (ZFS, fscrypt, a network filesystem) counts as not encrypted.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Layers of devices that are followed down; real stacks (LVM on RAID on LUKS) have three.
const DEPTH: u32 = 16;
const MOUNTINFO: &str = "/proc/self/mountinfo";

/// What has to be read of devices. A device is a directory below `/sys`: `dev/block/254:0` or `class/block/dm-0`.
trait Devices {
    /// The device-mapper uuid, such as `CRYPT-LUKS2-...`.
    fn uuid(&self, device: &str) -> Option<String>;
    /// The devices that it is made of.
    fn parts(&self, device: &str) -> Vec<String>;
    /// The block device of a path such as `/dev/mapper/home`.
    fn device_of(&self, node: &Path) -> Option<String>;
}

/// Why a directory of this host is not known to be on an encrypted disk; `None` if it is. It need not exist yet.
pub(crate) fn why_unencrypted(path: &Path) -> Option<String> {
    let mountinfo = match std::fs::read_to_string(MOUNTINFO) {
        Ok(mountinfo) => mountinfo,
        Err(error) => return Some(format!("cannot read {MOUNTINFO}: {error}")),
    };
    match resolved(path) {
        Ok(real) => why_not(&real, &mountinfo, &Sysfs),
        Err(error) => Some(format!("{} cannot be looked up ({error})", path.display())),
    }
}

/// A path without symbolic links; what does not exist yet has none.
fn resolved(path: &Path) -> std::io::Result<PathBuf> {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Err(error), Some(parent), Some(name)) if error.kind() == ErrorKind::NotFound => {
            Ok(resolved(parent)?.join(name))
        }
        (result, ..) => result,
    }
}

/// The devices of this host.
struct Sysfs;

impl Devices for Sysfs {
    fn uuid(&self, device: &str) -> Option<String> {
        std::fs::read_to_string(format!("/sys/{device}/dm/uuid")).ok()
    }

    fn parts(&self, device: &str) -> Vec<String> {
        let entries = std::fs::read_dir(format!("/sys/{device}/slaves")).into_iter().flatten().flatten();
        entries.map(|entry| format!("class/block/{}", entry.file_name().to_string_lossy())).collect()
    }

    fn device_of(&self, node: &Path) -> Option<String> {
        let number = std::fs::metadata(node).ok()?.rdev();
        Some(format!("dev/block/{}:{}", libc::major(number), libc::minor(number)))
    }
}

/// Why a directory is not on an encrypted disk; `None` if it is. `path` holds no symbolic link.
fn why_not(path: &Path, mountinfo: &str, devices: &dyn Devices) -> Option<String> {
    let Some(mount) = mount_of(path, mountinfo) else {
        return Some(format!("the mount of {} was not found in /proc/self/mountinfo", path.display()));
    };
    // btrfs shows an anonymous device number, and the real device only as its source.
    let device = match mount.number.split_once(':') {
        Some(("0", _)) => devices.device_of(&mount.source),
        _ => Some(format!("dev/block/{}", mount.number)),
    };
    let encrypted = device.is_some_and(|device| is_encrypted(&device, devices, DEPTH));
    (!encrypted).then(|| {
        let (path, at, source) = (path.display(), mount.at.display(), mount.source.display());
        format!("{path} is on {source} (mounted at {at}), which is not dm-crypt")
    })
}

/// Encrypted is a device that dm-crypt makes, or one that is made of nothing but encrypted devices. dm-verity and
/// dm-integrity share the prefix and encrypt nothing (cryptsetup, `lib/utils_devpath.c` and `libdevmapper.c`).
fn is_encrypted(device: &str, devices: &dyn Devices, depth: u32) -> bool {
    let uuid = devices.uuid(device).unwrap_or_default();
    let plain = uuid.starts_with("CRYPT-VERITY-") || uuid.starts_with("CRYPT-INTEGRITY-");
    if uuid.starts_with("CRYPT-") && !plain {
        return true;
    }
    let parts = devices.parts(device);
    depth > 0 && !parts.is_empty() && parts.iter().all(|part| is_encrypted(part, devices, depth - 1))
}

struct Mount {
    id: u32,
    parent: u32,
    number: String,
    at: PathBuf,
    source: PathBuf,
}

/// The mount that a path ends up on: from the root, at each mount point on the way, into what is mounted there. A longer
/// mount point does not win by itself: a mount above it may have covered it since.
fn mount_of(path: &Path, mountinfo: &str) -> Option<Mount> {
    let mut mounts: Vec<_> = mountinfo.lines().filter_map(read_mount).collect();
    let ids: Vec<_> = mounts.iter().map(|mount| mount.id).collect();
    let root = |mount: &Mount| mount.at == Path::new("/") && !ids.contains(&mount.parent);
    let mut here = mounts.swap_remove(mounts.iter().position(root)?);
    loop {
        let below = mounts.iter().enumerate().filter(|(_, m)| m.parent == here.id && path.starts_with(&m.at));
        let Some((next, _)) = below.min_by_key(|(_, mount)| mount.at.components().count()) else {
            return Some(here);
        };
        here = mounts.swap_remove(next);
    }
}

/// One line, `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw` (proc(5)).
fn read_mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let mut number = || left.next()?.parse().ok();
    let (id, parent) = (number()?, number()?);
    let number = left.next()?.to_owned();
    let at = unescape(left.nth(1)?);
    let source = unescape(right.split(' ').nth(1)?);
    Some(Mount { id, parent, number, at, source })
}

/// The kernel writes space, tab, newline and backslash of a name as `\040` and so on (`fs/proc_namespace.c`).
fn unescape(text: &str) -> PathBuf {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => plain.push_str(&format!("{}{}", char::from(byte), &part[3..])),
            None => plain.push_str(&format!("\\{part}")),
        }
    }
    plain.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `254:0` LUKS, `254:1` LVM on it, `254:2` verity, `254:3` RAID of a LUKS and a bare disk, `8:1` a bare disk.
    struct Fake;

    impl Devices for Fake {
        fn uuid(&self, device: &str) -> Option<String> {
            let uuid = match device {
                "dev/block/254:0" | "class/block/dm-0" => "CRYPT-LUKS2-0123-luks",
                "dev/block/254:1" => "LVM-abcd",
                "dev/block/254:2" => "CRYPT-VERITY-0123-v",
                "dev/block/254:9" => "LVM-loop",
                _ => return None,
            };
            Some(uuid.to_owned())
        }

        fn parts(&self, device: &str) -> Vec<String> {
            let parts: &[&str] = match device {
                "dev/block/254:0" | "dev/block/254:2" => &["class/block/sda1"],
                "dev/block/254:1" => &["class/block/dm-0"],
                "dev/block/254:3" => &["class/block/dm-0", "class/block/sdb"],
                "dev/block/254:9" => &["dev/block/254:9"],
                _ => &[],
            };
            parts.iter().map(|part| (*part).to_owned()).collect()
        }

        fn device_of(&self, node: &Path) -> Option<String> {
            (node == Path::new("/dev/mapper/luks")).then(|| "dev/block/254:0".to_owned())
        }
    }

    fn found(mounts: &str, path: &str) -> Option<String> {
        let mountinfo = format!("20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n{mounts}");
        why_not(Path::new(path), &mountinfo, &Fake)
    }

    #[test]
    fn a_luks_mount_at_the_pool_or_above_it_counts() {
        let mount = "30 20 254:0 / /srv/secure rw shared:2 - ext4 /dev/mapper/luks rw\n";
        assert_eq!(found(mount, "/srv/secure"), None);
        assert_eq!(found(mount, "/srv/secure/images"), None);
        let why = "/srv/secured is on /dev/sda1 (mounted at /), which is not dm-crypt";
        assert_eq!(found(mount, "/srv/secured").as_deref(), Some(why));
    }

    #[test]
    fn lvm_on_luks_and_btrfs_on_luks_count() {
        assert_eq!(found("30 20 254:1 / /srv rw - xfs /dev/mapper/vg-srv rw\n", "/srv/a"), None);
        assert_eq!(found("30 20 0:45 /@srv /srv rw - btrfs /dev/mapper/luks rw\n", "/srv/a"), None);
    }

    #[test]
    fn what_only_looks_like_dm_crypt_does_not_count() {
        for number in ["254:2", "254:3", "254:9", "8:1", "0:50"] {
            let mount = format!("30 20 {number} / /srv rw - ext4 /dev/x rw\n");
            assert!(found(&mount, "/srv").is_some(), "{number}");
        }
    }

    #[test]
    fn a_mount_that_another_one_covers_does_not_count() {
        let encrypted = "30 20 254:0 / /srv/secure rw - ext4 /dev/mapper/luks rw\n";
        let stacked = "31 30 8:2 / /srv/secure rw - ext4 /dev/sdb2 rw\n";
        let above = "31 20 8:2 / /srv rw - ext4 /dev/sdb2 rw\n";
        assert!(found(&format!("{encrypted}{stacked}"), "/srv/secure").is_some());
        assert!(found(&format!("{encrypted}{above}"), "/srv/secure").is_some());
    }

    #[test]
    fn a_mount_point_with_a_space_is_found() {
        assert_eq!(found("30 20 254:0 / /srv/a\\040b rw - ext4 /dev/mapper/luks rw\n", "/srv/a b"), None);
    }

    proptest! {
        #[test]
        fn no_mountinfo_makes_the_reader_stop_the_daemon(text in "([0-9]{0,2}[ :/\\\\-]{0,2}|[^x]){0,60}") {
            let _ = why_not(Path::new("/srv"), &text, &Fake);
        }
    }
}
