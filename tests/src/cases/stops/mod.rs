//! The daemon is killed before the writes of its first apply, and finds its way from each.

mod tracer;
mod write;

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use bulkhead_api::Phase;
use serde_json::Value;

use bulkhead_packet::{Ether, Frame, Marker, Namespace, Sender, run};

use super::drip::Drip;
use super::stand_in::{FAR, LINK, Nic, StandIn, far_side_up, station};
use super::watchers::{PATIENCE, Watchers};
use super::{Case, LONG, daemon};
use crate::inside::{Agent, Lab, MANIFEST};
use crate::suite::Suite;
use tracer::{Stop, Traced};

/// Case 8, its second half.
pub(super) const EVERY_STOP_CONVERGES: Case = Case {
    number: 8,
    name: "killed before each write of its first apply, it makes the host so after a restart, and no forbidden frame passes",
    on: &[Suite::Debian13],
    boot: &LONG,
    run: every_stop_converges,
};

const WITHOUT_START: &str = "stops/host.toml";
const WITH_START: &str = "stops/start.toml";
const STATE: &str = "/var/lib/bulkhead/generations";
const LOCKDOWN: &str = "/var/lib/bulkhead/lockdown.nft";
const FOLLOWED_LAST: &str = "/var/lib/bulkhead/intent/generation";
const FOLLOWED: &str = "/run/bulkhead/generation";
const RESOLV_CONF: &str = "/run/bulkhead/resolv.conf";
const POOL: &str = "/var/lib/libvirt/stops";
/// One stop: the daemon traced up to it, in software emulation.
const DEADLINE: Duration = Duration::from_secs(120);
/// Far more writes than a first apply makes.
const MOST: usize = 100;
/// A first apply that has not written for so long may be at its end.
const REST: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(300);
const BRIDGE: &str = "/sys/class/net/br20";
/// What a first apply surely writes, by the words of [`mod@write`]; else a kind of write was overlooked.
const KINDS: [&str; 11] = [
    "netlink",
    "nftables",
    "sysctl",
    "D-Bus SetUnitProperties",
    "D-Bus StartUnit",
    "libvirt pool-define",
    "libvirt pool-build",
    "libvirt define",
    "libvirt net-start",
    "rename",
    "link ",
];

fn every_stop_converges(lab: &Lab) -> Result<(), String> {
    daemon::running(lab, "example")?;
    lab.apply_case("stops")?;
    // It has no operating system that would shut down.
    lab.run("virsh destroy example")?;
    daemon::settled(lab)?;
    let nic = Nic::of(lab, "web", "lan")?;
    let ended = bare(lab, WITHOUT_START).and_then(|()| stops(lab, nic));
    // The guest runs if the last stop was reached: it is no longer to be started, and has nothing that would shut it down.
    start(lab)?;
    lab.apply_case("stops")?;
    lab.attempt(&["virsh", "destroy", "web"], DEADLINE)?;
    let undone = bare(lab, WITHOUT_START);
    // The next case finds the seed, however this one ended.
    let seed = start(lab).and_then(|()| lab.apply_seed().map(drop));
    ended.and(undone).and(seed)
}

/// Every stop, with a stand-in for the guest on the bridge and forbidden frames all along; then the last one with the guest.
fn stops(lab: &Lab, nic: Nic) -> Result<(), String> {
    far_side_up()?;
    let mut namespace = Namespace::new("guest-web")?;
    namespace.veth(&nic.tap, LINK, nic.mac)?;
    let web = StandIn { nic, namespace };
    let marker = Marker::unique();
    let watchers = Watchers::start(marker, &[], &[&web])?;
    let drip = Drip::start(forbidden(&web, marker)?);
    let (over, began) = (AtomicBool::new(false), Instant::now());
    let writes = thread::scope(|scope| {
        scope.spawn(|| plug(&web.nic.tap, &over));
        let writes = each(lab, &web.nic.tap);
        over.store(true, Ordering::Release);
        writes
    });
    let (sent, took) = (drip.finish()?, began.elapsed().as_secs());
    let writes = writes?;
    watchers.nothing(&format!("{sent} forbidden frames"), PATIENCE)?;
    // libvirt makes the tap itself.
    drop(web);
    bare(lab, WITH_START)?;
    let started = stop(lab, &Stop::Before("libvirt start"))?.ok_or("no guest was started")?;
    daemon::running(lab, "web")?;
    if let Some(kind) = KINDS.iter().find(|kind| !writes.iter().any(|write| write.starts_with(*kind))) {
        return Err(format!("no stop before a write of kind {kind}: {writes:?}"));
    }
    lab.measured(format!(
        "{} stops in {took} s, each found its way; {sent} forbidden frames, 0 passed; one more before {started}",
        writes.len(),
    ));
    writes.iter().enumerate().for_each(|(at, write)| lab.measured(format!("{}: {write}", at + 1)));
    Ok(())
}

