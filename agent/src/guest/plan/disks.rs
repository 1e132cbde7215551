//! Declared disks: their volumes, and whether the image of a definition is the declared one.

use std::path::{Path, PathBuf};

use bulkhead_types::{Cause, Object};

use super::Plan;
use super::pools::Pools;
use crate::guest::definition::DiskDefinition;
use crate::guest::model::{Desired, Disk, DomainFound, Format, Guest, Observed, State, VolumeFound};
use crate::guest::step::Step;
use crate::guest::xml::volume_xml;

/// What the image of a definition's disk is to the declared volume.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Image<'a> {
    /// It is that volume, or there is none yet.
    Set,
    /// It is an overlay of that volume, as an external snapshot leaves it: that disk, as it is now.
    Overlay(&'a DiskDefinition),
    /// It may not be replaced; the text says why.
    Kept(String),
}

/// Judges one disk of a guest.
pub(super) fn image<'a>(desired: &Desired, guest: &Guest, disk: &Disk, found: &'a DomainFound) -> Image<'a> {
    let target = &disk.target;
    let (Some(volume), Some(here)) = (desired.image(disk), found.definition.disk(target)) else { return Image::Set };
    let volume = &volume;
    let is_overlay = |images: &[PathBuf]| images.first() != Some(volume) && images.contains(volume);
    let running = found.running_chains.get(target).filter(|images| images.first() != here.path.as_ref());
    if let Some(top) = running.filter(|images| is_overlay(images)).and_then(|images| images.first()) {
        return Image::Kept(format!(
            "it runs on {}, an overlay of its disk {target}, but its definition names {}: what was written since would be \
             lost at the next start; `virsh blockcommit {} {target} --active --pivot` writes it into the volume",
            top.display(),
            shown(here.path.as_deref()),
            guest.name
        ));
    }
    match (&here.path, found.chains.get(target)) {
        (None, _) if here.kind == "file" => Image::Set,
        (None, _) => Image::Kept(format!(
            "its disk {target} is of type {} and not the file {} of the manifest; `virsh edit {}`",
            here.kind,
            volume.display(),
            guest.name
        )),
        (Some(path), _) if path == volume => Image::Set,
        (Some(path), Some(Ok(images))) if is_overlay(images) && leaves_encryption(desired, disk, path) => {
            Image::Kept(format!(
                "its disk {target} is on {}, an overlay of {} that is outside its encrypted pool {}; while it runs, \
             `virsh blockcommit {} {target} --active --pivot` writes it into the volume",
                path.display(),
                volume.display(),
                disk.pool,
                guest.name
            ))
        }
        (_, Some(Ok(images))) if is_overlay(images) => Image::Overlay(here),
        // A pulled snapshot or a copy that the guest was moved to is newer than the volume, and looks just like this.
        (Some(path), Some(Ok(_))) => Image::Kept(format!(
            "its disk {target} is {}, and the manifest says {}, of which it is no overlay; which of the two has what was written \
             last, nobody here can tell. Declare the first{}, or make place for the second by `virsh detach-disk {} {target} \
             --config`",
            path.display(),
            volume.display(),
            declaration(volume, here),
            guest.name
        )),
        (Some(path), Some(Err(why))) => Image::Kept(unknown(path, target, volume, why)),
        (Some(path), None) => Image::Kept(unknown(path, target, volume, "libvirt was not asked")),
    }
}

/// How the image of a definition is declared, where it is in the directory of the declared volume.
fn declaration(volume: &Path, here: &DiskDefinition) -> String {
    let same = here.path.as_deref().filter(|path| path.parent() == volume.parent());
    let name = same.and_then(Path::file_name).map(|name| name.to_string_lossy());
    match (name, &here.format) {
        (Some(name), Some(format)) => format!(" by `format = \"{format}\", volume = \"{name}\"`"),
        _ => String::new(),
    }
}

/// Whether an image of a disk whose pool must be encrypted is outside that pool.
fn leaves_encryption(desired: &Desired, disk: &Disk, image: &Path) -> bool {
    let pool = desired.pools.iter().find(|pool| pool.name == disk.pool);
    pool.is_some_and(|pool| pool.encrypted && !image.starts_with(&pool.path))
}

fn unknown(path: &Path, target: &str, volume: &Path, why: &str) -> String {
    format!(
        "its disk {target} is {}, and whether that is an overlay of {} is not known: {why}; \
         `qemu-img info --backing-chain {}` tells",
        path.display(),
        volume.display(),
        path.display()
    )
}

/// Why a guest with these disks is neither defined nor started; `None` where nothing speaks against it.
pub(super) fn why_kept(desired: &Desired, observed: &Observed, guest: &Guest) -> Option<String> {
    let found = observed.domains.get(guest.name.as_str());
    guest.disks.iter().find_map(|disk| {
        if let Some(Image::Kept(why)) = found.map(|found| image(desired, guest, disk, found)) {
            return Some(why);
        }
        let Some(volume) = volume(observed, disk) else { return beside(desired, observed, guest, disk) };
        let (name, wanted) = (&disk.volume, disk.format.as_str());
        match volume.format.as_deref() {
            Some(format) if is_stored_as(format, disk.format) => None,
            // The name that a volume has without `volume` holds its format, and would be another one.
            Some(format) => Some(format!(
                "its volume {name} is {format}, the manifest says {wanted}; write `format = \"{format}\", volume = \"{name}\"` \
                 if that is right"
            )),
            None => Some(format!("libvirt does not say whether its volume {name} is {wanted}")),
        }
    })
}

