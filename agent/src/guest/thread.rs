//! The connection to libvirt, and the two threads on which everything about it happens.
//!
//! libvirt's calls block, and a frozen daemon blocks them for as long as it likes. So one worker thread makes them all, and
//! whoever asks waits for the answer with a deadline. A second thread runs the event loop of libvirt's library, without
//! which there are no events, no keepalive, and no way out of a call to a frozen daemon.
//!
//! The worker also keeps the connection: it opens it, and opens it again when it is lost, by itself. Nobody ever waits for
//! that; while there is no connection every call says so at once.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bulkhead_types::chain;
use tokio::sync::{Notify, oneshot};
use virt::connect::Connect;

use super::error::{Error, Refused as _};
use super::model::Timing;
use super::patience::Patience;
use super::sys::{self, Subscription};
use super::watch::Watch;

/// The libvirt of this host.
pub const SYSTEM: &str = "qemu:///system";
/// Seconds between two keepalive messages, and how many may stay without an answer: a frozen daemon is given up after 20 s.
const KEEPALIVE: (i32, u32) = (5, 3);
/// The first and the longest wait between two attempts to open the connection. An attempt without a socket takes less than
/// a millisecond, so that two seconds are soon enough and cost nothing.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

type Call = Box<dyn FnOnce(&Connect) + Send>;

enum Message {
    Run(u64, Call),
    /// The connection may be gone.
    Look,
    Stop,
}

/// libvirt, as the agent knows it. Cheap to make; the connection comes by itself.
#[derive(Debug)]
pub struct Libvirt {
    pub(super) shared: Arc<Shared>,
}

/// What the agent's, the worker's and the event loop's threads share.
#[derive(Debug)]
pub(super) struct Shared {
    messages: Sender<Message>,
    /// Wakes the [`Watch`].
    pub(super) changed: Notify,
    /// Why there is no connection.
    down: Mutex<Option<String>>,
    calls: Mutex<Calls>,
    /// Whether mounts decide about any pool.
    pub(super) mounts_matter: AtomicBool,
    pub(super) patience: Patience,
}

/// The calls by their numbers, in the order in which the worker makes them.
#[derive(Debug, Default)]
struct Calls {
    /// The last one that was asked for.
    asked: u64,
    /// The last one that has ended.
    ended: u64,
    /// The last one that did not end in time.
    late: u64,
}

impl Calls {
    /// Whether a call that did not end in time still keeps the worker.
    const fn stuck(&self) -> bool {
        self.late > self.ended
    }

    /// A call's time is over. False: it has just ended, and its answer is there.
    fn is_late(&mut self, number: u64) -> bool {
        let late = number > self.ended;
        if late {
            self.late = self.late.max(number);
        }
        late
    }

    /// A call has ended. True: the worker answers again.
    fn end(&mut self, number: u64) -> bool {
        let stuck = self.stuck();
        self.ended = number;
        stuck && !self.stuck()
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl sys::Listener for Shared {
    fn changed(&self) {
        self.changed.notify_one();
    }

    fn closed(&self) {
        // The worker is the only one that says up or down, so that the two never cross.
        let _ = self.messages.send(Message::Look);
    }
}

impl Libvirt {
    /// Starts the threads, and with them the first attempt to connect to `uri` ([`SYSTEM`], or libvirt's test driver).
    /// `timing` is how much time its guests have.
    ///
    /// # Errors
    /// No thread could be started, or libvirt's event loop could not be registered. That libvirt is absent is no error.
    pub fn open(uri: &str, timing: Timing) -> Result<Self, Error> {
        event_loop()?;
        let (messages, inbox) = channel();
        let shared = Arc::new(Shared {
            messages,
            changed: Notify::new(),
            down: Mutex::new(Some("the connection is being opened".to_owned())),
            calls: Mutex::default(),
            mounts_matter: AtomicBool::new(false),
            patience: Patience::new(timing),
        });
        let worker = Worker { uri: uri.to_owned(), shared: Arc::clone(&shared), link: None, wait: BACKOFF.0 };
        let thread = std::thread::Builder::new().name("libvirt".to_owned());
        thread.spawn(move || worker.run(&inbox)).map_err(Error::Thread)?;
        Ok(Self { shared })
    }

    /// A source of wakes. Of several, each event wakes one.
    ///
    /// # Errors
    /// `/proc/self/mountinfo` could not be watched.
    pub fn watch(&self) -> Result<Watch, Error> {
        Watch::open(Arc::clone(&self.shared))
    }

    /// Why there is no connection to libvirt right now; `None` when there is one.
    #[must_use]
    pub fn down(&self) -> Option<String> {
        self.shared.down.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes calls on the worker's thread.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        deadline: Duration,
        calls: impl FnOnce(&Connect) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        if let Some(why) = self.down() {
            return Err(Error::Down(why));
        }
        let (reply, mut answer) = oneshot::channel();
        let call: Call = Box::new(move |connect| {
            // Nobody waits any more: a write that comes minutes late would surprise.
            if !reply.is_closed() {
                let _ = reply.send(calls(connect).map_err(|error| or_down(connect, error)));
            }
        });
        let lost = || Error::Down("the connection was lost during the call".to_owned());
        let number = {
            // Sent under the lock, so that the numbers are in the order of the messages.
            let mut calls = self.shared.calls();
            if calls.stuck() {
                return Err(Error::Down("it is still busy with an earlier call".to_owned()));
            }
            calls.asked += 1;
            self.shared.messages.send(Message::Run(calls.asked, call)).map_err(|_| lost())?;
            calls.asked
        };
        match tokio::time::timeout(deadline, &mut answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(lost())),
            Err(_) if self.shared.calls().is_late(number) => Err(Error::Late(deadline)),
            Err(_) => answer.try_recv().unwrap_or_else(|_| Err(lost())),
        }
    }
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        let _ = self.shared.messages.send(Message::Stop);
    }
}