/// Stops before a write at which it has not stopped yet, until a first apply makes none; what it stopped before.
fn each(lab: &Lab, tap: &str) -> Result<Vec<String>, String> {
    let mut stopped = Vec::new();
    while stopped.len() < MOST {
        lab.at(&format!("case 8: {} stops", stopped.len()));
        let Some(before) = stop(lab, &Stop::BeforeOther(stopped.iter().cloned().collect()))? else {
            return Ok(stopped);
        };
        walled(lab, tap).map_err(|error| format!("after the stop before {before}: {error}"))?;
        stopped.push(before);
        bare(lab, WITHOUT_START)?;
    }
    Err(format!("each first apply writes something else: {stopped:?}"))
}

/// The stand-in is on its bridge, and what it sends is dropped there and counted.
fn walled(lab: &Lab, tap: &str) -> Result<(), String> {
    let dropped = || {
        let link = lab.run(&format!("ip -o link show {tap}"))?;
        let counters = lab.run("nft -j list counters table bridge bulkhead")?;
        let counters: Value = serde_json::from_str(&counters).map_err(|error| format!("{error}: {counters}"))?;
        let all = counters["nftables"].as_array().into_iter().flatten().map(|one| &one["counter"]);
        let count = all.filter(|one| one["name"] == "forbidden").find_map(|one| one["packets"].as_u64());
        if link.contains("master br20") && count > Some(0) { Ok(()) } else { Err(format!("{count:?} dropped; {link}")) }
    };
    lab.wait("forbidden frames to be counted", DEADLINE, dropped).map(drop)
}

/// One stop, and the way on from there: what it stopped before.
fn stop(lab: &Lab, stop: &Stop) -> Result<Option<String>, String> {
    let writes = first_apply(lab, stop)?;
    let before = writes.last().filter(|_| stop.is_at(&writes)).cloned();
    let failed = |error: String| format!("after the stop before {before:?}: {error}");
    start(lab).map_err(failed)?;
    settled(lab).and_then(|()| equal(lab)).map_err(failed)?;
    Ok(before)
}

/// A first apply up to a stop; its writes, of which the last was not made.
fn first_apply(lab: &Lab, stop: &Stop) -> Result<Vec<String>, String> {
    let traced = Traced::start(stop)?;
    let last = Cell::new((0, Instant::now()));
    let ended = lab.wait("the stop of a first apply, or its end", DEADLINE, || {
        if traced.ended() {
            return Ok(());
        }
        let count = traced.count();
        if count != last.get().0 {
            last.set((count, Instant::now()));
        }
        // A question costs it an answer, which is much under a tracer.
        if last.get().1.elapsed() < REST { Err(format!("{count} writes")) } else { complete() }
    });
    let writes = traced.finish()?;
    ended.map(|_| writes)
}

/// Whether a daemon has nothing left to do.
fn complete() -> Result<(), String> {
    let mut agent = Agent::connect()?;
    let phases = agent.status()?.phases;
    if !phases.iter().any(|phase| phase.phase == Phase::Guests && phase.since_start_us.is_some()) {
        return Err(format!("{phases:?}"));
    }
    let steps = agent.plan()?.steps;
    if steps.is_empty() { Ok(()) } else { Err(format!("{steps:?}")) }
}

fn settled(lab: &Lab) -> Result<(), String> {
    lab.wait("an empty plan", DEADLINE, || complete().inspect_err(|_| sleep(LOOK_EVERY)))?;
    Ok(())
}

