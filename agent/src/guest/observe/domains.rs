//! Domains, and what somebody else does with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bulkhead_types::chain;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::ErrorNumber;
use virt::sys;

use super::storage::chain_of;
use crate::guest::error::{Error, Refused as _};
use crate::guest::model::{Away, Definition, Desired, DomainFound, Guest, Host, Occupied, PoolFound, State};
use crate::guest::sys::{checkpoints, has_block_job, is_free, saved_definition, snapshots};
use crate::guest::xml::{self, DomainRead};

/// Reads a domain. What only matters of our own is asked of our own only.
pub(super) fn read_domain(
    connect: &Connect,
    domain: &Domain,
    desired: &Desired,
    pools: &[PoolFound],
) -> Result<DomainFound, Error> {
    let name = domain.get_name().refused("name", "a domain")?;
    let uuid = domain.get_uuid_string().refused("domuuid", &name)?;
    let inactive = inactive_domain(domain, &name)?;
    let (state, reason) = domain.get_state().refused("domstate", &name)?;
    let live = live_domain(domain, &name)?;
    let persistent = domain.is_persistent().refused("dominfo", &name)?;
    let autostart = persistent && domain.get_autostart().refused("dominfo", &name)?;
    let mut found = DomainFound::new(uuid, inactive.owned, state_of(state, reason), inactive.definition.clone());
    (found.persistent, found.autostart) = (persistent, autostart);
    found.noted_away = inactive.away;
    found.running_chains = live.iter().flat_map(|live| live.chains.clone()).collect();
    if found.owned {
        let saved = domain.has_managed_save(0).or_else(unsupported).refused("dominfo", &name)?;
        found.saved = saved.then(|| saved_facets(domain));
        let guest = desired.guests.iter().find(|guest| guest.name.as_str() == name);
        let wanted = guest.map(|guest| Definition::of(guest, &desired.pools, &Host::default()));
        let writes = !persistent || wanted.is_none_or(|wanted| !wanted.differences(&found.definition).is_empty());
        let reason = reason.cast_unsigned();
        found.occupied = match &live {
            Some(live) if is_installed(live, persistent, &inactive) => Some(Occupied::Installed),
            Some(live) => at_work(domain, live, &found.state, reason, writes),
            None => away(&found, reason).map(Occupied::Away),
        };
        match guest {
            Some(guest) => {
                found.chains = chains(connect, guest, desired, &found, pools);
                resolve_links(guest, desired, &mut found);
            }
            None => found.irreplaceable = irreplaceable(domain, &name)?,
        }
    }
    found.running = live.map(|live| live.definition);
    Ok(found)
}

/// The definition that a domain's next start uses.
pub(in crate::guest) fn inactive_domain(domain: &Domain, name: &str) -> Result<DomainRead, Error> {
    let xml = domain.get_xml_desc(sys::VIR_DOMAIN_XML_INACTIVE).refused("dumpxml --inactive", name)?;
    xml::read_domain(&xml).refused("dumpxml --inactive", name)
}

/// What a domain that runs has; `None` where it is shut off.
fn live_domain(domain: &Domain, name: &str) -> Result<Option<DomainRead>, Error> {
    if !domain.is_active().refused("domstate", name)? {
        return Ok(None);
    }
    let xml = domain.get_xml_desc(0).refused("dumpxml", name)?;
    xml::read_domain(&xml).map(Some).refused("dumpxml", name)
}

/// Whether an installer runs in it, which ends where the next start is to reboot.
fn is_installed(live: &DomainRead, persistent: bool, inactive: &DomainRead) -> bool {
    live.ends_at_reboot && !(persistent && inactive.ends_at_reboot)
}

/// What somebody does with a domain that is about to be ended: its turn may come minutes after the look that planned it.
pub(in crate::guest) fn occupied(domain: &Domain, name: &str) -> Result<Option<Occupied>, Error> {
    let Some(live) = live_domain(domain, name)? else { return Ok(None) };
    let persistent = domain.is_persistent().refused("dominfo", name)?;
    if is_installed(&live, persistent, &inactive_domain(domain, name)?) {
        return Ok(Some(Occupied::Installed));
    }
    let (state, reason) = domain.get_state().refused("domstate", name)?;
    Ok(at_work(domain, &live, &state_of(state, reason), reason.cast_unsigned(), true))
}

