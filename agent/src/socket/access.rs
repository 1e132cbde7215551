//! Who may speak to the agent, and what for. Decided from what the kernel says of the peer, before a byte is read.

use std::io;
use std::os::fd::AsFd;

use tokio::net::UnixStream;

use super::sys;

/// What a peer may do. The greater may what the lesser may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Status, Plan, Schema.
    Observe,
    /// Everything.
    Admin,
}

/// A user who was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Caller {
    /// The user.
    pub(super) uid: u32,
    /// What the user may do.
    pub(super) role: Role,
}

/// The ids of the two groups. A group that the host does not have lets nobody in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Groups {
    /// Id of [`bulkhead_api::ADMIN_GROUP`].
    pub admin: Option<u32>,
    /// Id of [`bulkhead_api::OBSERVE_GROUP`].
    pub observe: Option<u32>,
}

impl Groups {
    /// Asks NSS, once at the start: a lookup may block, and an id that changes under a running daemon is no use case.
    ///
    /// # Errors
    /// NSS could not answer; that a group is missing is no error.
    pub fn resolve() -> io::Result<Self> {
        Ok(Self { admin: sys::group_id(c"bulkhead")?, observe: sys::group_id(c"bulkhead-observe")? })
    }
}

/// The process at the other end, as the kernel saw it when it connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
    /// Its process id, for the log alone: a pid is reused and decides nothing.
    pub pid: Option<i32>,
}

impl Peer {
    /// Asks the kernel (`SO_PEERCRED`, `SO_PEERGROUPS`).
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let groups = sys::peer_groups(stream.as_fd())?;
        Ok(Self { uid: credentials.uid(), gid: credentials.gid(), groups, pid: credentials.pid() })
    }
}

/// What the peer may do; `None` is nothing at all, not even be read.
#[must_use]
pub fn decide(peer: &Peer, groups: &Groups) -> Option<Role> {
    let member = |group: Option<u32>| group.is_some_and(|id| peer.gid == id || peer.groups.contains(&id));
    if peer.uid == 0 || member(groups.admin) {
        Some(Role::Admin)
    } else if member(groups.observe) {
        Some(Role::Observe)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: Groups = Groups { admin: Some(900), observe: Some(901) };

    fn peer(uid: u32, gid: u32, groups: &[u32]) -> Peer {
        Peer { uid, gid, groups: groups.to_vec(), pid: Some(1) }
    }

    #[test]
    fn root_and_the_admin_group_administer() {
        for peer in [peer(0, 0, &[]), peer(1000, 900, &[]), peer(1000, 100, &[4, 900]), peer(1000, 901, &[900])] {
            assert_eq!(decide(&peer, &GROUPS), Some(Role::Admin), "{peer:?}");
        }
    }

    #[test]
    fn the_observe_group_only_observes() {
        for peer in [peer(1000, 901, &[]), peer(1000, 100, &[901])] {
            assert_eq!(decide(&peer, &GROUPS), Some(Role::Observe), "{peer:?}");
        }
    }

    #[test]
    fn anybody_else_may_nothing_and_root_as_a_group_is_not_root() {
        for peer in [peer(1000, 100, &[4, 27]), peer(1000, 0, &[0]), peer(65534, 65534, &[])] {
            assert_eq!(decide(&peer, &GROUPS), None, "{peer:?}");
        }
    }

    #[test]
    fn a_group_that_does_not_exist_lets_nobody_in() {
        assert_eq!(decide(&peer(1000, 900, &[901]), &Groups::default()), None);
        assert_eq!(decide(&peer(0, 0, &[]), &Groups::default()), Some(Role::Admin));
    }

    #[test]
    fn to_administer_includes_to_observe() {
        assert!(Role::Admin > Role::Observe);
    }
}