/// The host as the manifest says, by other eyes than the daemon's, and by few: a program takes its time to start.
fn equal(lab: &Lab) -> Result<(), String> {
    let libvirt = ["virsh", "net-list --name; list --all --persistent --name; vol-list stops"];
    let limits = "systemctl show --property=MemoryMax,TasksMax machine-bulkhead-web.slice";
    for (seen, facts) in [
        (lab.run("ip -o link show type vlan")?, &["vlan20@eth1: master br20", "vlan30@eth1: master br30"][..]),
        (lab.run("ip -o address show dev br20")?, &["10.13.37.30/24"]),
        (lab.run("ip route show default")?, &["via 10.13.37.1 dev br20 proto 98 metric 4242"]),
        (lab.run("nft list tables")?, &["table bridge bulkhead"]),
        (lab.run_words(&libvirt)?, &["LANBridge", "web", "web-vda.raw"]),
        (lab.run(limits)?, &["MemoryMax=536870912", "TasksMax=128"]),
        (fs::read_to_string(RESOLV_CONF).map_err(|error| format!("{RESOLV_CONF}: {error}"))?, &["10.13.37.1"]),
    ] {
        if let Some(fact) = facts.iter().find(|fact| !says(&seen, fact)) {
            return Err(format!("no line says `{fact}`: {seen}"));
        }
    }
    Ok(())
}

/// Whether one line of a text has all these words.
fn says(text: &str, words: &str) -> bool {
    let all = |line: &str| words.split(' ').all(|word| line.split_whitespace().any(|seen| seen == word));
    text.lines().any(all)
}

/// A host on which nothing was ever applied, and no daemon; the manifest waits.
fn bare(lab: &Lab, manifest: &str) -> Result<(), String> {
    lab.run("bulkhead teardown --yes --force")?;
    lab.run("systemctl stop bulkheadd.socket bulkheadd.service")?;
    // Pools and volumes are never removed by the daemon. Not there is as good.
    lab.attempt(&["virsh", "pool-destroy stops; pool-undefine stops"], DEADLINE)?;
    for (path, removed) in [
        (POOL, fs::remove_dir_all(POOL)),
        (STATE, fs::remove_dir_all(STATE)),
        (LOCKDOWN, fs::remove_file(LOCKDOWN)),
        (FOLLOWED_LAST, fs::remove_file(FOLLOWED_LAST)),
        (FOLLOWED, fs::remove_file(FOLLOWED)),
    ] {
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(format!("{path}: {error}")),
            _ => {}
        }
    }
    lab.run(&format!("install -d -o {0} -g {0} -m 0750 {STATE}", daemon::USER))?;
    write_manifest(lab, manifest)
}

/// What the next daemon is to read.
fn write_manifest(lab: &Lab, manifest: &str) -> Result<(), String> {
    let manifest = lab.text(manifest)?;
    fs::write(Path::new(MANIFEST), manifest).map_err(|error| format!("{MANIFEST}: {error}"))
}

/// As systemd does; it is READY at the end.
fn start(lab: &Lab) -> Result<(), String> {
    lab.run("systemctl start bulkheadd.socket bulkheadd.service").map(drop)
}

/// What nobody allows, in both directions, to the station that it is for and to all.
fn forbidden(web: &StandIn, marker: Marker) -> Result<Vec<(Sender, Frame)>, String> {
    let far = station(FAR)?;
    let to_all =
        web.forbidden(far, marker)?.map(|(sender, frame)| (sender, Frame { destination: Ether::BROADCAST, ..frame }));
    Ok(web.forbidden(far, marker)?.into_iter().chain(to_all).collect())
}

/// Puts the guest's port on its bridge as soon as there is one, as libvirt would.
fn plug(tap: &str, over: &AtomicBool) {
    while !over.load(Ordering::Acquire) {
        if Path::new(BRIDGE).exists() && !Path::new("/sys/class/net").join(tap).join("master").exists() {
            // The bridge may be gone again; then it is tried with the next.
            let _ = run(&format!("ip link set {tap} master br20 up"));
        }
        sleep(Duration::from_millis(5));
    }
}
