//! The ruleset's named counters, as the kernel has them: the daemon's status shows those of its last turn.

use serde_json::Value;

use crate::inside::Lab;

/// All counters as they were read last.
pub(super) struct Counters(Value);

impl Counters {
    /// Reads them.
    pub(super) fn read(lab: &Lab) -> Result<Self, String> {
        let text = lab.run("nft -j list counters table bridge bulkhead")?;
        let json = serde_json::from_str(&text).map_err(|error| format!("nft -j list counters: {error}: {text}"))?;
        Ok(Self(json))
    }

    /// Exactly so much more must one say than when they were read last, which is now.
    pub(super) fn grew(&mut self, lab: &Lab, name: &str, by: u64) -> Result<(), String> {
        match self.growth(lab, name)? {
            grown if grown == by => Ok(()),
            grown => Err(format!("the counter {name} says {grown} more instead of {by}; now: {}", self.0)),
        }
    }

    /// How much more one says than when they were read last, which is now.
    pub(super) fn growth(&mut self, lab: &Lab, name: &str) -> Result<u64, String> {
        let before = std::mem::replace(self, Self::read(lab)?);
        Ok(self.packets(name)?.saturating_sub(before.packets(name)?))
    }

    fn packets(&self, name: &str) -> Result<u64, String> {
        let mut all = self.0["nftables"].as_array().into_iter().flatten().map(|object| &object["counter"]);
        let packets = all.find(|counter| counter["name"] == name).and_then(|counter| counter["packets"].as_u64());
        packets.ok_or_else(|| format!("the ruleset has no counter {name}: {}", self.0))
    }
}
