//! What bounds a running process: the limits along its whole cgroup path, whoever set them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bulkhead_types::GuestName;

use crate::cgroup::tightest;
use crate::error::Error;
use crate::model::Limits;
use crate::unit::guest_of_slice;

/// The limits that hold for a process: of each, the least from its cgroup up to the root.
///
/// # Errors
/// When the process has ended, or the controllers are not on cgroup v2.
pub fn effective(pid: u32) -> Result<Limits, Error> {
    loop {
        let group = group(pid)?;
        let limits = tightest(&group)?;
        // A group that went while it was read looks like one without limits: only an unmoved process counts.
        if self::group(pid)? == group {
            return Ok(limits);
        }
    }
}

/// The guest in whose slice a process runs; `None` when it is in nobody's.
///
/// # Errors
/// When the process has ended.
pub fn guest(pid: u32) -> Result<Option<GuestName>, Error> {
    Ok(group(pid)?.iter().find_map(|part| guest_of_slice(part.to_str()?)))
}

/// The process of a running domain: the one whose arguments have `-uuid` and then exactly `uuid`, as libvirt starts QEMU.
///
/// Anybody may start a process with such arguments, so one that runs as root is not taken for it (libvirt's QEMU has a user of
/// its own), and one below `machine.slice`, where only systemd puts processes, goes before any other.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn qemu_pid(uuid: &str) -> Result<Option<u32>, Error> {
    let proc = Path::new("/proc");
    let read = |source| Error::Read { path: proc.to_owned(), source };
    let mut found = None;
    for entry in fs::read_dir(proc).map_err(read)? {
        let name = entry.map_err(read)?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // What cannot be read has ended since.
        let Ok(arguments) = fs::read(proc.join(&name).join("cmdline")) else { continue };
        if !has_uuid(&arguments, uuid) || !matches!(user(pid), Ok(1..)) {
            continue;
        }
        if group(pid).is_ok_and(|group| group.starts_with("/machine.slice")) {
            return Ok(Some(pid));
        }
        found = Some(pid);
    }
    Ok(found)
}

fn has_uuid(arguments: &[u8], uuid: &str) -> bool {
    let mut arguments = arguments.split(|byte| *byte == 0);
    arguments.any(|argument| argument == b"-uuid") && arguments.next() == Some(uuid.as_bytes())
}

/// The effective user of a process (second number of `Uid:`, proc_pid_status(5)).
fn user(pid: u32) -> Result<u32, Error> {
    let (path, text) = read(pid, "status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Uid:"));
    let user = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    user.ok_or(Error::Form { path, line: "Uid:" })
}

/// The group of a process on the unified hierarchy: the line that begins with `0::` (cgroups(7)).
fn group(pid: u32) -> Result<PathBuf, Error> {
    let (path, text) = read(pid, "cgroup")?;
    let group = text.lines().find_map(|line| line.strip_prefix("0::")).map(PathBuf::from);
    group.ok_or(Error::Form { path, line: "0::" })
}

fn read(pid: u32, file: &str) -> Result<(PathBuf, String), Error> {
    let path = PathBuf::from(format!("/proc/{pid}/{file}"));
    match fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(source) => Err(Error::Read { path, source: ended(source) }),
    }
}

/// ESRCH is what reading says when the process ended after the file was opened: the same as no file.
fn ended(error: io::Error) -> io::Error {
    const ESRCH: i32 = 3;
    if error.raw_os_error() == Some(ESRCH) { io::ErrorKind::NotFound.into() } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_argument_after_uuid_counts() {
        let arguments = |text: &str| text.replace(' ', "\0").into_bytes();
        assert!(has_uuid(&arguments("qemu -name x -uuid 6f0a -m 512"), "6f0a"));
        assert!(!has_uuid(&arguments("qemu -name 6f0a -uuid 6f0b"), "6f0a"));
        assert!(!has_uuid(&arguments("qemu -name -uuid=6f0a"), "6f0a"));
        assert!(!has_uuid(&arguments("grep -uuid 6f0a1"), "6f0a"));
        assert!(!has_uuid(&arguments("qemu -uuid"), ""));
    }

    #[test]
    fn a_process_outside_our_slices_has_no_guest() {
        assert_eq!(guest(std::process::id()).unwrap(), None);
    }

    #[test]
    fn a_process_that_has_ended_is_an_error() {
        // Above PID_MAX_LIMIT of 64-bit kernels.
        assert!(matches!(group(5_000_000), Err(Error::Read { .. })));
    }
}
