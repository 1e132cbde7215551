//! One connection: bytes in, calls, bytes out, each within its bounds.

use std::fmt;
use std::future::pending;
use std::io;
use std::sync::Arc;

use bulkhead_api::Done;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, timeout, timeout_at};

use super::Service;
use super::access::Caller;
use super::inbox::{Inbox, TooLong};
use super::method::{self, Answer, Call, Later};
use super::reply::Reply;

/// Bytes of one read.
const CHUNK: usize = 4096;

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The peer closed it.
    Left,
    /// No call came for too long.
    Idle,
    /// A call did not come to its end in time.
    SlowCall,
    /// The peer did not take a reply in time.
    SlowReply,
    /// A call was longer than allowed.
    TooLong,
    /// The bytes are no call.
    Malformed(serde_json::Error),
    /// The peer asked for an upgrade, which we do not offer.
    Upgrade,
    /// The socket failed.
    Io(io::Error),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left => f.write_str("the peer left"),
            Self::Idle => f.write_str("no call for too long"),
            Self::SlowCall => f.write_str("a call did not come to its end in time"),
            Self::SlowReply => f.write_str("the peer did not take a reply in time"),
            Self::TooLong => f.write_str("a call was too long"),
            Self::Malformed(why) => write!(f, "no varlink call: {why}"),
            Self::Upgrade => f.write_str("an upgrade was asked for, and there is none"),
            Self::Io(error) => write!(f, "the socket failed: {error}"),
        }
    }
}

impl From<TooLong> for End {
    fn from(_: TooLong) -> Self {
        Self::TooLong
    }
}

/// A connection of a peer that was let in.
pub(super) struct Connection<S> {
    stream: S,
    caller: Caller,
    service: Arc<Service>,
    inbox: Inbox,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(stream: S, caller: Caller, service: Arc<Service>) -> Self {
        Self { stream, caller, service, inbox: Inbox::default() }
    }

    /// Serves calls, one after the other, until the connection ends.
    pub(super) async fn run(mut self) -> End {
        loop {
            if let Err(end) = self.turn().await {
                return end;
            }
        }
    }

    async fn turn(&mut self) -> Result<(), End> {
        let bytes = self.receive().await?;
        let call: Call = serde_json::from_slice(&bytes).map_err(End::Malformed)?;
        if call.upgrade.unwrap_or(false) {
            self.send(&Reply::standard("InvalidParameter", "parameter", "upgrade")).await?;
            return Err(End::Upgrade);
        }
        match method::answer(&self.service, self.caller, &call) {
            // Not even the end is waited for: the loop does the work, and nobody wants to hear of it.
            _ if call.is_oneway() => Ok(()),
            Answer::Now(reply) => self.send(&reply).await,
            Answer::Later(later) => self.send_steps(later).await,
        }
    }

    /// Waits for a whole call.
    async fn receive(&mut self) -> Result<Vec<u8>, End> {
        let bounds = self.service.bounds;
        let mut deadline = self.inbox.has_begun().then(|| Instant::now() + bounds.receive);
        loop {
            if let Some(call) = self.inbox.next() {
                return Ok(call);
            }
            let filling = fill(&mut self.stream, &mut self.inbox, bounds.message);
            match deadline {
                Some(deadline) => timeout_at(deadline, filling).await.map_err(|_| End::SlowCall)??,
                None => {
                    timeout(bounds.idle, filling).await.map_err(|_| End::Idle)??;
                    deadline = Some(Instant::now() + bounds.receive);
                }
            }
        }
    }

    /// Sends each step as it ends and then the last reply. A peer that leaves is noticed at once.
    async fn send_steps(&mut self, mut later: Later) -> Result<(), End> {
        let bound = self.service.bounds.message;
        loop {
            let room = !self.inbox.is_full(bound);
            tokio::select! {
                biased;
                Some(step) = next(&mut later.progress) => self.progress(&step).await?,
                reply = &mut later.done => {
                    while let Some(step) = later.progress.as_mut().and_then(|p| p.try_recv().ok()) {
                        self.progress(&step).await?;
                    }
                    return self.send(&reply).await;
                }
                filled = fill(&mut self.stream, &mut self.inbox, bound), if room => filled?,
            }
        }
    }

    async fn progress(&mut self, step: &Done) -> Result<(), End> {
        self.send(&Reply::one_of_many("step", step)).await
    }

    async fn send(&mut self, reply: &Reply) -> Result<(), End> {
        let sent = timeout(self.service.bounds.send, self.stream.write_all(reply.bytes())).await;
        sent.map_err(|_| End::SlowReply)?.map_err(ended)
    }
}

/// The next step, or never when the caller did not ask for steps or no more come.
async fn next(progress: &mut Option<UnboundedReceiver<Done>>) -> Option<Done> {
    match progress {
        Some(steps) => match steps.recv().await {
            Some(step) => Some(step),
            None => pending().await,
        },
        None => pending().await,
    }
}

async fn fill<S: AsyncRead + Unpin>(stream: &mut S, inbox: &mut Inbox, bound: usize) -> Result<(), End> {
    let mut chunk = [0; CHUNK];
    match stream.read(&mut chunk).await.map_err(ended)? {
        0 => Err(End::Left),
        count => Ok(inbox.push(&chunk[..count], bound)?),
    }
}

fn ended(error: io::Error) -> End {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => End::Left,
        _ => End::Io(error),
    }
}
