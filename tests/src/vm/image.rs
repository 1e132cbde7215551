//! Makes the disk image, kernel and initramfs of a release, once: `target/lab/SUITE/`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use super::{Error, MKE2FS, at, initramfs};
use crate::deps;
use crate::program::output;
use crate::progress::Progress;
use crate::suite::Suite;

/// Packages of the image and why. The cloud kernel has 8021q, bridge, br_netfilter, nf_conntrack_bridge, nft_meta_bridge,
/// veth, dummy and dm-crypt on both releases, at a sixth of the full kernel's size.
const PACKAGES: &[&str] = &[
    "linux-image-cloud-amd64",
    // The host that Bulkhead is made for.
    "systemd",
    "systemd-sysv",
    "udev",
    "dbus",
    "polkitd",
    "libvirt-daemon-system",
    "libvirt-clients",
    // Without machined libvirt silently leaves the systemd cgroup path.
    "systemd-container",
    "qemu-system-x86",
    // libvirt makes volumes that are not raw by qemu-img.
    "qemu-utils",
    // A guest without an operating system that still sends DHCP.
    "ipxe-qemu",
    "nftables",
    // What the cases do as an administrator, and how they inject faults.
    "iproute2",
    "iputils-ping",
    "kmod",
    "procps",
    "strace",
    // A filesystem on dm-crypt.
    "e2fsprogs",
];

const CUSTOMIZE: &str = include_str!("customize.sh");
/// Sparse: room for what is written in a run. A volume of the seed is 20 GiB, sparse too.
const DISK_SIZE: &str = "8G";

/// The files of a release's image.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// The release.
    pub(super) suite: Suite,
    folder: PathBuf,
}

impl Image {
    /// One of its files.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The root disk, never written.
    pub(super) fn disk(&self) -> PathBuf {
        self.file("disk.img")
    }

    /// The kernel.
    pub(super) fn kernel(&self) -> PathBuf {
        self.file("vmlinuz")
    }

    /// Where the console of the boot `name` is kept.
    pub(super) fn console(&self, name: &str) -> PathBuf {
        self.file(&format!("console-{name}.log"))
    }

    /// Where its files stand.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The initramfs.
    pub(super) fn initramfs(&self) -> PathBuf {
        self.file("initramfs")
    }
}

/// The image of `suite`, made now unless one of the same recipe is there.
///
/// # Errors
/// When Debian's archive cannot be reached, or a program of the making fails.
pub(crate) fn build(lab: &Path, suite: Suite) -> Result<Image, Error> {
    let image = Image { suite, folder: lab.join(suite.to_string()) };
    let recipe = image.file("recipe.txt");
    let wanted = [suite.codename(), &PACKAGES.join(" "), DISK_SIZE, CUSTOMIZE, initramfs::RECIPE].join("\n");
    if fs::read_to_string(&recipe).is_ok_and(|made| made == wanted) {
        return Ok(image);
    }
    let progress = Progress::begin(format!("{suite}: making the image (once)"));
    let root = image.file("root");
    // Also what an earlier try left behind.
    remove(&root)?;
    match fs::remove_file(&recipe) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at("remove", &recipe)(error)),
        _ => {}
    }
    fs::create_dir_all(&image.folder).map_err(at("make", &image.folder))?;
    install(&image, &root, &progress)?;
    initramfs::build(&image, &root)?;
    progress.now("writing the disk");
    // As root: some of its files are nobody else's to read.
    output(
        deps::as_root(MKE2FS)?
            .args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"])
            .args([&root, &image.disk()])
            .arg(DISK_SIZE),
        &|_| (),
    )?;
    output(deps::as_root("chmod")?.arg("0644").arg(image.disk()), &|_| ())?;
    remove(&root)?;
    // Last: its presence says that all else is whole.
    fs::write(&recipe, wanted).map_err(at("write", &recipe))?;
    progress.mark("made");
    Ok(image)
}

/// Installs Debian into `root`.
fn install(image: &Image, root: &Path, progress: &Progress) -> Result<(), Error> {
    let hook = image.file("customize.sh");
    fs::write(&hook, CUSTOMIZE).map_err(at("write", &hook))?;
    let mut command: Command = deps::as_root("env")?;
    // No initrd of Debian's own: the machine boots with ours.
    command.args(["INITRD=No", "mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase"]);
    command.arg(format!("--include={}", PACKAGES.join(",")));
    for option in ["force-unsafe-io", "path-exclude=/usr/share/man/*", "path-exclude=/usr/share/locale/*"] {
        command.arg(format!("--dpkgopt={option}"));
    }
    command.arg(format!("--customize-hook=sh {} \"$1\"", quoted(&hook)));
    command.arg(image.suite.codename()).arg(root);
    output(&mut command, &|line| {
        if let Some(stage) = line.strip_prefix("I: ") {
            progress.now(stage.split(':').next().unwrap_or(stage));
        }
    })?;
    Ok(())
}

/// `path` as one word of the shell that runs the hook.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// Removes a root that may hold anybody's files.
fn remove(root: &Path) -> Result<(), Error> {
    if !root.exists() {
        return Ok(());
    }
    output(deps::as_root("rm")?.args(["-rf", "--one-file-system"]).arg(root), &|_| ())?;
    Ok(())
}
