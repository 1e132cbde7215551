//! A sign of life for whatever takes more than a few seconds.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Between two signs of life.
const EVERY: Duration = Duration::from_secs(10);

/// Says every ten seconds what is going on and since when, until it is dropped.
pub(crate) struct Progress {
    what: String,
    began: Instant,
    now: Arc<Mutex<String>>,
    // Dropped first, which ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins; `what` stands before every line.
    pub(crate) fn begin(what: impl Into<String>) -> Self {
        let (what, began, now) = (what.into(), Instant::now(), Arc::new(Mutex::new(String::new())));
        let (stop, stopped) = channel();
        let thread = thread::spawn({
            let (what, now) = (what.clone(), Arc::clone(&now));
            move || {
                while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                    let now = now.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    println!("{what}: {} s {now}", began.elapsed().as_secs());
                }
            }
        });
        Self { what, began, now, stop: Some(stop), thread: Some(thread) }
    }

    /// What is going on from now on.
    pub(crate) fn now(&self, text: &str) {
        text.clone_into(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Says what has been reached, and after how long.
    pub(crate) fn mark(&self, text: &str) {
        println!("{}: {text} after {} s", self.what, self.began.elapsed().as_secs());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It only prints; a failed print is no reason to fail.
            let _ = thread.join();
        }
    }
}