/// Why an empty volume is not made: the one that the manifest would mean if it gave the other format is there, and nobody
/// declares it.
fn beside(desired: &Desired, observed: &Observed, guest: &Guest, disk: &Disk) -> Option<String> {
    let other = disk.in_other_format(&guest.name)?;
    let found = observed.volumes.get(&disk.pool)?.get(&other)?;
    let mut disks = desired.guests.iter().flat_map(|guest| &guest.disks);
    if disks.any(|declared| (&declared.pool, &declared.volume) == (&disk.pool, &other)) {
        return None;
    }
    let (name, pool) = (&disk.volume, &disk.pool);
    let format = found.format.as_deref().unwrap_or("...");
    Some(format!(
        "its volume {name} is not in pool {pool}, but {other} is, and an empty disk would take its place; write `format = \
         \"{format}\", volume = \"{other}\"` for that one, or give an empty one a name of its own by `volume = \"...\"`"
    ))
}

/// Whether a file that libvirt found to be of a format is one that the manifest calls so. A CD's image is nothing but its
/// bytes; libvirt has a word of its own for it.
fn is_stored_as(found: &str, wanted: Format) -> bool {
    found == wanted.as_str() || (wanted == Format::Raw && found == "iso")
}

/// Plans the volumes that no definition names yet. One that a definition names was there once: an empty one in its place
/// would hide the loss, so its guest waits for a person instead.
pub(super) fn volumes(desired: &Desired, observed: &Observed, guest: &Guest, pools: &Pools, plan: &mut Plan) {
    for disk in &guest.disks {
        let Some(Ok(at)) = pools.get(&disk.pool) else { continue };
        match volume(observed, disk) {
            Some(volume) if volume.capacity != disk.size => {
                let text = resize(observed, guest, disk, volume, at);
                plan.notice(Object::Guest(guest.name.clone()), Cause::Held, text);
            }
            Some(_) => {}
            None if is_named(desired, observed, guest, disk) => {}
            None => {
                if let Some(text) = begins_empty(desired, observed, guest, disk) {
                    plan.notice(Object::Guest(guest.name.clone()), Cause::Held, text);
                }
                plan.steps.push(Step::CreateVolume {
                    guest: guest.name.clone(),
                    pool: disk.pool.clone(),
                    at: at.clone(),
                    volume: disk.volume.clone(),
                    xml: volume_xml(disk),
                });
            }
        }
    }
}

/// What to know of a new guest's empty disk while others leave: perhaps it is one of them, by another name.
fn begins_empty(desired: &Desired, observed: &Observed, guest: &Guest, disk: &Disk) -> Option<String> {
    if observed.domains.contains_key(guest.name.as_str()) {
        return None;
    }
    let leaves = |name: &str| desired.guests.iter().all(|guest| guest.name.as_str() != name);
    let leaving = observed.domains.iter().filter(|(name, found)| found.owned && leaves(name));
    let images = leaving.filter_map(|(name, found)| {
        let path = found.definition.disk(&disk.target)?.path.as_ref()?;
        let mut disks = desired.guests.iter().flat_map(|guest| &guest.disks);
        let declared = disks.any(|disk| desired.image(disk).as_ref() == Some(path));
        (!declared).then(|| format!("{} of {name}", path.display()))
    });
    let images: Vec<_> = images.collect();
    (!images.is_empty()).then(|| {
        format!(
            "its volume {} begins empty, with nothing of what leaves the manifest ({}); if it is one of those by another name, \
             declare its volume first",
            disk.volume,
            images.join(", ")
        )
    })
}

/// What to do about a volume of another size. Making it smaller cuts off what is written at its end, so nobody is told to.
fn resize(observed: &Observed, guest: &Guest, disk: &Disk, volume: &VolumeFound, at: &str) -> String {
    let (name, size, target) = (&disk.volume, disk.size, &disk.target);
    let found = observed.domains.get(guest.name.as_str());
    let runs = found.is_some_and(|found| found.state != State::ShutOff);
    let advice = match (volume.capacity < size, runs) {
        (true, true) => {
            format!("`virsh blockresize {} {target} {size}B` makes it larger while the guest runs", guest.name)
        }
        (true, false) => format!("`virsh vol-resize {name} {size} --pool {at}` makes it larger"),
        (false, _) => "correct the manifest".to_owned(),
    };
    let capacity = volume.capacity;
    format!(
        "volume {name} of pool {at} is {capacity} bytes, the manifest says {size}; a volume is never resized: {advice}"
    )
}

/// The declared volume, where it is there.
fn volume<'a>(observed: &'a Observed, disk: &Disk) -> Option<&'a VolumeFound> {
    observed.volumes.get(&disk.pool)?.get(&disk.volume)
}

/// Whether the guest's present definition names this disk's volume, or an overlay of it.
fn is_named(desired: &Desired, observed: &Observed, guest: &Guest, disk: &Disk) -> bool {
    let Some(found) = observed.domains.get(guest.name.as_str()) else { return false };
    let here = found.definition.disk(&disk.target).and_then(|disk| disk.path.clone());
    match image(desired, guest, disk, found) {
        Image::Set => here.is_some() && here == desired.image(disk),
        Image::Overlay(_) | Image::Kept(_) => true,
    }
}

/// Why a guest is not started: a volume that its definition names is gone.
pub(super) fn lost_volume(desired: &Desired, observed: &Observed, guest: &Guest) -> Option<String> {
    let lost = guest.disks.iter().find(|disk| {
        let listed = observed.volumes.contains_key(&disk.pool);
        listed && volume(observed, disk).is_none() && is_named(desired, observed, guest, disk)
    })?;
    Some(format!(
        "its volume {} is gone from pool {}; restore it, or `virsh undefine {} --keep-nvram` to begin with an empty one",
        lost.volume, lost.pool, guest.name
    ))
}

fn shown(path: Option<&Path>) -> String {
    path.map_or_else(|| "none".to_owned(), |path| path.display().to_string())
}
