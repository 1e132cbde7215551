//! Pools and the volumes in them.

use super::claims::Claims;
use crate::manifest::location::Located;
use crate::manifest::model::Format;
use crate::manifest::problem::Problems;
use crate::manifest::spell::nearest;
use crate::manifest::tables::Tables;
use crate::manifest::value::{Mode, Name, Volume};
use crate::manifest::wire::Disk;

pub(super) fn check(tables: &Tables, problems: &mut Problems) {
    let mut paths = Claims::new();
    for pool in &tables.pools.0 {
        if let Some(path) = &pool.table.path {
            let holder = format!("path of pool.{}", pool.name.0);
            if let Some((first, earlier)) = paths.claim(&path.value, &path.location, &holder) {
                problems
                    .error(&path.location, format!("two pools are the directory {}", path.value.0.display()))
                    .label(holder)
                    .also(&first, earlier)
                    .help("write another directory at one of them, or use one pool for both");
            }
        }
        if let Some(mode) = &pool.table.mode {
            permissions(mode, problems);
        }
    }
    volumes(tables, problems);
}

fn permissions(mode: &Located<Mode>, problems: &mut Problems) {
    let Mode(bits) = mode.value;
    if bits & 0o001 == 0 {
        problems
            .warning(
                &mode.location,
                format!("`{}` is {bits:04o}, which keeps libvirt-qemu out of the directory", mode.location.key),
            )
            .label("it belongs to root, and others may not pass")
            .help("write \"0711\": others may pass through, and not list it");
    }
    if bits & 0o002 != 0 {
        problems
            .warning(
                &mode.location,
                format!("`{}` is {bits:04o}, which lets every user of the host put images there", mode.location.key),
            )
            .label("anybody may write")
            .help("write \"0711\"");
    }
}

fn volumes(tables: &Tables, problems: &mut Problems) {
    let mut claims = Claims::new();
    for guest in &tables.guests.0 {
        for disk in guest.table.disk.iter().flat_map(|disks| &disks.value.0) {
            let Some(pool) = &disk.table.pool else { continue };
            let Some(declared) = tables.pools.get(&pool.value) else {
                no_pool(pool, tables, problems);
                continue;
            };
            if let Some(volume) = &disk.table.volume {
                format(volume, &disk.table, problems);
            }
            let volume = disk.table.volume_name(&guest.name, &disk.name);
            let location = disk.table.volume.as_ref().map_or(&disk.location, |volume| &volume.location);
            if let Some((first, _)) = claims.claim((&declared.name, volume.clone()), location, "") {
                problems
                    .error(location, format!("two disks are the volume {volume} of pool.{}", declared.name.0))
                    .label("this one")
                    .also(&first, "and this one")
                    .help("write volume = \"...\" at one of them: two guests that write one image destroy it");
            }
        }
    }
}

/// A name that shows another format: QEMU would read the image as something that it is not.
fn format(volume: &Located<Volume>, disk: &Disk, problems: &mut Problems) {
    let Some((_, suffix)) = volume.value.0.rsplit_once('.') else { return };
    let shown = match suffix.to_ascii_lowercase().as_str() {
        "qcow2" => Format::Qcow2,
        "raw" | "img" => Format::Raw,
        _ => return,
    };
    let format = disk.format_or_raw();
    if shown != format {
        problems
            .warning(
                &volume.location,
                format!("`{}` is {:?}, and its format is {}", volume.location.key, volume.value.0, format.as_str()),
            )
            .label(if disk.format.is_some() { "the name shows another format" } else { "raw unless given" })
            .help(format!("write format = \"{}\" beside it, if that is what the image is", shown.as_str()));
    }
}

fn no_pool(pool: &Located<Name>, tables: &Tables, problems: &mut Problems) {
    let near = nearest(&pool.value.0, tables.pools.0.iter().map(|pool| pool.name.0.as_str()));
    let problem = problems.absent(
        &pool.location,
        format!("`{}` names the pool {}, which is not declared", pool.location.key, pool.value.0),
    );
    problem.label("no such pool");
    match near {
        Some(near) => {
            problem.help(format!("write pool = {near:?}, or declare it: [pool.{}] with its path", pool.value.0))
        }
        None => problem.help(format!("declare it: [pool.{}] with its path", pool.value.0)),
    };
}
