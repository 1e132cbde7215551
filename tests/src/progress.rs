//! A sign of life for whatever takes more than a few seconds.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The longest silence.
const SILENCE: Duration = Duration::from_secs(10);
/// Between two looks at how long it has lasted.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Says what is going on and since when whenever nothing else has been said for ten seconds, until it is dropped.
pub(crate) struct Progress {
    what: String,
    began: Instant,
    state: Arc<Mutex<State>>,
    // Dropped first, which ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    now: String,
    spoke: Instant,
}

impl Progress {
    /// Begins; `what` stands before every line.
    pub(crate) fn begin(what: impl Into<String>) -> Self {
        let (what, began) = (what.into(), Instant::now());
        let state = Arc::new(Mutex::new(State { now: String::new(), spoke: began }));
        let (stop, stopped) = channel();
        let thread = thread::spawn({
            let (what, state) = (what.clone(), Arc::clone(&state));
            move || {
                while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                    let mut state = locked(&state);
                    if state.spoke.elapsed() >= SILENCE {
                        state.spoke = Instant::now();
                        println!("{what}: {} s {}", began.elapsed().as_secs(), state.now);
                    }
                }
            }
        });
        Self { what, began, state, stop: Some(stop), thread: Some(thread) }
    }

    /// What is going on from now on.
    pub(crate) fn now(&self, text: &str) {
        text.clone_into(&mut locked(&self.state).now);
    }

    /// Says a line of what is going on, itself a sign of life.
    pub(crate) fn say(&self, line: &str) {
        locked(&self.state).spoke = Instant::now();
        println!("{line}");
    }

    /// Says what has been reached, and after how long.
    pub(crate) fn mark(&self, text: &str) {
        self.say(&format!("{}: {text} after {} s", self.what, self.began.elapsed().as_secs()));
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // A text and a time are whole whoever panicked.
    state.lock().unwrap_or_else(PoisonError::into_inner)
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
