//! Builds the Debian package, the one thing that a host, and the lab, installs.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use crate::program::{self, output};

/// Files of the repository's `systemd/`, and where the package puts them.
const INSTALLED: &[(&str, &str)] = &[
    ("bulkheadd.service", "usr/lib/systemd/system/bulkheadd.service"),
    ("bulkheadd.socket", "usr/lib/systemd/system/bulkheadd.socket"),
    ("bulkhead-lockdown.service", "usr/lib/systemd/system/bulkhead-lockdown.service"),
    ("bulkhead-slice@.service", "usr/lib/systemd/system/bulkhead-slice@.service"),
    ("machine-bulkhead-.slice.conf", "usr/lib/systemd/system/machine-bulkhead-.slice.d/50-bulkhead.conf"),
    ("libvirt.conf", "usr/lib/systemd/system/libvirtd.service.d/50-bulkhead.conf"),
    ("libvirt.conf", "usr/lib/systemd/system/virtqemud.service.d/50-bulkhead.conf"),
    ("sysusers.conf", "usr/lib/sysusers.d/bulkhead.conf"),
    ("tmpfiles.conf", "usr/lib/tmpfiles.d/bulkhead.conf"),
    ("polkit.rules", "usr/share/polkit-1/rules.d/50-bulkhead.rules"),
    ("udev.rules", "usr/lib/udev/rules.d/80-bulkhead.rules"),
    ("networkd.network", "usr/lib/systemd/network/00-bulkhead.network"),
    ("networkmanager.conf", "usr/lib/NetworkManager/conf.d/50-bulkhead.conf"),
];

/// Maintainer scripts, of `systemd/debian/`.
const SCRIPTS: &[&str] = &["postinst", "prerm", "postrm"];

/// Pages of the repository's root for `/usr/share/doc/bulkhead`.
const PAGES: &[&str] = &["README.md", "ARCHITECTURE.md", "THREATS.md"];

/// Pages that the units and the control file send people to; those of the single commands are as many as there are.
const MAN_PAGES: &[&str] = &["man1/bulkhead.1.gz", "man8/bulkheadd.8.gz"];

/// Why there is no package.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file could not be read, written or copied.
    #[error("{action} {}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A program was needed.
    #[error(transparent)]
    Program(#[from] program::Error),
}

/// Builds the release, its man pages and completions, and of them `target/debian/bulkhead_VERSION_ARCH.deb`, whose path it
/// returns.
///
/// `root` is the repository; `progress` is told each stage and each line that cargo prints.
///
/// # Errors
/// When cargo, dpkg-deb or gzip fail or a file of the package is not in the repository.
pub(crate) fn build(root: &Path, progress: &dyn Fn(&str)) -> Result<PathBuf, Error> {
    let target = root.join("target");
    let stage = target.join("debian/stage");
    remove(&stage)?;
    // With the example cargo chooses the same features of the dependencies as for the kernel tests, and builds none twice.
    let build = ["build", "--release", "--locked", "--package", "bulkhead", "--bins", "--example", "reference"];
    cargo(root, &build, progress)?;
    for (name, path) in [("bulkheadd", "usr/sbin/bulkheadd"), ("bulkhead", "usr/bin/bulkhead")] {
        install(&target.join("release").join(name), &stage.join(path), 0o755)?;
    }
    reference(root, &stage, progress)?;
    progress("staging the package");
    for (name, path) in INSTALLED {
        install(&root.join("systemd").join(name), &stage.join(path), 0o644)?;
    }
    make_directory(&stage.join("etc/bulkhead/host.d"))?;
    documents(root, &stage, progress)?;

    let architecture = output(Command::new("dpkg").arg("--print-architecture"), &|_| ())?;
    let architecture = architecture.trim();
    control(root, &stage, architecture)?;
    let package = target.join(format!("debian/bulkhead_{}_{architecture}.deb", env!("CARGO_PKG_VERSION")));
    progress("packing");
    output(Command::new("dpkg-deb").arg("--root-owner-group").arg("--build").arg(&stage).arg(&package), &|_| ())?;
    Ok(package)
}

/// Man pages and completions, which the command line's own definition writes: never out of date, never kept in the tree.
fn reference(root: &Path, stage: &Path, progress: &dyn Fn(&str)) -> Result<(), Error> {
    let pages = root.join("target/debian/man");
    let completions = root.join("target/debian/completions");
    for directory in [&pages, &completions] {
        remove(directory)?;
        make_directory(directory)?;
    }
    let (man, shells) = (pages.to_string_lossy(), completions.to_string_lossy());
    progress("writing man pages and completions");
    let mut command = Command::new(root.join("target/release/examples/reference"));
    output(command.args(["--man", &man, "--completions", &shells]), progress)?;
    for page in list(&pages)? {
        let section = page.extension().unwrap_or_default().to_string_lossy().into_owned();
        compress(&page, &stage.join("usr/share/man").join(format!("man{section}")), progress)?;
    }
    for page in MAN_PAGES {
        let path = stage.join("usr/share/man").join(page);
        fs::metadata(&path).map_err(at("find", &path))?;
    }
    for script in list(&completions)? {
        let name = script.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = match name.strip_suffix(".bash") {
            Some(command) => format!("usr/share/bash-completion/completions/{command}"),
            None if name.starts_with('_') => format!("usr/share/zsh/vendor-completions/{name}"),
            None => format!("usr/share/fish/vendor_completions.d/{name}"),
        };
        install(&script, &stage.join(path), 0o644)?;
    }
    Ok(())
}

