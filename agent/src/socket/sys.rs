//! The calls that neither std nor tokio has: supplementary groups of a peer, group ids by name, systemd's descriptor.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The kernel's own bound on supplementary groups (`NGROUPS_MAX`, include/uapi/linux/limits.h).
const GROUPS_MAX: usize = 65_536;
/// No group entry of `/etc/group` or NSS is longer than this without something being wrong.
const ENTRY_BYTES_MAX: usize = 1 << 20;

/// The supplementary groups that the peer of a unix socket had when it connected (`SO_PEERGROUPS`, Linux 4.13).
pub(super) fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0u32; 64];
    loop {
        let bytes = groups.len() * size_of::<u32>();
        let mut length = libc::socklen_t::try_from(bytes).map_err(io::Error::other)?;
        // SAFETY: `groups` is writable for `length` bytes, `length` is a valid pointer, and both outlive the call.
        let code = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = usize::try_from(length).map_err(io::Error::other)? / size_of::<u32>();
        if code == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // ERANGE: the kernel has written the length that it needs.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() || count > GROUPS_MAX {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

/// The id of a group, from NSS; `None` when there is no such group.
pub(super) fn group_id(name: &CStr) -> io::Result<Option<u32>> {
    let mut buffer = vec![0u8; 4096];
    loop {
        let mut found = std::ptr::null_mut();
        let mut entry = std::mem::MaybeUninit::<libc::group>::uninit();
        // SAFETY: `name` ends with NUL; `entry`, `buffer` and `found` are writable for their whole size and outlive the
        // call; the entry's pointers into `buffer` are not used afterwards.
        let code = unsafe {
            libc::getgrnam_r(
                name.as_ptr(),
                entry.as_mut_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut found,
            )
        };
        match code {
            0 if found.is_null() => return Ok(None),
            // SAFETY: getgrnam_r returned 0 and a result, so it has filled `entry`, and gr_gid is a plain number.
            0 => return Ok(Some(unsafe { (*entry.as_ptr()).gr_gid })),
            // getgrnam(3): "not found" may be any of these, depending on the NSS module.
            libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => return Ok(None),
            libc::EINTR => {}
            libc::ERANGE if buffer.len() < ENTRY_BYTES_MAX => buffer.resize(buffer.len() * 4, 0),
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

static ADOPTED: AtomicBool = AtomicBool::new(false);

/// Takes a descriptor that systemd passed at the start. Only the first call succeeds: a second one would own it twice.
pub(super) fn adopt(descriptor: RawFd) -> io::Result<OwnedFd> {
    if ADOPTED.swap(true, Ordering::SeqCst) {
        return Err(io::Error::other("the socket from systemd was taken before"));
    }
    // SAFETY: LISTEN_PID named this process, so the descriptor is open and meant for it; the flag above makes this the
    // only owner.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Connects as another user, which root alone can. The change is the thread's alone: the raw calls are used because
/// libc's wrappers change every thread.
#[cfg(test)]
pub(super) fn connect_as(
    path: &std::path::Path,
    id: u32,
    groups: &[u32],
) -> io::Result<std::os::unix::net::UnixStream> {
    let connect = || {
        // SAFETY: the calls take plain numbers, and a pointer to `groups` with its length; they change this thread alone.
        let codes = unsafe {
            [
                libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()),
                libc::syscall(libc::SYS_setresgid, id, id, id),
                libc::syscall(libc::SYS_setresuid, id, id, id),
            ]
        };
        if codes != [0; 3] {
            return Err(io::Error::last_os_error());
        }
        std::os::unix::net::UnixStream::connect(path)
    };
    std::thread::scope(|scope| scope.spawn(connect).join().map_err(|_| io::Error::other("the thread died"))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn root_is_a_group_and_nonsense_is_none() {
        assert_eq!(group_id(c"root").unwrap(), Some(0));
        assert_eq!(group_id(c"no-such-group-here").unwrap(), None);
    }

    #[test]
    fn the_groups_of_a_peer_are_those_of_its_process() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("Groups:")).unwrap();
        let expected: Vec<u32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
        assert_eq!(peer_groups(ours.as_fd()).unwrap(), expected);
    }

    #[test]
    fn a_descriptor_that_is_no_socket_has_no_groups() {
        assert!(peer_groups(std::fs::File::open("/dev/null").unwrap().as_fd()).is_err());
    }
}