/// A driver that does not know a thing has none of it.
fn unsupported<T: Default>(error: virt::error::Error) -> Result<T, virt::error::Error> {
    if error.code() == ErrorNumber::NoSupport { Ok(T::default()) } else { Err(error) }
}

fn saved_facets(domain: &Domain) -> Result<Definition, String> {
    let xml = saved_definition(domain).map_err(|error| error.message().to_owned())?;
    xml::read_domain(&xml).map(|read| read.definition).map_err(|error| chain(&error))
}

/// Where a domain that is shut off went. A libvirtd that was restarted does not know why any domain is shut off; then what we
/// noted of it still holds.
fn away(found: &DomainFound, reason: u32) -> Option<Away> {
    match reason {
        _ if found.state != State::ShutOff || found.saved.is_some() => None,
        sys::VIR_DOMAIN_SHUTOFF_MIGRATED => Some(Away::Migrated),
        sys::VIR_DOMAIN_SHUTOFF_SAVED => Some(Away::Saved),
        sys::VIR_DOMAIN_SHUTOFF_UNKNOWN => found.noted_away,
        _ => None,
    }
}

/// What somebody does with a domain that runs. A question about jobs waits for whatever is just being done with it, so it is
/// only asked of one of which something is to be written, and only if that answers.
fn at_work(domain: &Domain, live: &DomainRead, state: &State, reason: u32, writes: bool) -> Option<Occupied> {
    const JOBS: [u32; 5] = [
        sys::VIR_DOMAIN_PAUSED_MIGRATION,
        sys::VIR_DOMAIN_PAUSED_SAVE,
        sys::VIR_DOMAIN_PAUSED_DUMP,
        sys::VIR_DOMAIN_PAUSED_SNAPSHOT,
        sys::VIR_DOMAIN_PAUSED_STARTING_UP,
    ];
    if let Some(disk) = live.mirrored.first() {
        return Some(Occupied::BlockJob(disk.clone()));
    }
    if matches!(state, State::Paused(_)) && JOBS.contains(&reason) {
        return Some(Occupied::Job);
    }
    if !writes {
        return None;
    }
    let job = |domain: &Domain| domain.get_job_info().map(|job| job.r#type != sys::VIR_DOMAIN_JOB_NONE.cast_signed());
    // A driver without such calls has nothing that they could wait for.
    let busy = match is_free(domain) {
        Ok(true) => job(domain).or_else(unsupported),
        Ok(false) => Ok(true),
        Err(error) => unsupported(error),
    };
    match busy {
        Ok(true) => return Some(Occupied::Job),
        Ok(false) => {}
        Err(error) => return Some(Occupied::Unknown(error.message().to_owned())),
    }
    // Images are pulled and committed only where there are several.
    for (disk, _) in live.chains.iter().filter(|(_, images)| images.len() > 1) {
        match has_block_job(domain, disk) {
            Ok(true) => return Some(Occupied::BlockJob(disk.clone())),
            Ok(false) => {}
            Err(error) => return Some(Occupied::Unknown(error.message().to_owned())),
        }
    }
    None
}

/// Of each disk whose image is another than the declared volume: what that is made of. One that nobody declares may be an
/// overlay of a volume that is declared for another one, unless it is only read.
fn chains(
    connect: &Connect,
    guest: &Guest,
    desired: &Desired,
    found: &DomainFound,
    pools: &[PoolFound],
) -> BTreeMap<String, Result<Vec<PathBuf>, String>> {
    let mut chains = BTreeMap::new();
    for disk in &found.definition.disks {
        let declared = guest.disks.iter().find(|declared| declared.target == disk.target);
        if declared.is_none() && disk.shared {
            continue;
        }
        let volume = declared.and_then(|declared| desired.image(declared));
        let Some(image) = disk.path.as_ref().filter(|image| Some(*image) != volume.as_ref()) else { continue };
        let running = found.running_chains.get(&disk.target).filter(|images| images.first() == Some(image));
        let chain = running.map_or_else(|| chain_of(connect, image, pools), |images| Ok(images.clone()));
        chains.insert(disk.target.clone(), chain);
    }
    chains
}

/// Gives an image that is the declared volume under another path, by a symbolic link, the path of the manifest.
fn resolve_links(guest: &Guest, desired: &Desired, found: &mut DomainFound) {
    let known = found.chains.iter_mut().filter_map(|(target, images)| Some((target, images.as_mut().ok()?)));
    for (target, images) in known.chain(&mut found.running_chains) {
        let disk = guest.disks.iter().find(|disk| disk.target == *target);
        let Some(volume) = disk.and_then(|disk| desired.image(disk)) else { continue };
        let real = |path: &Path| path.canonicalize().ok();
        let Some(wanted) = real(&volume) else { continue };
        for image in images.iter_mut().filter(|image| real(image).as_ref() == Some(&wanted)) {
            volume.clone_into(image);
        }
    }
}

/// What libvirt could not give back if it forgot the domain, in words.
pub(in crate::guest) fn irreplaceable(domain: &Domain, name: &str) -> Result<Vec<String>, Error> {
    let xml = domain.get_xml_desc(sys::VIR_DOMAIN_XML_INACTIVE).refused("dumpxml --inactive", name)?;
    let changed = !xml::is_as_made(&xml).refused("dumpxml --inactive", name)?;
    let saved = domain.has_managed_save(0).or_else(unsupported).refused("dominfo", name)?;
    let counts = [
        (snapshots(domain).or_else(unsupported).refused("snapshot-list", name)?, "snapshot"),
        (checkpoints(domain).or_else(unsupported).refused("checkpoint-list", name)?, "checkpoint"),
    ];
    let counted = counts.into_iter().filter(|(count, _)| *count > 0);
    let counted = counted.map(|(count, what)| format!("{count} {what}{}", if count == 1 { "" } else { "s" }));
    let changed = changed.then(|| "what somebody changed in its definition".to_owned());
    Ok(changed.into_iter().chain(counted).chain(saved.then(|| "saved memory".to_owned())).collect())
}

fn state_of(state: sys::virDomainState, reason: i32) -> State {
    match state {
        sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED => State::Running,
        sys::VIR_DOMAIN_SHUTOFF => State::ShutOff,
        sys::VIR_DOMAIN_PAUSED => State::Paused(paused(reason.cast_unsigned())),
        sys::VIR_DOMAIN_SHUTDOWN => State::Other("shutting down"),
        sys::VIR_DOMAIN_CRASHED => State::Other("crashed"),
        sys::VIR_DOMAIN_PMSUSPENDED => State::Other("asleep"),
        _ => State::Other("in a state that libvirt does not name"),
    }
}

/// virsh's words for the reasons.
fn paused(reason: sys::virDomainPausedReason) -> &'static str {
    match reason {
        sys::VIR_DOMAIN_PAUSED_USER => "by a user",
        sys::VIR_DOMAIN_PAUSED_MIGRATION => "for a migration",
        sys::VIR_DOMAIN_PAUSED_SAVE => "while it is saved",
        sys::VIR_DOMAIN_PAUSED_DUMP => "while it is dumped",
        sys::VIR_DOMAIN_PAUSED_IOERROR => "by an I/O error of a disk",
        sys::VIR_DOMAIN_PAUSED_WATCHDOG => "by its watchdog",
        sys::VIR_DOMAIN_PAUSED_FROM_SNAPSHOT => "since it was restored from a snapshot",
        sys::VIR_DOMAIN_PAUSED_SHUTTING_DOWN => "while it shuts down",
        sys::VIR_DOMAIN_PAUSED_SNAPSHOT => "for a snapshot",
        sys::VIR_DOMAIN_PAUSED_CRASHED => "by a crash",
        sys::VIR_DOMAIN_PAUSED_STARTING_UP => "while it starts",
        _ => "for a reason that libvirt does not name",
    }
}
