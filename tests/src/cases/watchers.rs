//! Everywhere a frame could arrive, watched at once for the frames of one marker.

use std::time::Duration;

use bulkhead_packet::{Capture, Direction, Marker, Seen, Tally};

use super::stand_in::{FAR, StandIn};

/// Frames on their way take less, in software emulation too.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// Tallies, each with the name of where it counts.
pub(super) struct Watchers(Vec<(String, Tally)>);

impl Watchers {
    /// Counts at the trunk's far side, at these bridges (what the host itself receives) and at these guests.
    pub(super) fn start(marker: Marker, bridges: &[&str], guests: &[&StandIn]) -> Result<Self, String> {
        let mut captures = vec![("the far side".to_owned(), Capture::open(FAR, Direction::Arriving)?)];
        for bridge in bridges {
            captures.push((format!("the host on {bridge}"), Capture::received(bridge)?));
        }
        for guest in guests {
            captures.push((guest.namespace.name().to_owned(), guest.capture()?));
        }
        let start = |(name, capture)| (name, Tally::start(capture, marker));
        Ok(Self(captures.into_iter().map(start).collect()))
    }

    /// What arrived where, after some time for what is still on its way; an error when a capture lost frames and so
    /// cannot say.
    pub(super) fn finish(self, patience: Duration) -> Result<Vec<(String, u64)>, String> {
        std::thread::sleep(patience);
        let mut seen = Vec::new();
        for (name, tally) in self.0 {
            let Seen { frames, lost } = tally.finish(Duration::ZERO)?;
            if lost > 0 {
                return Err(format!("the capture at {name} lost {lost} frames and cannot say what arrived"));
            }
            seen.push((name, frames));
        }
        Ok(seen)
    }

    /// Nothing may have arrived anywhere; `what` was sent.
    pub(super) fn nothing(self, what: &str, patience: Duration) -> Result<(), String> {
        let arrived: Vec<_> = self.finish(patience)?.into_iter().filter(|(_, frames)| *frames > 0).collect();
        if arrived.is_empty() { Ok(()) } else { Err(format!("{what}: arrived {arrived:?}")) }
    }
}
