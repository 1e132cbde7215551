//! Frames sent all along, slowly enough to leave the processor to what is tested.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use bulkhead_packet::{Frame, Sender};

const PAUSE: Duration = Duration::from_millis(1);

/// A thread that sends frames in turn until it is told to stop.
pub(super) struct Drip {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Drip {
    /// Begins. A frame that cannot be sent (its link is down for a moment) is not counted.
    pub(super) fn start(sent: Vec<(Sender, Frame)>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut count = 0;
            for (sender, frame) in sent.iter().cycle() {
                if told.load(Ordering::Acquire) {
                    break;
                }
                count += u64::from(sender.send(frame).is_ok());
                sleep(PAUSE);
            }
            count
        });
        Self { stop, thread }
    }

    /// Ends it; how many frames were sent.
    pub(super) fn finish(self) -> Result<u64, String> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().map_err(|_| "the thread that sends frames ended by a panic".to_owned())
    }
}
