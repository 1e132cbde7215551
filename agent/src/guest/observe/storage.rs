//! Pools, and the volumes in them that matter.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bulkhead_types::chain;
use virt::connect::Connect;
use virt::error::ErrorNumber;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;

use super::apart;
use crate::guest::dm_crypt::why_unencrypted;
use crate::guest::error::{Error, Refused as _};
use crate::guest::model::{Desired, Observed, Pool, PoolFound, State, VolumeFound};
use crate::guest::xml::{read_pool, read_volume};

/// Directories of which the daemon's unit shows the daemon others than the host's (`ProtectHome=`, `PrivateTmp=`): what is
/// not seen there may be there all the same.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];
/// Images on top of each other that are followed; libvirt itself takes no more (`VIR_STORAGE_MAX_CHAIN_DEPTH`).
const CHAIN: usize = 200;

/// Reads all pools, and where the declared ones are to be.
pub(super) fn read_pools(connect: &Connect, desired: &Desired, observed: &mut Observed) -> Result<(), Error> {
    let listed = connect.list_all_storage_pools(0).refused("list", "pools")?;
    let pools = listed.iter().map(|pool| (pool.get_name().refused("name", "a pool"), read_one_pool(pool)));
    let (pools, unread) = apart(connect, pools)?;
    observed.pools = pools.into_values().collect();
    observed.unread.pools = unread;
    for wanted in &desired.pools {
        match is_there(&wanted.path) {
            Ok(true) => observed.directories.push(wanted.name.clone()),
            Ok(false) => {}
            Err(why) => _ = observed.hidden.insert(wanted.name.clone(), why),
        }
        if wanted.encrypted
            && let Some(why) = why_unencrypted(&wanted.path)
        {
            observed.unencrypted.insert(wanted.name.clone(), why);
        }
    }
    Ok(())
}

