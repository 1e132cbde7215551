//! The ruleset changes, and somebody else flushes it, while two senders flood what is forbidden.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bulkhead_packet::{Ether, Flood, Marker};

use super::stand_in::{FAR, StandIn, far_side_up, station, under, while_silent};
use super::watchers::{PATIENCE, Watchers};
use super::{Case, SEED};
use crate::inside::{Agent, Lab, MANIFEST};
use crate::suite::Suite;

/// Case 6, the daemon's own changes.
pub(super) const NO_CHANGE_LEAKS: Case = Case {
    number: 6,
    name: "under 60 policy changes by apply not one frame of a flooded forbidden flow arrives",
    on: Suite::ALL,
    boot: &SEED,
    run: no_change_leaks,
};

/// Case 6, somebody else's.
pub(super) const NO_RESTART_LEAKS: Case = Case {
    number: 6,
    name: "systemctl restart nftables under a flooded forbidden flow lets nothing pass where the kernel can hold the rules",
    on: Suite::ALL,
    boot: &SEED,
    run: no_restart_leaks,
};

/// Each with a look at every room. The policy's kernel tests commit 2000 changes under a flood, and nothing else.
const CHANGES: u32 = 60;
const FOLDER: &str = "changes";

/// Two senders of what neither manifest of this case allows, one in each direction.
struct Forbidden {
    web: StandIn,
    far: Ether,
}

impl Forbidden {
    fn plug(lab: &Lab) -> Result<Self, String> {
        far_side_up()?;
        Ok(Self { web: StandIn::plug(lab, "web", "lan")?, far: station(FAR)? })
    }

    fn flood(&self, marker: Marker) -> Result<(Flood, Watchers), String> {
        let watchers = Watchers::start(marker, &["br20"], &[&self.web])?;
        let senders = self.web.forbidden(self.far, marker)?.map(|(sender, frame)| (sender, vec![frame]));
        Ok((Flood::start(senders.into()), watchers))
    }
}

/// Two senders, the daemon and QEMU have one processor between them, so the guest `example` waits meanwhile.
fn no_change_leaks(lab: &Lab) -> Result<(), String> {
    under(lab, FOLDER, || while_silent(lab, || flood_under_changes(lab, &Forbidden::plug(lab)?)))
}

fn no_restart_leaks(lab: &Lab) -> Result<(), String> {
    under(lab, FOLDER, || while_silent(lab, || flood_under_restart(lab, &Forbidden::plug(lab)?)))
}

fn flood_under_changes(lab: &Lab, forbidden: &Forbidden) -> Result<(), String> {
    let texts = [lab.text("changes/other.toml")?, lab.text("changes/host.toml")?];
    let mut agent = Agent::connect()?;
    let (flood, watchers) = forbidden.flood(Marker::unique())?;
    let began = Instant::now();
    let changed = (0..CHANGES).zip(texts.iter().cycle()).try_for_each(|(number, text)| {
        if number % 20 == 0 {
            lab.at(&format!("case 6: {number} of {CHANGES} changes"));
        }
        change(&mut agent, text)
    });
    let (took, sent) = (began.elapsed().as_secs_f64(), flood.finish()?);
    changed?;
    watchers.nothing(&format!("{sent} forbidden frames under {CHANGES} changes"), PATIENCE)?;
    lab.measured(format!("{CHANGES} changes in {took:.1} s, {sent} forbidden frames sent, 0 arrived"));
    Ok(())
}

/// One change: the other manifest, applied, in a transaction of the ruleset.
fn change(agent: &mut Agent, manifest: &str) -> Result<(), String> {
    fs::write(Path::new(MANIFEST), manifest).map_err(|error| format!("{MANIFEST}: {error}"))?;
    let summary = agent.apply()?;
    if summary.done > 0 { Ok(()) } else { Err(format!("an apply changed nothing: {summary:?}")) }
}

fn flood_under_restart(lab: &Lab, forbidden: &Forbidden) -> Result<(), String> {
    /// Before the command and after it.
    const MOMENT: Duration = Duration::from_millis(500);
    let (flood, watchers) = forbidden.flood(Marker::unique())?;
    sleep(MOMENT);
    let restarted = Instant::now();
    lab.run("systemctl restart nftables.service")?;
    let back = lab.wait("the ruleset to be back", Duration::from_secs(20), || {
        let seen = lab.run("nft list table bridge bulkhead")?;
        if seen.contains("hook forward") { Ok(()) } else { Err(seen) }
    });
    let open = restarted.elapsed().as_millis();
    sleep(MOMENT);
    let sent = flood.finish()?;
    back?;
    let arrived = watchers.finish(PATIENCE)?;
    let passed: u64 = arrived.iter().map(|(_, frames)| frames).sum();
    lab.measured(format!(
        "{passed} of {sent} forbidden frames passed; the rules were seen {open} ms after the command"
    ));
    let (flood, watchers) = forbidden.flood(Marker::unique())?;
    sleep(MOMENT);
    let sent = flood.finish()?;
    watchers.nothing(&format!("{sent} forbidden frames after the ruleset was back"), PATIENCE)?;
    // Table flags `owner` and `persist` came with Linux 6.9: before, a flush is repaired by its event.
    let owned = lab.suite() != Suite::Debian12;
    if passed > 0 && owned { Err(format!("{passed} frames passed: {arrived:?}")) } else { Ok(()) }
}