/// What Debian policy wants under `/usr/share/doc`, the pages that people read first, and manifests to start from.
fn documents(root: &Path, stage: &Path, progress: &dyn Fn(&str)) -> Result<(), Error> {
    let directory = stage.join("usr/share/doc/bulkhead");
    install(&root.join("systemd/debian/copyright"), &directory.join("copyright"), 0o644)?;
    for page in PAGES {
        install(&root.join(page), &directory.join(page), 0o644)?;
    }
    let changelog = root.join("target/debian/changelog");
    copy(&root.join("CHANGELOG.md"), &changelog)?;
    compress(&changelog, &directory, progress)?;
    for example in list(&root.join("examples"))? {
        if example.extension().is_some_and(|e| e == "toml") {
            install(&example, &directory.join("examples").join(example.file_name().unwrap_or_default()), 0o644)?;
        }
    }
    Ok(())
}

/// `DEBIAN/`: control, the maintainer scripts and the sums of everything staged so far.
fn control(root: &Path, stage: &Path, architecture: &str) -> Result<(), Error> {
    let mut files = Vec::new();
    let bytes = walk(stage, &mut files)?;
    files.sort();
    let relative = files.iter().map(|file| file.strip_prefix(stage).unwrap_or(file));
    let sums = output(Command::new("md5sum").current_dir(stage).args(relative), &|_| ())?;

    let debian = stage.join("DEBIAN");
    make_directory(&debian)?;
    let source = root.join("systemd/debian");
    let template = fs::read_to_string(source.join("control")).map_err(at("read", &source.join("control")))?;
    let filled = template
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@ARCHITECTURE@", architecture)
        .replace("@SIZE@", &bytes.div_ceil(1024).to_string());
    for (name, text) in [("control", filled), ("md5sums", sums)] {
        fs::write(debian.join(name), text).map_err(at("write", &debian.join(name)))?;
        set_mode(&debian.join(name), 0o644)?;
    }
    for script in SCRIPTS {
        install(&source.join(script), &debian.join(script), 0o755)?;
    }
    set_mode(&debian, 0o755)
}

/// Gives every directory below `directory` its mode whatever the umask, collects the files, and returns their bytes.
fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> Result<u64, Error> {
    set_mode(directory, 0o755)?;
    let mut bytes = 0;
    for path in list(directory)? {
        let metadata = fs::symlink_metadata(&path).map_err(at("stat", &path))?;
        if metadata.is_dir() {
            bytes += walk(&path, files)?;
        } else {
            bytes += metadata.len();
            files.push(path);
        }
    }
    Ok(bytes)
}

fn install(from: &Path, to: &Path, mode: u32) -> Result<(), Error> {
    copy(from, to)?;
    set_mode(to, mode)
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    if let Some(parent) = to.parent() {
        make_directory(parent)?;
    }
    fs::copy(from, to).map(|_| ()).map_err(at("copy", from))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at("set the mode of", path))
}

fn make_directory(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(at("make", path))
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect())
        .map_err(at("list", directory))
}

fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path, source }
}

/// Puts `file` into `directory` as gzip, without name and time, so that the same input packs to the same bytes.
fn compress(file: &Path, directory: &Path, progress: &dyn Fn(&str)) -> Result<(), Error> {
    let copied = directory.join(file.file_name().unwrap_or_default());
    copy(file, &copied)?;
    set_mode(&copied, 0o644)?;
    output(Command::new("gzip").arg("-9nf").arg(&copied), progress)?;
    Ok(())
}

/// Runs the cargo that runs us, or the one on the path.
fn cargo(root: &Path, arguments: &[&str], progress: &dyn Fn(&str)) -> Result<(), Error> {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    // Where the files are found afterwards must not hang on the caller's environment.
    command.current_dir(root).env("CARGO_TARGET_DIR", root.join("target")).args(arguments);
    output(&mut command, progress)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn the_package_ships_every_file_of_systemd_and_no_other() {
        let in_the_tree: BTreeSet<String> = list(&root().join("systemd"))
            .unwrap()
            .iter()
            .filter(|path| path.is_file())
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        let shipped: BTreeSet<String> = INSTALLED.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(in_the_tree, shipped);
    }

    #[test]
    fn the_maintainer_scripts_are_posix_shell() {
        for script in SCRIPTS {
            let path = root().join("systemd/debian").join(script);
            output(Command::new("sh").arg("-n").arg(&path), &|_| ()).unwrap();
            assert!(fs::read_to_string(&path).unwrap().starts_with("#!/bin/sh\nset -e\n"), "{script}");
        }
    }
}