/// Whether a directory is there, or why this process cannot tell.
fn is_there(path: &Path) -> Result<bool, String> {
    if let Some(hidden) = HIDDEN.iter().find(|hidden| path.starts_with(hidden)) {
        return Err(format!("the agent does not see what is in {hidden}"));
    }
    match std::fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

fn read_one_pool(pool: &StoragePool) -> Result<PoolFound, Error> {
    let name = pool.get_name().refused("name", "a pool")?;
    let xml = pool.get_xml_desc(0).refused("pool-dumpxml", &name)?;
    let path = read_pool(&xml).refused("pool-dumpxml", &name)?;
    let active = pool.is_active().refused("pool-info", &name)?;
    // A pool that only lives until its stop has no autostart to ask for.
    let persistent = pool.is_persistent().refused("pool-info", &name)?;
    let autostart = persistent && pool.get_autostart().refused("pool-info", &name)?;
    Ok(PoolFound { name, path, active, autostart })
}

/// Reads the volumes that declared disks name. A pool whose volumes cannot be read is unknown from here on.
pub(super) fn read_volumes(connect: &Connect, desired: &Desired, observed: &mut Observed) -> Result<(), Error> {
    for wanted in &desired.pools {
        let here = observed.pools.iter().find(|pool| pool.active && pool.path.as_ref() == Some(&wanted.path));
        let Some(here) = here else { continue };
        match volumes(connect, &here.name, wanted, desired, observed) {
            Ok(volumes) => _ = observed.volumes.insert(wanted.name.clone(), volumes),
            Err(error) if error.is_gone() => {}
            Err(error) if !connect.is_alive().unwrap_or(false) => return Err(error),
            Err(error) => _ = observed.unread.pools.insert(here.name.clone(), chain(&error)),
        }
    }
    Ok(())
}

/// libvirt lists a directory, and looks what is in its files, only when the pool is refreshed. That is done for guests that
/// may be started by what is found, and where a volume seems to be missing. In the place of one that is missing, the one of
/// the same name in the other format is looked for.
fn volumes(
    connect: &Connect,
    at: &str,
    wanted: &Pool,
    desired: &Desired,
    observed: &Observed,
) -> Result<BTreeMap<String, VolumeFound>, Error> {
    let pool = StoragePool::lookup_by_name(connect, at).refused("find pool", at)?;
    let guests = desired.guests.iter().filter(|guest| guest.disks.iter().any(|disk| disk.pool == wanted.name));
    let down = |name: &str| observed.domains.get(name).is_none_or(|found| found.state == State::ShutOff);
    let starts = guests.clone().any(|guest| down(guest.name.as_str()));
    let disks = guests.flat_map(|guest| guest.disks.iter().map(move |disk| (guest, disk)));
    let declared = disks.filter(|(_, disk)| disk.pool == wanted.name);
    let names: BTreeSet<_> = declared.clone().map(|(_, disk)| disk.volume.as_str()).collect();
    if !starts {
        let known = named(&pool, &names)?;
        if known.len() == names.len() {
            return Ok(known);
        }
    }
    // Refused while a volume is being made in it; then what is known has to do.
    if let Err(error) = pool.refresh(0) {
        tracing::debug!(pool = at, error = error.message(), "not refreshed");
    }
    let mut found = named(&pool, &names)?;
    let missing = declared.filter(|(_, disk)| !found.contains_key(&disk.volume));
    let others: BTreeSet<_> = missing.filter_map(|(guest, disk)| disk.in_other_format(&guest.name)).collect();
    found.append(&mut named(&pool, &others.iter().map(String::as_str).collect())?);
    Ok(found)
}

fn named(pool: &StoragePool, names: &BTreeSet<&str>) -> Result<BTreeMap<String, VolumeFound>, Error> {
    let mut found = BTreeMap::new();
    for name in names {
        let volume = match StorageVol::lookup_by_name(pool, name) {
            Ok(volume) => volume,
            Err(error) if error.code() == ErrorNumber::NoStorageVolume => continue,
            Err(error) => return Err(error).refused("find volume", name),
        };
        let capacity = volume.get_info().refused("vol-info", name)?.capacity;
        let xml = volume.get_xml_desc(0).refused("vol-dumpxml", name)?;
        let format = read_volume(&xml).refused("vol-dumpxml", name)?.format;
        found.insert((*name).to_owned(), VolumeFound { capacity, format });
    }
    Ok(found)
}

/// The images that one is made of, itself first, by what libvirt's pools say of it; or why they are not known.
pub(super) fn chain_of(connect: &Connect, image: &Path, pools: &[PoolFound]) -> Result<Vec<PathBuf>, String> {
    let mut images = vec![image.to_owned()];
    for _ in 0..CHAIN {
        let Some(last) = images.last() else { break };
        let volume = volume_at(connect, last, pools)?;
        let xml = volume.get_xml_desc(0).map_err(|error| error.message().to_owned())?;
        match read_volume(&xml).map_err(|error| chain(&error))?.backing {
            Some(below) => images.push(below),
            None => return Ok(images),
        }
    }
    Err(format!("it has more than {CHAIN} images on top of each other"))
}

fn volume_at(connect: &Connect, path: &Path, pools: &[PoolFound]) -> Result<StorageVol, String> {
    let text = path.display().to_string();
    if let Ok(volume) = StorageVol::lookup_by_path(connect, &text) {
        return Ok(volume);
    }
    // One that was made since its pool was last listed.
    let here = pools.iter().find(|pool| pool.active && pool.path.as_deref() == path.parent());
    let here = here.ok_or_else(|| format!("no active pool of libvirt's holds {text}"))?;
    let refreshed = StoragePool::lookup_by_name(connect, &here.name).and_then(|pool| pool.refresh(0));
    let volume = refreshed.and_then(|_| StorageVol::lookup_by_path(connect, &text));
    volume.map_err(|error| format!("{text}: {}", error.message()))
}
