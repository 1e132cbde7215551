//! The daemon as a service: its process, its settings, and whether it has anything left to do.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bulkhead_api::GuestState;

use crate::inside::{Agent, Lab};

/// The unit.
pub(super) const UNIT: &str = "bulkheadd.service";
/// The daemon's user, and the group that administers.
pub(super) const USER: &str = "bulkhead";

/// Starting a guest, in software emulation within software emulation.
const DEADLINE: Duration = Duration::from_secs(240);
const DROP_IN: &str = "/run/systemd/system/bulkheadd.service.d";

/// The daemon's process.
pub(super) fn pid(lab: &Lab) -> Result<u32, String> {
    match property(lab, "MainPID")?.parse() {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(format!("{UNIT} has no process")),
    }
}

/// A property of the daemon's unit.
pub(super) fn property(lab: &Lab, name: &str) -> Result<String, String> {
    let text = lab.run(&format!("systemctl show --value --property={name} {UNIT}"))?;
    Ok(text.trim().to_owned())
}

/// What an apply would write, as its texts; empty is nothing.
pub(super) fn plan() -> Result<Vec<String>, String> {
    let plan = Agent::connect()?.plan()?;
    // Of what cannot be read nothing is planned.
    let unread = plan.notices.into_iter().map(|notice| notice.text).filter(|text| text.contains("waits for libvirt"));
    Ok(plan.steps.into_iter().map(|step| step.text).chain(unread).collect())
}

/// Waits until the host is as the manifest says, guests included; how long that took.
pub(super) fn settled(lab: &Lab) -> Result<Duration, String> {
    let ((), took) = lab.wait("an empty plan", DEADLINE, || match plan()? {
        left if left.is_empty() => Ok(()),
        left => Err(left.join("; ")),
    })?;
    Ok(took)
}

/// Waits until the daemon and libvirt say that a guest runs; the process of its QEMU.
pub(super) fn running(lab: &Lab, guest: &str) -> Result<u32, String> {
    lab.wait(&format!("the guest {guest} to run"), DEADLINE, || {
        let guests = lab.status()?.guests;
        let runs = guests.iter().any(|one| one.name.as_str() == guest && one.state == GuestState::Running);
        if runs { Ok(()) } else { Err(format!("{guests:?}")) }
    })?;
    qemu(guest)
}

/// The process of a guest's QEMU, as libvirt keeps it.
pub(super) fn qemu(guest: &str) -> Result<u32, String> {
    let path = format!("/run/libvirt/qemu/{guest}.pid");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    text.trim().parse().map_err(|error| format!("{path}: {text:?}: {error}"))
}

/// Runs a case with these lines in the daemon's unit, and restores it however the case ends.
pub(super) fn with_settings(
    lab: &Lab,
    settings: &str,
    case: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let file = Path::new(DROP_IN).join("50-lab.conf");
    let text = format!("[Service]\n{settings}\n");
    fs::create_dir_all(DROP_IN).and_then(|()| fs::write(&file, text)).map_err(|error| format!("{DROP_IN}: {error}"))?;
    let ended = restart(lab).and_then(|()| case());
    let restored = fs::remove_file(&file).map_err(|error| format!("{}: {error}", file.display()));
    ended.and(restored).and(restart(lab))
}

/// Takes up the unit's files and restarts it; it is READY at the end.
fn restart(lab: &Lab) -> Result<(), String> {
    lab.run("systemctl daemon-reload")?;
    lab.run(&format!("systemctl restart {UNIT}"))?;
    settled(lab).map(drop)
}
