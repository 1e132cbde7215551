//! The accept loop: decide who the peer is, give it a task of its own, go on.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_api::{ADMIN_GROUP, OBSERVE_GROUP, Why};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Service;
use super::access::{self, Caller, Peer};
use super::connection::Connection;
use super::refused::Cause;
use super::reply::Reply;

/// A moment for descriptors to come back when accept has none (EMFILE); without it the loop would spin.
const BREATH: Duration = Duration::from_millis(100);

/// Serves the socket for ever; dropping the future closes every connection.
pub async fn serve(listener: UnixListener, service: Service) {
    let service = Arc::new(service);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => admit(stream, &service, &mut connections),
                Err(error) => {
                    tracing::warn!("accept a connection on the socket: {error}; trying again");
                    tokio::time::sleep(BREATH).await;
                }
            },
            // Reaps the tasks that ended; without connections this branch is off.
            Some(ended) = connections.join_next() => if let Err(error) = ended {
                tracing::error!("a connection's task ended badly: {error}");
            },
        }
    }
}

/// Nothing of the stream is read here, and nothing at all unless the peer is somebody.
fn admit(stream: UnixStream, service: &Arc<Service>, connections: &mut JoinSet<()>) {
    let peer = match Peer::of(&stream) {
        Ok(peer) => peer,
        Err(error) => return tracing::warn!("ask the kernel for a peer's credentials: {error}; closed"),
    };
    let Some(role) = access::decide(&peer, &service.groups) else {
        return refuse(stream, service, &peer, Cause::Stranger);
    };
    let caller = Caller { uid: peer.uid, role };
    let Some(permit) = service.connections.take(caller) else {
        return refuse(stream, service, &peer, Cause::Crowded);
    };
    let connection = Connection::new(stream, caller, Arc::clone(service));
    connections.spawn(async move {
        let end = connection.run().await;
        tracing::debug!(uid = peer.uid, pid = peer.pid, "connection closed: {end}");
        drop(permit);
    });
}

/// Whom the daemon serves, in words.
fn served() -> String {
    format!(
        "the daemon serves root and members of group {ADMIN_GROUP}, and to look only, members of group {OBSERVE_GROUP}"
    )
}

/// Closes a connection unread, and says why: an end without a word may be anything.
fn refuse(stream: UnixStream, service: &Service, peer: &Peer, cause: Cause) {
    let reply = match cause {
        Cause::Stranger => Reply::error("NotServed", &Why { why: served() }),
        Cause::Crowded => Reply::busy("too many connections; close one, or try again later"),
    };
    if let Some(unsaid) = service.refused.count(cause, peer.uid, Instant::now()) {
        let Peer { uid, gid, pid, .. } = *peer;
        let what = match cause {
            Cause::Stranger => format!("the peer is neither root nor in group {ADMIN_GROUP} or {OBSERVE_GROUP}"),
            Cause::Crowded => "too many connections".to_owned(),
        };
        tracing::warn!(
            uid,
            gid,
            pid,
            unsaid,
            "closed unread: {what}; {unsaid} more since the last line about this user"
        );
    }
    // The buffer of a new connection is empty: it takes all of it at once, or the peer is gone.
    let _ = stream.into_std().and_then(|mut stream| stream.write_all(reply.bytes()));
}
