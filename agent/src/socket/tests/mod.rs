//! The service as its callers see it: over real sockets, with a stand-in for the reconcile loop.

mod bounds;
mod methods;
mod roles;
mod status;
mod streams;
mod who;

use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_api::Status;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::access::Caller;
use super::connection::Connection;
use super::{Bounds, Groups, Queues, Requests, Service, bind, queues, serve, sys};

/// A group that no process of the test machine is in.
const STRANGE_GROUP: u32 = 4_242_424;
/// The user that the test becomes where it is root and must be somebody else.
const NOBODY: u32 = 65_534;

/// A served socket in a directory of its own, and the loop's end of it.
pub(crate) struct Daemon {
    directory: PathBuf,
    pub(crate) requests: Requests,
    task: JoinHandle<()>,
    callers: As,
}

/// Whom the callers should be taken for.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum As {
    Admin,
    Observer,
    Stranger,
}

impl Daemon {
    fn start(bounds: Bounds) -> Self {
        Self::start_for(As::Admin, bounds, Status { version: "1".to_owned(), ..Status::default() })
    }

    pub(crate) fn start_for(callers: As, bounds: Bounds, status: Status) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("bulkhead-socket-{}-{number}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let listener = bind(&directory.join("socket")).unwrap();
        let (queues, requests) = queues();
        let service = service(groups(callers), bounds, watch::channel(Arc::new(status)).1, queues);
        Self { directory, requests, task: tokio::spawn(serve(listener, service)), callers }
    }

    async fn connect(&self) -> UnixStream {
        later(self.connect_now())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// A connection that the server has not seen yet: on the tests' runtime it runs only while the test waits.
    fn connect_now(&self) -> StdStream {
        let path = self.path();
        match self.callers {
            As::Admin => StdStream::connect(path),
            _ if !is_root() => StdStream::connect(path),
            As::Observer => sys::connect_as(&path, NOBODY, &[STRANGE_GROUP]),
            As::Stranger => sys::connect_as(&path, NOBODY, &[]),
        }
        .unwrap()
    }
}

/// Root is an admin as it is, and becomes somebody else for the rest. Whoever is not root stays, and has a group that is
/// taken for the one needed.
fn groups(callers: As) -> Groups {
    let mine = (!is_root()).then(|| own().gid());
    match callers {
        As::Admin => Groups { admin: mine, observe: None },
        As::Observer => Groups { admin: None, observe: mine.or(Some(STRANGE_GROUP)) },
        As::Stranger => Groups { admin: None, observe: None },
    }
}

fn own() -> tokio::net::unix::UCred {
    UnixStream::pair().unwrap().0.peer_cred().unwrap()
}

fn is_root() -> bool {
    own().uid() == 0
}

fn later(stream: StdStream) -> UnixStream {
    stream.set_nonblocking(true).unwrap();
    UnixStream::from_std(stream).unwrap()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn service(groups: Groups, bounds: Bounds, status: watch::Receiver<Arc<Status>>, queues: Queues) -> Service {
    // The sender of the status may go: one that nobody changes any more is still served.
    Service::new(groups, bounds, &serde_json::json!({ "title": "the manifest" }), status, queues)
}

/// A connection of a caller whom the kernel need not know.
fn connected(service: &Arc<Service>, caller: Caller) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    tokio::spawn(Connection::new(theirs, caller, Arc::clone(service)).run());
    ours
}

/// Sends one call.
async fn ask(stream: &mut (impl AsyncWrite + Unpin), call: &Value) {
    let mut bytes = serde_json::to_vec(call).unwrap();
    bytes.push(0);
    stream.write_all(&bytes).await.unwrap();
}

/// The next reply; fails when none comes within five seconds.
async fn reply(stream: &mut (impl AsyncRead + Unpin)) -> Value {
    let read = async {
        let mut bytes = Vec::new();
        loop {
            match stream.read_u8().await.unwrap() {
                0 => return serde_json::from_slice(&bytes).unwrap(),
                byte => bytes.push(byte),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), read).await.expect("a reply within five seconds")
}

async fn call(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), method: &str, parameters: Value) -> Value {
    ask(stream, &serde_json::json!({ "method": method, "parameters": parameters })).await;
    reply(stream).await
}

/// Whether the daemon closes the connection within five seconds; what it still sends is read and thrown away.
async fn closed(stream: &mut UnixStream) -> bool {
    let rest = async {
        let mut bytes = [0; 4096];
        while !matches!(stream.read(&mut bytes).await, Ok(0) | Err(_)) {}
    };
    tokio::time::timeout(Duration::from_secs(5), rest).await.is_ok()
}

/// Whether the loop is asked nothing: what was sent before has been looked at by then, as the test's runtime has one thread.
async fn nothing(requests: &mut Requests) -> bool {
    tokio::time::timeout(Duration::from_millis(100), requests.recv()).await.is_err()
}
