//! Many frames: a number of them, or as many as go until told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{Error, Frame, Sender};

/// Sends one frame a number of times, slowly enough that no queue of the kernel overflows: each that the receiver
/// lacks was dropped by somebody's decision.
///
/// # Errors
/// A frame cannot be sent.
pub fn send_counted(sender: &Sender, frame: &Frame, count: u64) -> Result<(), Error> {
    const AT_ONCE: u64 = 32;
    let bytes = frame.bytes();
    for sent in 1..=count {
        sender.send_bytes(&bytes)?;
        if sent % AT_ONCE == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// Frames sent in bursts that a pause of a millisecond parts, by a thread for each sender: whoever is flooded has to
/// get some of the one emulated processor too, or little is changed under the flood.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Flood {
    /// Begins: each sender sends its frames in turn. One that cannot be sent (a link is down for a moment) is not counted
    /// and does not end the flood.
    #[must_use]
    pub fn start(senders: Vec<(Sender, Vec<Frame>)>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let spawn = |(sender, frames): (Sender, Vec<Frame>)| {
            let told = Arc::clone(&stop);
            let frames: Vec<_> = frames.iter().map(Frame::bytes).collect();
            thread::spawn(move || send(&sender, &frames, &told))
        };
        let threads = senders.into_iter().map(spawn).collect();
        Self { stop, threads }
    }

    /// Ends it; how many frames were sent.
    ///
    /// # Errors
    /// A thread ended by a panic.
    pub fn finish(self) -> Result<u64, Error> {
        self.stop.store(true, Ordering::Release);
        let sent = self.threads.into_iter().map(|thread| thread.join().map_err(|_| Error::Thread("send a flood")));
        sent.sum()
    }
}

fn send(sender: &Sender, frames: &[Vec<u8>], stop: &AtomicBool) -> u64 {
    const AT_ONCE: u64 = 2;
    let mut sent = 0;
    for (number, frame) in (1..).zip(frames.iter().cycle()) {
        if stop.load(Ordering::Acquire) {
            break;
        }
        sent += u64::from(sender.send_bytes(frame).is_ok());
        if number % AT_ONCE == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    sent
}
