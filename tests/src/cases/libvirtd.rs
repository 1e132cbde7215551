//! libvirtd goes and comes again.

use std::fs;
use std::time::Duration;

use super::{Case, SEED, daemon};
use crate::inside::Lab;
use crate::suite::Suite;

/// Case 13, its first half.
pub(super) const RESTARTED: Case = Case {
    number: 13,
    name: "libvirtd restarted under the daemon: it reconnects, the plan is empty, the guest never stopped",
    on: &[Suite::Debian13],
    boot: &SEED,
    run: restarted,
};

/// Less than the daemon's timer.
const BY_EVENT: Duration = Duration::from_secs(20);

fn restarted(lab: &Lab) -> Result<(), String> {
    let qemu = daemon::running(lab, "example")?;
    let began = started(qemu)?;
    lab.run("systemctl restart libvirtd.service")?;
    let took = daemon::settled(lab)?;
    let after = daemon::running(lab, "example")?;
    if (after, started(after)?) != (qemu, began) {
        return Err(format!("QEMU was process {qemu}, is {after}"));
    }
    // By the new connection's events, not by the timer.
    lab.run("virsh net-destroy LANBridge")?;
    let ((), back) = lab.wait("the network to be started again", BY_EVENT, || {
        let seen = lab.run("virsh net-info LANBridge")?;
        let active = seen.lines().any(|line| line.starts_with("Active") && line.ends_with("yes"));
        if active { Ok(()) } else { Err(seen) }
    })?;
    lab.measured(format!(
        "reconnected and nothing to do after {} ms; a stopped network back after {} ms; QEMU still process {qemu}",
        took.as_millis(),
        back.as_millis()
    ));
    daemon::settled(lab).map(drop)
}

/// When a process was started, in ticks since the boot (proc(5)): its number alone may be another's by now.
fn started(pid: u32) -> Result<String, String> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    // After the name, which may hold spaces, the 20th.
    let field = text.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(19));
    field.map(str::to_owned).ok_or_else(|| format!("{path}: {text}"))
}
