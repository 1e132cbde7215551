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
             last, nobody here can tell. Declare the first, or make place for the second by `virsh detach-disk {} {target} --config`",
            path.display(),
            volume.display(),
            guest.name
        )),
        (Some(path), Some(Err(why))) => Image::Kept(unknown(path, target, volume, why)),
        (Some(path), None) => Image::Kept(unknown(path, target, volume, "libvirt was not asked")),
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
        let volume = volume(observed, disk)?;
        let (name, wanted) = (&disk.volume, disk.format.as_str());
        match volume.format.as_deref() {
            Some(format) if is_stored_as(format, disk.format) => None,
            Some(format) => Some(format!(
                "its volume {name} is {format}, the manifest says {wanted}; write `format = \"{format}\"` if that is right"
            )),
            None => Some(format!("libvirt does not say whether its volume {name} is {wanted}")),
        }
    })
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
            None => plan.steps.push(Step::CreateVolume {
                guest: guest.name.clone(),
                pool: disk.pool.clone(),
                at: at.clone(),
                volume: disk.volume.clone(),
                xml: volume_xml(disk),
            }),
        }
    }
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
