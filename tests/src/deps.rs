//! The Debian packages that the build needs, and their installation.

use std::io;
use std::process::{Command, Stdio};

/// Package and what it is for.
const PACKAGES: &[(&str, &str)] = &[
    ("pkg-config", "finds libvirt"),
    ("libvirt-dev", "libvirt's headers: the life cycle of domains"),
    ("libnftables-dev", "libnftables: the ruleset"),
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
    #[error("installing packages needs root: type `apt-get install {0}` as root, then run this again")]
    NotRoot(String),
}

/// Installs what is missing and says what and why before; silent where nothing is missing.
///
/// # Errors
/// When dpkg or apt-get cannot be run, refuse, or neither root nor sudo is at hand.
pub(crate) fn install() -> Result<(), DepsError> {
    let mut missing = Vec::new();
    for &(package, why) in PACKAGES {
        if !installed(package)? {
            missing.push(package);
            println!("package {package} is missing: {why}");
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing with apt-get: {}", missing.join(" "));
    let sudo = !root()?;
    if sudo && !runs("sudo") {
        return Err(DepsError::NotRoot(missing.join(" ")));
    }
    apt(sudo, "update", &[])?;
    apt(sudo, "install", &missing)
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

fn apt(sudo: bool, verb: &'static str, packages: &[&str]) -> Result<(), DepsError> {
    let mut command = if sudo { Command::new("sudo") } else { Command::new("apt-get") };
    if sudo {
        command.arg("apt-get");
    }
    command.args(["--quiet=2", "--yes", "--no-install-recommends", verb]).args(packages);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    let ended = command.status().map_err(|source| DepsError::Run { program: "apt-get", source })?;
    if ended.success() { Ok(()) } else { Err(DepsError::Apt(verb)) }
}
