//! The accept loop: decide who the peer is, give it a task of its own, go on.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_api::{ADMIN_GROUP, OBSERVE_GROUP, Why};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::access::{self, Peer};
use super::connection::Connection;
use super::places::Places;
use super::{Service, wire};

/// A moment for descriptors to come back when accept has none (EMFILE); without it the loop would spin.
const BREATH: Duration = Duration::from_millis(100);

/// Serves the socket for ever; dropping the future closes every connection.
pub async fn serve(listener: UnixListener, service: Service) {
    let places = Places::new(service.bounds.per_user, service.bounds.total);
    let service = Arc::new(service);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => admit(stream, &service, &places, &mut connections),
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
fn admit(stream: UnixStream, service: &Arc<Service>, places: &Places, connections: &mut JoinSet<()>) {
    let peer = match Peer::of(&stream) {
        Ok(peer) => peer,
        Err(error) => return tracing::warn!("ask the kernel for a peer's credentials: {error}; closed"),
    };
    let Some(role) = access::decide(&peer, &service.groups) else {
        let Peer { uid, gid, pid, .. } = peer;
        return tracing::warn!(
            uid,
            gid,
            pid,
            "closed unread: the peer is neither root nor in group {ADMIN_GROUP} or {OBSERVE_GROUP}"
        );
    };
    let Some(place) = places.take(peer.uid) else {
        tracing::warn!(uid = peer.uid, pid = peer.pid, "closed unread: too many connections");
        let why = Why { why: "too many connections; close one, or try again later".to_owned() };
        if let (Ok(payload), Ok(mut stream)) =
            (varlink::sansio::serialize_reply(&wire::error("Busy", &why)), stream.into_std())
        {
            // The buffer of a new connection is empty: it takes all of it at once, or the peer is gone.
            let _ = stream.write_all(&payload);
        }
        return;
    };
    let connection = Connection::new(stream, role, Arc::clone(service));
    connections.spawn(async move {
        let end = connection.run().await;
        tracing::debug!(uid = peer.uid, pid = peer.pid, "connection closed: {end}");
        drop(place);
    });
}
