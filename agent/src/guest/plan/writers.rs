//! Images that more than one disk would write, which destroys what is in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bulkhead_types::{Cause, GuestName};

use crate::guest::definition::{Definition, DiskDefinition};
use crate::guest::model::{Desired, Disk, DomainFound, Guest, Observed};

/// Of each guest that wants an image which another disk writes: why it waits.
pub(super) type Conflicts = BTreeMap<GuestName, (Cause, String)>;

/// By an image, and by the domain and the target of each disk that writes it: how.
type Writers<'a> = BTreeMap<PathBuf, BTreeMap<(&'a str, &'a str), Writes>>;

/// How a disk writes an image.
#[derive(Debug, Default, Clone, Copy)]
struct Writes {
    /// The next start would.
    defined: bool,
    /// The domain runs with it.
    running: bool,
}

/// Looks for every declared disk whose image is another disk's too, of whatever domain. Of one that cannot be read nothing is
/// known, and nobody waits for it.
pub(super) fn conflicts(desired: &Desired, observed: &Observed) -> Conflicts {
    let writers = writers(observed);
    let wanted = desired.guests.iter().filter_map(|guest| {
        let found = observed.domains.get(guest.name.as_str());
        let why = guest.disks.iter().find_map(|disk| conflict(desired, observed, &writers, guest, disk, found))?;
        Some((guest.name.clone(), why))
    });
    wanted.collect()
}

fn writers(observed: &Observed) -> Writers<'_> {
    let mut writers = Writers::new();
    for (name, found) in &observed.domains {
        for (definition, running) in [(Some(&found.definition), false), (found.running.as_ref(), true)] {
            for disk in definition.into_iter().flat_map(written) {
                for image in images(observed, found, disk, running) {
                    let writes = writers.entry(image).or_default().entry((name, &disk.target)).or_default();
                    *if running { &mut writes.running } else { &mut writes.defined } = true;
                }
            }
        }
    }
    writers
}

fn written(definition: &Definition) -> impl Iterator<Item = &DiskDefinition> {
    definition.disks.iter().filter(|disk| !disk.shared)
}

/// The image of a disk and what is known to be below it: who writes what an overlay is made of destroys the overlay.
fn images(observed: &Observed, found: &DomainFound, disk: &DiskDefinition, running: bool) -> Vec<PathBuf> {
    let volume = disk.volume.as_ref().and_then(|(pool, volume)| {
        let pool = observed.pools.iter().find(|found| found.name == *pool)?;
        Some(pool.path.as_ref()?.join(volume))
    });
    let below = if running {
        found.running_chains.get(&disk.target)
    } else {
        found.chains.get(&disk.target).and_then(|images| images.as_ref().ok())
    };
    disk.path.iter().cloned().chain(volume).chain(below.into_iter().flatten().cloned()).collect()
}

fn conflict(
    desired: &Desired,
    observed: &Observed,
    writers: &Writers<'_>,
    guest: &Guest,
    disk: &Disk,
    found: Option<&DomainFound>,
) -> Option<(Cause, String)> {
    let here = found.and_then(|found| found.definition.disk(&disk.target));
    if here.is_some_and(|here| here.shared) {
        return None;
    }
    let images = [desired.image(disk), here.and_then(|here| here.path.clone())];
    images.into_iter().flatten().find_map(|image| {
        // What the guest itself runs with ends before its next start.
        let mut others = writers.get(&image)?.iter().filter(|((domain, target), writes)| {
            *domain != guest.name.as_str() || (*target != disk.target && writes.defined)
        });
        let ((domain, target), writes) = others.next()?;
        Some(why(desired, observed, guest, disk, &image, (domain, target, *writes)))
    })
}

fn why(
    desired: &Desired,
    observed: &Observed,
    guest: &Guest,
    disk: &Disk,
    image: &Path,
    (domain, target, writes): (&str, &str, Writes),
) -> (Cause, String) {
    let (wanted, image) = (&disk.target, image.display());
    if domain == guest.name.as_str() {
        let text = format!(
            "its disk {wanted} is {image}, which its definition has as disk {target} too, and two disks that write one image \
             destroy it; `virsh detach-disk {domain} {target} --config` takes it from {target}"
        );
        return (Cause::Held, text);
    }
    let found = observed.domains.get(domain);
    let declared = desired.guests.iter().any(|guest| guest.name.as_str() == domain);
    if !declared && found.is_some_and(DomainFound::goes) {
        let text = format!(
            "its disk {wanted} is {image}, which guest {domain} has as disk {target}; that left the manifest, and this goes on \
             when it is gone"
        );
        return (Cause::Pending, text);
    }
    let config = writes.defined && found.is_some_and(|found| found.persistent);
    let options = match (config, writes.running) {
        (true, true) => "--config --live",
        (true, false) => "--config",
        (false, _) => "--live",
    };
    let text = format!(
        "its disk {wanted} is {image}, which domain {domain} has as disk {target} too, and two guests that write one image \
         destroy it; `virsh detach-disk {domain} {target} {options}` takes it from {domain}"
    );
    (Cause::Held, text)
}
