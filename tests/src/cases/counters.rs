//! The ruleset's named counters, as the daemon's status tells them.

use std::time::Duration;

use serde_json::Value;

use crate::inside::Lab;

/// The daemon may take its time until its next look.
const DEADLINE: Duration = Duration::from_secs(10);

/// All counters as they were read last.
pub(super) struct Counters(Value);

impl Counters {
    /// Reads them.
    pub(super) fn read(lab: &Lab) -> Result<Self, String> {
        Ok(Self(lab.status()?["counters"].take()))
    }

    /// Waits until one says exactly so many more than it did when they were read last, which is now.
    pub(super) fn grew(&mut self, lab: &Lab, name: &str, by: u64) -> Result<(), String> {
        let before = self.packets(name)?;
        let wanted = format!("the counter {name} to say {by} more than {before}");
        let (now, _) = lab.wait(&wanted, DEADLINE, || {
            let now = Self::read(lab)?;
            let packets = now.packets(name)?;
            if packets.saturating_sub(before) == by { Ok(now) } else { Err(packets.to_string()) }
        })?;
        *self = now;
        Ok(())
    }

    fn packets(&self, name: &str) -> Result<u64, String> {
        let named = self.0.as_array().and_then(|all| all.iter().find(|counter| counter["name"] == name));
        let packets = named.and_then(|counter| counter["packets"].as_u64());
        packets.ok_or_else(|| format!("the status has no counter {name}: {}", self.0))
    }
}
