//! What is not there when the machine boots.

use std::time::{Duration, Instant};

use bulkhead_api::{GuestState, State, Status, Wake};

use super::{Boot, Case, daemon};
use crate::inside::{Lab, brief};
use crate::suite::Suite;

/// Case 13, its second half.
pub(super) const LIBVIRT_ABSENT: Case = Case {
    number: 13,
    name: "without libvirtd at boot the network is ready all the same, and the guest starts when libvirtd comes",
    on: &[Suite::Debian13],
    boot: &NO_LIBVIRT,
    run: libvirt_absent,
};

/// Case 14.
pub(super) const TRUNK_LATE: Case = Case {
    number: 14,
    name: "a trunk that is missing at boot is pending, and built by its event when it comes",
    on: &[Suite::Debian13],
    boot: &NO_TRUNK,
    run: trunk_late,
};

const NO_LIBVIRT: Boot = Boot {
    name: "no-libvirt",
    words: &[
        "systemd.mask=libvirtd.service",
        "systemd.mask=libvirtd.socket",
        "systemd.mask=libvirtd-ro.socket",
        "systemd.mask=libvirtd-admin.socket",
    ],
    seconds: 100,
};

/// The driver of all NICs stays away until somebody asks for it by name.
const NO_TRUNK: Boot = Boot { name: "no-trunk", words: &["modprobe.blacklist=virtio_net"], seconds: 100 };

/// The daemon is started before us; it only has to get through its first turn.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// From the driver's start to the last address; most of it is udev's work, in software emulation.
const BUILT_DEADLINE: Duration = Duration::from_secs(30);
/// From there to the end of the turn, in which a guest is started.
const TOLD_DEADLINE: Duration = Duration::from_secs(180);

fn libvirt_absent(lab: &Lab) -> Result<(), String> {
    ready(lab)?;
    // The trunk's driver may come a moment after the daemon.
    for link in ["vlan20", "br20", "vlan30", "br30"] {
        lab.wait(&format!("{link} to be up"), READY_DEADLINE, || {
            let seen = lab.run(&format!("ip -o link show {link}"))?;
            if seen.contains(",UP") { Ok(()) } else { Err(seen) }
        })?;
    }
    let (why, _) = lab.wait("the status to say why the guest does not run", READY_DEADLINE, || {
        let guest = lab.status()?.guests.into_iter().next().ok_or("no guest")?;
        guest.why.clone().filter(|_| guest.state == GuestState::Unknown).ok_or_else(|| format!("{guest:?}"))
    })?;
    lab.measured(format!("the status of the guest says: {why}"));
    // The mask of the kernel's command line holds until the next boot, so it is started without its unit.
    lab.run("systemd-run --unit=lab-libvirtd --property=KillMode=process /usr/sbin/libvirtd")?;
    lab.wait("libvirtd to answer", READY_DEADLINE, || lab.run("virsh list"))?;
    let began = Instant::now();
    daemon::running(lab, "example")?;
    lab.measured(format!("from libvirtd's first answer to a running guest: {} ms", began.elapsed().as_millis()));
    daemon::settled(lab).map(drop)
}

fn trunk_late(lab: &Lab) -> Result<(), String> {
    let status = ready(lab)?;
    all(&status, State::Pending)?;
    lab.wait("the guest to be held", READY_DEADLINE, || {
        let guest = lab.status()?.guests.into_iter().next().ok_or("no guest")?;
        let by_trunk = guest.why.as_deref().is_some_and(|why| why.contains("eth1"));
        if guest.state == GuestState::Held && by_trunk { Ok(()) } else { Err(format!("{guest:?}")) }
    })?;
    // What is made from then on is told as a repair.
    lab.wait("the host to be verified without the trunk", TOLD_DEADLINE, || {
        let status = lab.status()?;
        if status.verified { Ok(()) } else { Err(brief(&status)) }
    })?;
    let plan = daemon::plan()?;
    if !plan.is_empty() {
        return Err(format!("something can be done without the trunk: {plan:?}"));
    }
    lab.run("modprobe virtio_net")?;
    let line = "ip -o -4 address show dev br20";
    let (_, built) = lab.wait("br20 to have its address", BUILT_DEADLINE, || {
        let seen = lab.run(line)?;
        if seen.contains("10.13.37.30/24") { Ok(()) } else { Err(seen) }
    })?;
    let (status, _) = lab.wait("the status to say ready of all segments", TOLD_DEADLINE, || {
        let status = lab.status()?;
        all(&status, State::Ready)?;
        // Told at the end of the turn, which starts the guest too.
        if status.wakes.iter().any(makes_vlan20) { Ok(status) } else { Err("no wake told of vlan20 yet".to_owned()) }
    })?;
    let by: Vec<&Wake> = status.wakes.iter().filter(|wake| makes_vlan20(wake)).collect();
    match by.as_slice() {
        [wake] if wake.reason == "links" => lab.measured(format!(
            "from the driver to the host's address on br20: {} ms; from the event to the verified host: {} ms",
            built.as_millis(),
            wake.latency_us / 1000
        )),
        other => return Err(format!("vlan20 was made by other than one event of links: {other:?}")),
    }
    daemon::running(lab, "example")?;
    daemon::settled(lab).map(drop)
}

/// The status, once it says ready.
fn ready(lab: &Lab) -> Result<Status, String> {
    let (status, _) = lab.wait("the status to say ready", READY_DEADLINE, || {
        let status = lab.status()?;
        if status.ready { Ok(status) } else { Err(brief(&status)) }
    })?;
    Ok(status)
}

/// Whether the trunk and both segments of the seed are in this state.
fn all(status: &Status, state: State) -> Result<(), String> {
    let (trunks, segments) = (&status.trunks, &status.segments);
    let states: Vec<State> = trunks.iter().map(|one| one.state).chain(segments.iter().map(|one| one.state)).collect();
    if states == [state; 3] { Ok(()) } else { Err(format!("expected to be {state:?}: {trunks:?}, {segments:?}")) }
}

fn makes_vlan20(wake: &Wake) -> bool {
    wake.repairs.iter().any(|text| text.contains("type vlan id 20"))
}
