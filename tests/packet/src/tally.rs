//! Counting frames that somebody marked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crate::ethernet::{self, Frame};
use crate::{Capture, Error};

/// Eight bytes that no other frame holds: what a capture knows the frames of one flood by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker([u8; 8]);

impl Marker {
    /// One that was never used before.
    #[must_use]
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // The clock, so that two processes differ; the count, so that two markers of one process do.
        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64);
        let mixed = (now ^ NEXT.fetch_add(1, Ordering::Relaxed).rotate_left(48)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(mixed.to_be_bytes())
    }

    /// Its bytes, to be sent as data.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The frame with the marker behind what it carries, where ARP has padding. A packet of IP must carry it inside:
    /// conntrack cuts what follows a packet.
    #[must_use]
    pub fn behind(&self, mut frame: Frame) -> Frame {
        frame.payload.extend(self.0);
        frame
    }

    /// Whether a frame is marked.
    #[must_use]
    pub fn marks(&self, frame: &Frame) -> bool {
        frame.payload.windows(self.0.len()).any(|bytes| bytes == self.0)
    }
}

/// What a tally counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Marked frames.
    pub frames: u64,
    /// Frames of any kind that the capture lost: where there are some, `frames` may be too low.
    pub lost: u64,
}

/// Counts marked frames of a capture until it is finished.
#[derive(Debug)]
pub struct Tally {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen, Error>>,
}

impl Tally {
    /// Begins to count.
    #[must_use]
    pub fn start(capture: Capture, marker: Marker) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        Self { stop, thread: thread::spawn(move || count(&capture, marker, &told)) }
    }

    /// Waits for what is still on its way, and says what came.
    ///
    /// # Errors
    /// The interface went down or away.
    pub fn finish(self, patience: Duration) -> Result<Seen, Error> {
        thread::sleep(patience);
        self.stop.store(true, Ordering::Release);
        self.thread.join().map_err(|_| Error::Thread("count frames"))?
    }
}

fn count(capture: &Capture, marker: Marker, stop: &AtomicBool) -> Result<Seen, Error> {
    const TURN: Duration = Duration::from_millis(20);
    let mut frames = 0;
    loop {
        // Asked first: what came before the word to stop is still counted, by reading until nothing is left.
        let last = stop.load(Ordering::Acquire);
        let deadline = Instant::now() + TURN;
        while let Some(captured) = capture.next(deadline)? {
            frames += u64::from(marker.marks(&captured.frame));
        }
        if last {
            return Ok(Seen { frames, lost: capture.lost()? });
        }
    }
}

/// A frame of an EtherType that nobody knows, with nothing in it but the marker.
#[must_use]
pub fn unknown(source: crate::Ether, destination: crate::Ether, marker: &Marker) -> Frame {
    Frame::new(source, destination, ethernet::EXPERIMENT, marker.bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ether, transport};
    use std::net::Ipv4Addr;

    #[test]
    fn markers_differ_and_each_marks_its_own_frames_only() {
        let (one, other) = (Marker::unique(), Marker::unique());
        assert_ne!(one, other);
        let packet = transport::udp((Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST), 1, 2, one.bytes());
        let frame = packet.frame(Ether([2; 6]), Ether::BROADCAST);
        assert!(one.marks(&frame) && !other.marks(&frame));
        assert!(other.marks(&other.behind(frame)));
    }
}