/// A refusal by a connection that is gone says nothing of the object.
fn or_down(connect: &Connect, error: Error) -> Error {
    if connect.is_alive().unwrap_or(false) { error } else { Error::Down(chain(&error)) }
}

/// Registers the event loop of libvirt's library and runs it, once a process: before the first connection, or that
/// connection has neither events nor keepalive.
fn event_loop() -> Result<(), Error> {
    static LOOP: OnceLock<Result<(), String>> = OnceLock::new();
    let run = || {
        // The library prints every error to stderr otherwise; each is in our own log already.
        virt::error::clear_error_callback();
        virt::event::event_register_default_impl().map_err(|error| error.message().to_owned())?;
        let thread = std::thread::Builder::new().name("libvirt-events".to_owned());
        let turn = || {
            loop {
                if let Err(error) = virt::event::event_run_default_impl() {
                    tracing::error!(error = error.message(), "libvirt's event loop failed a turn");
                    std::thread::sleep(BACKOFF.0);
                }
            }
        };
        thread.spawn(turn).map(drop).map_err(|error| error.to_string())
    };
    LOOP.get_or_init(run).clone().map_err(Error::EventLoop)
}

struct Worker {
    uri: String,
    shared: Arc<Shared>,
    link: Option<Link>,
    wait: Duration,
}

struct Link {
    connect: Connect,
    subscription: Subscription,
}

impl Worker {
    fn run(mut self, inbox: &Receiver<Message>) {
        let mut next = Instant::now();
        loop {
            if self.link.as_ref().is_some_and(|link| !link.connect.is_alive().unwrap_or(false)) {
                tracing::warn!(uri = self.uri, "the connection to libvirt is gone");
                self.close("the connection is gone: it was closed, or libvirt did not answer for 20 s");
                next = Instant::now();
            }
            if self.link.is_none() && Instant::now() >= next {
                self.open();
                next = Instant::now() + self.wait;
            }
            let message = match &self.link {
                Some(_) => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                None => inbox.recv_timeout(next.saturating_duration_since(Instant::now())),
            };
            match message {
                Ok(Message::Run(number, call)) => self.work(number, call),
                Ok(Message::Look) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return self.close("the agent ends"),
            }
        }
    }

    fn work(&self, number: u64, call: Call) {
        if let Some(link) = &self.link {
            // The `virt` crate panics where freeing an object fails; that ends this call and not libvirt for good.
            if std::panic::catch_unwind(AssertUnwindSafe(|| call(&link.connect))).is_err() {
                tracing::error!("a call of libvirt panicked");
            }
        }
        // Whoever was told that libvirt does not answer hears that it does again.
        if self.shared.calls().end(number) {
            self.shared.changed.notify_one();
        }
    }

    fn open(&mut self) {
        match Connect::open(Some(&self.uri)).refused("connect", &self.uri) {
            Ok(connect) => {
                // libvirt's test driver has no daemon that could freeze, and refuses.
                if let Err(error) = connect.set_keep_alive(KEEPALIVE.0, KEEPALIVE.1) {
                    tracing::debug!(error = error.message(), "no keepalive");
                }
                let subscription = sys::subscribe(&connect, &self.shared);
                self.link = Some(Link { connect, subscription });
                self.wait = BACKOFF.0;
                tracing::info!(uri = self.uri, "connected to libvirt");
                self.say(None);
            }
            Err(error) => {
                self.wait = (self.wait * 2).min(BACKOFF.1);
                self.say(Some(chain(&error)));
            }
        }
    }

    fn close(&mut self, why: &str) {
        if let Some(Link { mut connect, subscription }) = self.link.take() {
            sys::unsubscribe::<Shared>(&connect, &subscription);
            if let Err(error) = connect.close() {
                tracing::warn!(error = error.message(), "cannot close the connection to libvirt");
            }
        }
        self.say(Some(why.to_owned()));
    }

    /// Says whether there is a connection, and wakes whoever watches when that is news.
    fn say(&self, why: Option<String>) {
        let old = std::mem::replace(&mut *self.shared.down.lock().unwrap_or_else(PoisonError::into_inner), why.clone());
        if old != why {
            self.shared.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_ends_with_its_time_is_answered_and_keeps_nobody_waiting() {
        let mut calls = Calls { asked: 1, ..Calls::default() };
        assert!(!calls.end(1), "nobody was told that it is late");
        assert!(!calls.is_late(1) && !calls.stuck(), "its answer came first");
    }

    #[test]
    fn libvirt_answers_again_when_the_last_late_call_has_ended() {
        let mut calls = Calls { asked: 2, ..Calls::default() };
        assert!(calls.is_late(2) && calls.is_late(1) && calls.stuck());
        assert!(!calls.end(1) && calls.stuck());
        assert!(calls.end(2) && !calls.stuck());
    }
}
