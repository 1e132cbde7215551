//! The Debian packages that the build needs, and their installation.

use std::io;
use std::process::{Command, Stdio};

/// Package and what it is for.
type Needs = &'static [(&'static str, &'static str)];

/// What the build needs.
pub(crate) const BUILD: Needs = &[
    ("pkg-config", "finds libvirt"),
    ("libvirt-dev", "libvirt's headers: the life cycle of domains"),
    ("libnftables-dev", "libnftables: the ruleset"),
];

/// What the machines of the lab need.
pub(crate) const MACHINES: Needs = &[
    ("qemu-system-x86", "runs the lab's machines"),
    ("mmdebstrap", "installs Debian into their images"),
    ("debian-archive-keyring", "the keys of Debian's archive, with which mmdebstrap checks what it installs"),
    ("e2fsprogs", "mke2fs writes their disks without mounting anything"),
    ("busybox-static", "the whole userland of their initramfs"),
];

/// Why the packages are not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DepsError {
    /// A program of Debian's own could not be started.
    #[error("cannot run {program}: {source}; Bulkhead builds on Debian 12 or later")]
    Run {
        /// The program.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// apt-get ended badly; its own words stand above.
    #[error("apt-get {0} failed; its own message stands above")]
    Apt(&'static str),
    /// Neither root nor sudo.
    #[error("{0} has to run as root: run this as root, or install sudo")]
    NotRoot(String),
}

/// Installs what is missing and says what and why before; silent where nothing is missing.
///
/// # Errors
/// When dpkg or apt-get cannot be run, refuse, or neither root nor sudo is at hand.
pub(crate) fn install(needs: &[Needs]) -> Result<(), DepsError> {
    let mut missing = Vec::new();
    for &(package, why) in needs.iter().copied().flatten() {
        if !installed(package)? {
            missing.push(package);
            println!("package {package} is missing: {why}");
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing with apt-get: {}", missing.join(" "));
    apt("update", &[])?;
    apt("install", &missing)
}

/// A command that runs `program` as root: as it is for root, through sudo for others.
///
/// # Errors
/// When neither is at hand.
pub(crate) fn as_root(program: &str) -> Result<Command, DepsError> {
    if root()? {
        return Ok(Command::new(program));
    }
    if !runs("sudo") {
        return Err(DepsError::NotRoot(program.to_owned()));
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    Ok(command)
}

fn installed(package: &str) -> Result<bool, DepsError> {
    let run = |source| DepsError::Run { program: "dpkg-query", source };
    let asked = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output()
        .map_err(run)?;
    Ok(asked.stdout == b"installed")
}

fn root() -> Result<bool, DepsError> {
    let asked = Command::new("id").arg("-u").output().map_err(|source| DepsError::Run { program: "id", source })?;
    Ok(asked.stdout.trim_ascii() == b"0")
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn apt(verb: &'static str, packages: &[&str]) -> Result<(), DepsError> {
    // Through env: sudo passes no variables on.
    let mut command = as_root("env")?;
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet=2", "--yes", "--no-install-recommends", verb]);
    let ended = command
        .args(packages)
        .stdin(Stdio::null())
        .status()
        .map_err(|source| DepsError::Run { program: "apt-get", source })?;
    if ended.success() { Ok(()) } else { Err(DepsError::Apt(verb)) }
}
