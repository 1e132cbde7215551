//! Where the listening socket comes from: systemd, or a path.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;

use tokio::net::UnixListener;

use super::sys;

/// `FileDescriptorName=` of the socket unit: other descriptors that systemd keeps for the daemon have other names.
const NAME: &str = "varlink";

/// The socket that systemd holds for us; `None` when the daemon was not started with one. Only the first call gets it.
///
/// # Errors
/// `LISTEN_FDS` and its companions do not fit together, or the descriptor is no unix socket.
pub fn from_systemd() -> io::Result<Option<UnixListener>> {
    let found = sd_notify::listen_fds_with_names()?.find(|(_, name)| name == NAME);
    let Some((descriptor, _)) = found else { return Ok(None) };
    let listener = StdListener::from(sys::adopt(descriptor)?);
    // Anything but AF_UNIX has no such address.
    listener.local_addr()?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener).map(Some)
}

/// A socket of our own at `path`, mode 0666 as the unit's: the peer's credentials decide, not the file's mode. A socket
/// that is left there without a listener is replaced.
///
/// # Errors
/// The directory is missing or not writable, or somebody listens there.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    let context =
        |error: io::Error| io::Error::new(error.kind(), format!("bind the socket {}: {error}", path.display()));
    let listener = match StdListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && abandoned(path) => {
            std::fs::remove_file(path).map_err(context)?;
            StdListener::bind(path)
        }
        result => result,
    }
    .map_err(context)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(context)?;
    listener.set_nonblocking(true).map_err(context)?;
    UnixListener::from_std(listener).map_err(context)
}

fn abandoned(path: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
}
