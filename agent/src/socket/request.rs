//! What the socket asks of the loop, and the queues in between: one for each role, so that nobody is kept out by those who
//! may less.

use bulkhead_api::{ApplyFailed, Done, ManifestInvalid, Plan, Summary, Why};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;

use super::Role;
use super::permits::Permit;

/// Requests of administrators that may wait for the loop, and of observers; one more waits on its connection or is told to
/// come again.
const WAITING: usize = 8;

/// What the socket asks of the loop. The receiver of an answer may be gone: what changes the host is done all the same.
#[derive(Debug)]
pub enum Request {
    /// Read the counters of the ruleset again, and publish them with the status. Whoever asks waits for a moment only.
    Counters {
        /// Told once the status with these counters is published; dropped when they cannot be read.
        reply: oneshot::Sender<()>,
    },
    /// Observe and plan; write nothing.
    Plan {
        /// Where the plan goes.
        reply: Answer<Plan>,
    },
    /// Read the manifest's files and make the host so.
    Apply {
        /// Also what would otherwise be kept and reported.
        force: bool,
        /// Where each step goes once it has ended. Unbounded, because the plan bounds it and the sender cannot wait.
        progress: mpsc::UnboundedSender<Done>,
        /// Where the end goes.
        done: oneshot::Sender<Result<Summary, Refusal>>,
    },
    /// Remove what is ours.
    Teardown {
        /// Also guests that do not shut down.
        force: bool,
        /// Where each step goes once it has ended.
        progress: mpsc::UnboundedSender<Done>,
        /// Where the end goes.
        done: oneshot::Sender<Result<Summary, Refusal>>,
    },
}

impl Request {
    /// What only has an answer is not worth any work once nobody waits for it.
    fn is_wanted(&self) -> bool {
        match self {
            Self::Counters { reply } => !reply.is_closed(),
            Self::Plan { reply } => !reply.is_closed(),
            Self::Apply { .. } | Self::Teardown { .. } => true,
        }
    }
}

/// The way back to one who asked, and the permit that was taken to ask: free again with the answer, or when it is dropped.
#[derive(Debug)]
pub struct Answer<T> {
    to: oneshot::Sender<Result<T, Refusal>>,
    _permit: Permit,
}

impl<T> Answer<T> {
    pub(super) fn new(to: oneshot::Sender<Result<T, Refusal>>, permit: Permit) -> Self {
        Self { to, _permit: permit }
    }

    /// Answers. That nobody waits for it any more changes nothing.
    pub fn send(self, answer: Result<T, Refusal>) {
        drop(self.to.send(answer));
    }

    /// Whether nobody waits for the answer any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.to.is_closed()
    }
}

/// Why the loop does not do what it was asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// The manifest's files have errors; nothing was changed.
    ManifestInvalid(ManifestInvalid),
    /// The work was tried, and the host is not as it should be.
    Failed(ApplyFailed),
    /// Not now.
    Busy(Why),
}

/// The socket's end of the queues.
#[derive(Debug, Clone)]
pub struct Queues {
    counters: mpsc::Sender<Request>,
    admin: mpsc::Sender<Request>,
    observe: mpsc::Sender<Request>,
}

/// The loop's end of the queues.
#[derive(Debug)]
pub struct Requests {
    counters: mpsc::Receiver<Request>,
    admin: mpsc::Receiver<Request>,
    observe: mpsc::Receiver<Request>,
}

/// The queues between the socket and the loop.
#[must_use]
pub fn queues() -> (Queues, Requests) {
    // One reading of the counters serves everybody who asks meanwhile.
    let (to_counters, counters) = mpsc::channel(1);
    let (to_admin, admin) = mpsc::channel(WAITING);
    let (to_observe, observe) = mpsc::channel(WAITING);
    let queues = Queues { counters: to_counters, admin: to_admin, observe: to_observe };
    (queues, Requests { counters, admin, observe })
}

impl Queues {
    /// Asks for fresh counters; false when that is asked already or the loop is gone.
    pub(crate) fn counters(&self, reply: oneshot::Sender<()>) -> bool {
        self.counters.try_send(Request::Counters { reply }).is_ok()
    }

    /// Asks for a plan as soon as the queue of this role has room.
    pub(super) async fn plan(&self, role: Role, reply: Answer<Plan>) -> Result<(), Why> {
        let queue = match role {
            Role::Admin => &self.admin,
            Role::Observe => &self.observe,
        };
        queue.send(Request::Plan { reply }).await.map_err(|_| stopping())
    }

    /// Asks for what only an administrator may ask for. It is in the queue or refused at once, also when nobody waits for an
    /// answer.
    pub(crate) fn administer(&self, request: Request) -> Result<(), Why> {
        self.admin.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => Why { why: "requests of other administrators are waiting; try again".to_owned() },
            TrySendError::Closed(_) => stopping(),
        })
    }
}

fn stopping() -> Why {
    Why { why: "the daemon is stopping; try again when it is back".to_owned() }
}

impl Requests {
    /// The next request that somebody waits for or that changes the host: the counters, which are read in no time, then what
    /// administrators ask, then what observers ask. `None` when the socket is gone. Cancelling it loses none.
    pub async fn recv(&mut self) -> Option<Request> {
        loop {
            let request = tokio::select! {
                biased;
                Some(request) = self.counters.recv() => request,
                Some(request) = self.admin.recv() => request,
                Some(request) = self.observe.recv() => request,
                else => return None,
            };
            if request.is_wanted() {
                return Some(request);
            }
        }
    }
}
