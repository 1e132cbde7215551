//! The initramfs: busybox, the modules of the disks, and `init.sh`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Error, Image, at};

const INIT: &str = include_str!("init.sh");
/// All that decides what the initramfs is, besides the image's kernel.
pub(super) const RECIPE: &str = INIT;
/// The drivers of the disks, as far as the kernel does not have them built in.
const MODULES: &[&str] = &["virtio_pci", "virtio_blk", "ext4"];
/// Debian's busybox-static.
const BUSYBOX: &str = "/bin/busybox";

/// Takes kernel and modules out of `root` and makes the initramfs that boots the image.
pub(super) fn build(image: &Image, root: &Path) -> Result<(), Error> {
    let missing = |what: &str| Error::Missing(image.suite, what.to_owned());
    let boot = root.join("boot");
    let kernel = list(&boot)?.into_iter().find(|path| name(path).starts_with("vmlinuz-"));
    let kernel = kernel.ok_or_else(|| missing("kernel"))?;
    fs::copy(&kernel, image.kernel()).map_err(at("copy", &kernel))?;
    let version = name(&kernel).trim_start_matches("vmlinuz-").to_owned();
    let library = root.join("usr/lib/modules").join(version);

    let stage = image.file("initramfs.d");
    if stage.exists() {
        fs::remove_dir_all(&stage).map_err(at("remove", &stage))?;
    }
    let modules = stage.join("modules");
    fs::create_dir_all(&modules).map_err(at("make", &modules))?;
    let index = library.join("modules.dep");
    let text = fs::read_to_string(&index).map_err(at("read", &index))?;
    let mut order = String::new();
    for path in load_order(&text, MODULES) {
        let loaded = stem(Path::new(path)).to_owned() + ".ko";
        unpack(&library.join(path), &modules.join(&loaded))?;
        order += &format!("{loaded}\n");
    }
    fs::write(modules.join("order"), order).map_err(at("write", &modules))?;
    fs::copy(BUSYBOX, stage.join("busybox")).map_err(at("copy", Path::new(BUSYBOX)))?;
    let init = stage.join("init");
    fs::write(&init, INIT).map_err(at("write", &init))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).map_err(at("set the mode of", &init))?;
    pack(&stage, &image.initramfs())?;
    fs::remove_dir_all(&stage).map_err(at("remove", &stage))
}

/// Paths of `wanted` and all that they need, in the order in which they load; what `modules.dep` does not name is built
/// into the kernel.
fn load_order<'a>(dependencies: &'a str, wanted: &[&str]) -> Vec<&'a str> {
    let needs: BTreeMap<&str, Vec<&str>> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| (path, needs.split_whitespace().collect()))
        .collect();
    let mut order = Vec::new();
    for module in wanted {
        let Some((path, needs)) = needs.iter().find(|(path, _)| stem(Path::new(path)) == *module) else { continue };
        // depmod names the whole closure, what loads first last.
        for path in needs.iter().rev().chain([path]) {
            if !order.contains(path) {
                order.push(*path);
            }
        }
    }
    order
}

/// `virtio_blk` of `kernel/drivers/block/virtio_blk.ko.xz`.
fn stem(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split_once('.').map_or(name, |(stem, _)| stem)
}

/// Copies a module, uncompressed.
fn unpack(from: &Path, to: &Path) -> Result<(), Error> {
    if from.extension().is_none_or(|e| e != "xz") {
        return fs::copy(from, to).map(|_| ()).map_err(at("copy", from));
    }
    let file = File::create(to).map_err(at("make", to))?;
    let ended = Command::new(BUSYBOX).arg("xzcat").arg(from).stdout(file).status().map_err(at("unpack", from))?;
    if ended.success() { Ok(()) } else { Err(at("unpack", from)(std::io::Error::other(format!("xzcat: {ended}")))) }
}

/// Packs a directory as the kernel wants it.
fn pack(stage: &Path, to: &Path) -> Result<(), Error> {
    let mut names = Vec::new();
    walk(stage, stage, &mut names)?;
    let file = File::create(to).map_err(at("make", to))?;
    let mut child = Command::new(BUSYBOX)
        .args(["cpio", "-o", "-H", "newc"])
        .current_dir(stage)
        .stdin(Stdio::piped())
        .stdout(file)
        .stderr(Stdio::null())
        .spawn()
        .map_err(at("pack", stage))?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(names.join("\n").as_bytes()).map_err(at("pack", stage))?;
    }
    let ended = child.wait().map_err(at("pack", stage))?;
    if ended.success() { Ok(()) } else { Err(at("pack", stage)(std::io::Error::other(format!("cpio: {ended}")))) }
}

/// Every path below `directory`, relative to `stage`, parents first.
fn walk(stage: &Path, directory: &Path, names: &mut Vec<String>) -> Result<(), Error> {
    for path in list(directory)? {
        names.push(path.strip_prefix(stage).unwrap_or(&path).display().to_string());
        if path.is_dir() {
            walk(stage, &path, names)?;
        }
    }
    Ok(())
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect())
        .map_err(at("list", directory))?;
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_load_after_what_they_need_and_built_in_ones_are_left_out() {
        let dependencies = "\
kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.xz kernel/fs/jbd2/jbd2.ko.xz
kernel/fs/jbd2/jbd2.ko.xz:
kernel/lib/crc16.ko.xz:
kernel/drivers/block/virtio_blk.ko.xz:
";
        let order: Vec<&str> =
            load_order(dependencies, MODULES).into_iter().map(|path| stem(Path::new(path))).collect();
        assert_eq!(order, ["virtio_blk", "jbd2", "crc16", "ext4"]);
    }
}
