//! Pools and the volumes in them.

use super::claims::Claims;
use crate::manifest::place::At;
use crate::manifest::problem::Problems;
use crate::manifest::spell::nearest;
use crate::manifest::value::{Mode, Name};
use crate::manifest::whole::Whole;

pub(super) fn check(whole: &Whole, problems: &mut Problems) {
    let mut paths = Claims::new();
    for pool in &whole.pools.0 {
        if let Some(path) = &pool.table.path {
            let holder = format!("path of pool.{}", pool.name.0);
            if let Some((first, earlier)) = paths.claim(&path.value, &path.place, &holder) {
                problems
                    .error(&path.place, format!("two pools are the directory {}", path.value.0.display()))
                    .label(holder)
                    .also(&first, earlier)
                    .help("write another directory at one of them, or use one pool for both");
            }
        }
        if let Some(mode) = &pool.table.mode {
            permissions(mode, problems);
        }
    }
    volumes(whole, problems);
}

fn permissions(mode: &At<Mode>, problems: &mut Problems) {
    let Mode(bits) = mode.value;
    if bits & 0o001 == 0 {
        problems
            .warning(
                &mode.place,
                format!("`{}` is {bits:04o}, which keeps libvirt-qemu out of the directory", mode.place.key),
            )
            .label("it belongs to root, and others may not pass")
            .help("write \"0711\": others may pass through, and not list it");
    }
    if bits & 0o002 != 0 {
        problems
            .warning(
                &mode.place,
                format!("`{}` is {bits:04o}, which lets every user of the host put images there", mode.place.key),
            )
            .label("anybody may write")
            .help("write \"0711\"");
    }
}

fn volumes(whole: &Whole, problems: &mut Problems) {
    let mut claims = Claims::new();
    for guest in &whole.guests.0 {
        for disk in guest.table.disk.iter().flat_map(|disks| &disks.value.0) {
            let Some(pool) = &disk.table.pool else { continue };
            let Some(declared) = whole.pools.get(&pool.value) else {
                no_pool(pool, whole, problems);
                continue;
            };
            let volume = disk.table.volume_name(&guest.name, &disk.name);
            let place = disk.table.volume.as_ref().map_or(&disk.place, |volume| &volume.place);
            if let Some((first, _)) = claims.claim((&declared.name, volume.clone()), place, "") {
                problems
                    .error(place, format!("two disks are the volume {volume} of pool.{}", declared.name.0))
                    .label("this one")
                    .also(&first, "and this one")
                    .help("write volume = \"...\" at one of them: two guests that write one image destroy it");
            }
        }
    }
}

fn no_pool(pool: &At<Name>, whole: &Whole, problems: &mut Problems) {
    let near = nearest(&pool.value.0, whole.pools.0.iter().map(|pool| pool.name.0.as_str()));
    let problem = problems
        .absent(&pool.place, format!("`{}` names the pool {}, which is not declared", pool.place.key, pool.value.0));
    problem.label("no such pool");
    match near {
        Some(near) => {
            problem.help(format!("write pool = {near:?}, or declare it: [pool.{}] with its path", pool.value.0))
        }
        None => problem.help(format!("declare it: [pool.{}] with its path", pool.value.0)),
    };
}
