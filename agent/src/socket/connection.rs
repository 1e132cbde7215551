//! One connection: bytes in, calls, bytes out, each within its bounds. The state machine of varlink is the crate's.

use std::fmt;
use std::future::pending;
use std::io;
use std::sync::Arc;

use bulkhead_api::Done;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, timeout, timeout_at};
use varlink::Reply;
use varlink::sansio::{Server, ServerEvent};

use super::call::{self, Answer, Later};
use super::{Role, Service, wire};

/// Bytes of one read. It bounds how many calls can wait in the state machine, which removes each from its buffer by
/// moving the rest.
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
    Malformed(String),
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

/// A connection of a peer that was let in.
pub(super) struct Connection<S> {
    stream: S,
    role: Role,
    service: Arc<Service>,
    machine: Server,
    /// The beginning of a call whose end has not come. The state machine gets whole calls only: it would search its buffer
    /// from the start with every byte, and has no bound.
    partial: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(stream: S, role: Role, service: Arc<Service>) -> Self {
        Self { stream, role, service, machine: Server::new(), partial: Vec::new() }
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
        while let Some(event) = self.machine.poll_event() {
            match event {
                ServerEvent::Request { request } => self.serve(request).await?,
                ServerEvent::Upgrade { .. } => {
                    self.send(wire::standard("InvalidParameter", "parameter", "upgrade")).await?;
                    return Err(End::Upgrade);
                }
            }
        }
        // Bytes that came while a call was worked on may hold the next one.
        if self.feed()? { Ok(()) } else { self.receive().await }
    }

    /// Waits for a whole call.
    async fn receive(&mut self) -> Result<(), End> {
        let bounds = self.service.bounds;
        if self.partial.is_empty() {
            timeout(bounds.idle, fill(&mut self.stream, &mut self.partial)).await.map_err(|_| End::Idle)??;
        }
        let deadline = Instant::now() + bounds.receive;
        while !self.feed()? {
            let filled = timeout_at(deadline, fill(&mut self.stream, &mut self.partial)).await;
            filled.map_err(|_| End::SlowCall)??;
        }
        Ok(())
    }

    /// Hands what is whole to the state machine; false when nothing is.
    fn feed(&mut self) -> Result<bool, End> {
        let end = self.partial.iter().rposition(|byte| *byte == 0);
        let rest = self.partial.split_off(end.map_or(0, |at| at + 1));
        let whole = std::mem::replace(&mut self.partial, rest);
        if self.partial.len() > self.service.bounds.message {
            return Err(End::TooLong);
        }
        if whole.split(|byte| *byte == 0).any(|call| call.len() > self.service.bounds.message) {
            return Err(End::TooLong);
        }
        self.machine.handle_input(&whole).map_err(|error| End::Malformed(error.to_string()))?;
        Ok(!whole.is_empty())
    }

    async fn serve(&mut self, request: varlink::Request<'static>) -> Result<(), End> {
        let silent = request.oneway.unwrap_or(false);
        match call::answer(&self.service, self.role, &request) {
            // Not even the end is waited for: the loop does the work, and nobody wants to hear of it.
            _ if silent => Ok(()),
            Answer::Now(reply) => self.send(reply).await,
            Answer::Later(later) => self.follow(later).await,
        }
    }

    /// Sends each step as it ends and then the last reply. A peer that leaves is noticed at once.
    async fn follow(&mut self, mut later: Later) -> Result<(), End> {
        loop {
            let room = self.partial.len() < self.service.bounds.message;
            tokio::select! {
                biased;
                Some(step) = next(&mut later.progress) => self.progress(&step).await?,
                reply = &mut later.done => {
                    while let Some(step) = later.progress.as_mut().and_then(|p| p.try_recv().ok()) {
                        self.progress(&step).await?;
                    }
                    return self.send(reply).await;
                }
                filled = fill(&mut self.stream, &mut self.partial), if room => filled?,
            }
        }
    }

    async fn progress(&mut self, step: &Done) -> Result<(), End> {
        let mut reply = wire::one("step", step);
        reply.continues = Some(true);
        self.send(reply).await
    }

    async fn send(&mut self, reply: Reply) -> Result<(), End> {
        self.machine.send_reply(reply).map_err(|error| End::Malformed(error.to_string()))?;
        while let Some(transmit) = self.machine.poll_transmit() {
            let sent = timeout(self.service.bounds.send, self.stream.write_all(&transmit.payload)).await;
            sent.map_err(|_| End::SlowReply)?.map_err(ended)?;
        }
        Ok(())
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

async fn fill<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Result<(), End> {
    let mut chunk = [0; CHUNK];
    match stream.read(&mut chunk).await.map_err(ended)? {
        0 => Err(End::Left),
        count => {
            buffer.extend_from_slice(&chunk[..count]);
            Ok(())
        }
    }
}

fn ended(error: io::Error) -> End {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => End::Left,
        _ => End::Io(error),
    }
}
