//! Somebody else hangs, and only what needs him waits.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_packet::run_until;
use serde_json::Value;

use super::{Case, SEED, daemon};
use crate::inside::{Lab, MANIFEST};
use crate::suite::Suite;

/// Case 15, libvirtd.
pub(super) const LIBVIRTD_FROZEN: Case = Case {
    number: 15,
    name: "while libvirtd is frozen for a minute a deleted VLAN comes back, status answers, and an apply that touches no guest ends",
    on: &[Suite::Debian13],
    boot: &SEED,
    run: libvirtd_frozen,
};

/// Case 15, the daemon itself.
pub(super) const DAEMON_FROZEN: Case = Case {
    number: 15,
    name: "a daemon that hangs is started again by its watchdog, and policy and links stay meanwhile",
    on: &[Suite::Debian13],
    boot: &SEED,
    run: daemon_frozen,
};

/// How long libvirtd is frozen: longer than any deadline of a call.
const FROZEN: Duration = Duration::from_secs(60);
/// A second on a real machine; less than any deadline of a call of libvirt, in software emulation.
const SOON: Duration = Duration::from_secs(8);
/// An apply waits ten seconds for a libvirt that does not answer, and not for the end of the freeze.
const APPLY: Duration = Duration::from_secs(40);
/// From the last sign to systemd's patience, to the end of a process that takes no signal, to READY.
const RESTARTED: Duration = Duration::from_secs(180);
/// systemd's patience for this case. A look at policy and links takes a second here.
const PATIENCE: &str = "WatchdogSec=20s\nTimeoutAbortSec=2s";

fn libvirtd_frozen(lab: &Lab) -> Result<(), String> {
    daemon::running(lab, "example")?;
    daemon::settled(lab)?;
    let libvirtd = lab.run("systemctl show --value --property=MainPID libvirtd.service")?;
    lab.run(&format!("kill -STOP {}", libvirtd.trim()))?;
    let ended = while_frozen(lab, Instant::now());
    lab.run(&format!("kill -CONT {}", libvirtd.trim()))?;
    let took = daemon::settled(lab)?;
    lab.measured(format!("{} ms after the freeze nothing is left to do", took.as_millis()));
    ended.and(lab.apply_seed().map(drop)).and(daemon::settled(lab).map(drop))
}

fn while_frozen(lab: &Lab, began: Instant) -> Result<(), String> {
    // Its look at libvirt is the one that hangs.
    let manifest = lab.text("frozen/host.toml")?;
    std::fs::write(MANIFEST, manifest).map_err(|error| format!("{MANIFEST}: {error}"))?;
    let applied = thread::scope(|scope| {
        let apply = scope.spawn(|| {
            let began = Instant::now();
            let ended = run_until(Command::new("bulkhead").args(["apply", "--json"]), APPLY);
            (ended, began.elapsed())
        });
        let repaired = repaired(lab).and_then(|()| answers(lab));
        let applied = apply.join().map_err(|_| "the apply's thread panicked".to_owned());
        repaired.and(applied)
    })?;
    let (ended, took) = applied;
    let output = ended.map_err(|error| format!("bulkhead apply: {error}"))?.stdout;
    let last: Value = output.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    if last["parameters"]["summary"]["verified"] != false || !output.contains("waits for libvirt") {
        return Err(format!("an apply that did not see libvirt says: {output}"));
    }
    let rules = lab.run("nft list table bridge bulkhead")?;
    if !rules.contains("8443") {
        return Err(format!("the apply ended, and its allow is not in the ruleset:\n{rules}"));
    }
    lab.measured(format!("an apply that touches no guest ended after {} ms", took.as_millis()));
    while began.elapsed() < FROZEN {
        repaired(lab)?;
        answers(lab)?;
        thread::sleep(Duration::from_secs(5));
    }
    Ok(())
}

fn repaired(lab: &Lab) -> Result<(), String> {
    lab.run("ip link delete vlan20")?;
    let ((), took) = lab.wait("vlan20 to be back on br20", SOON, || {
        let seen = lab.run("ip -o link show vlan20").unwrap_or_else(|error| error);
        if seen.contains("master br20") && seen.contains(",UP") { Ok(()) } else { Err(seen) }
    })?;
    lab.measured(format!("vlan20 deleted: back after {} ms", took.as_millis()));
    Ok(())
}

/// Status answers at once, and what was just applied stands soon without libvirt.
fn answers(lab: &Lab) -> Result<(), String> {
    let (took, _) = lab.wait("the network to be ready without libvirt", SOON, || {
        let began = Instant::now();
        let ended = lab.attempt(&["bulkhead", "status", "--json"], SOON)?;
        let took = began.elapsed();
        let status: Value =
            serde_json::from_str(&ended.stdout).map_err(|error| format!("{error}: {}", ended.stdout))?;
        if status["ready"] == true { Ok(took) } else { Err(status.to_string()) }
    })?;
    lab.measured(format!("status answered after {} ms", took.as_millis()));
    Ok(())
}

fn daemon_frozen(lab: &Lab) -> Result<(), String> {
    daemon::running(lab, "example")?;
    daemon::with_settings(lab, PATIENCE, || {
        let old = daemon::pid(lab)?;
        // In peace it gives its signs.
        thread::sleep(Duration::from_secs(45));
        if daemon::pid(lab)? != old {
            return Err("a daemon that looks was taken for one that hangs".to_owned());
        }
        let before = walls(lab)?;
        lab.run(&format!("kill -STOP {old}"))?;
        let (pid, took) = lab.wait("another process of the daemon", RESTARTED, || {
            let seen = walls(lab)?;
            if seen != before {
                return Err(format!("policy and links changed:\n{seen}"));
            }
            match daemon::pid(lab)? {
                pid if pid != old && daemon::property(lab, "ActiveState")? == "active" => Ok(pid),
                pid => Err(format!("process {pid}")),
            }
        })?;
        lab.measured(format!("process {old} hung and was replaced by {pid} after {} ms", took.as_millis()));
        if walls(lab)? == before { Ok(()) } else { Err("policy and links are others than before".to_owned()) }
    })
}

/// The rules without their counts, and the links.
fn walls(lab: &Lab) -> Result<String, String> {
    Ok(lab.run("nft -s list table bridge bulkhead")? + &lab.run("ip -o link show type vlan")?)
}
