//! A running guest is bounded as the manifest says, whoever tries to raise it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_api::{Limit, Status};

use super::{Case, SEED, daemon};
use crate::inside::Lab;
use crate::suite::Suite;

/// Case 10, the limits.
pub(super) const LIMITS_HOLD: Case = Case {
    number: 10,
    name: "a guest's QEMU runs in its slice under the manifest's limits, also after daemon-reload and virsh memtune; a tighter \
           one is named",
    on: &[Suite::Debian13],
    boot: &SEED,
    run: limits_hold,
};

const SLICE: &str = "/machine.slice/machine-bulkhead.slice/machine-bulkhead-example.slice/";
const MIB: u64 = 1 << 20;
/// Less than the seed's, and enough for the guest to go on.
const TIGHTER: u64 = 700 * MIB;
/// Nothing tells of a write into libvirt's own group: the daemon's timer finds it.
const LOOK: Duration = Duration::from_secs(180);
/// The seed's: 768 MiB, one CPU (as microseconds a second), 256 processes.
const WANTED: Bounds = Bounds { memory: Some(768 * MIB), cpu: Some(1_000_000), pids: Some(256) };

/// The least along a path of cgroups; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    memory: Option<u64>,
    cpu: Option<u64>,
    pids: Option<u64>,
}

fn limits_hold(lab: &Lab) -> Result<(), String> {
    let qemu = daemon::running(lab, "example")?;
    let path = group(qemu)?;
    if !path.starts_with(SLICE) {
        return Err(format!("QEMU runs in {path}, not below {SLICE}"));
    }
    lab.measured(format!("QEMU runs in {path}"));
    bounded(lab, &path, "as it was started")?;
    lab.run("systemctl daemon-reload")?;
    bounded(lab, &path, "after systemctl daemon-reload")?;
    let before = nested(&path)?;
    // Twice of what it may have.
    lab.run(&format!("virsh memtune example --live --hard-limit {}", 2 * 768 * 1024))?;
    let raised = nested(&path)?;
    let ended = if raised == before {
        Err(format!("virsh memtune changed nothing: memory.max below the scope is {raised:?}"))
    } else {
        bounded(lab, &path, "after virsh memtune")
    };
    lab.run("virsh memtune example --live --hard-limit -1")?;
    ended?;
    lab.run(&format!("virsh memtune example --live --hard-limit {}", TIGHTER / 1024))?;
    let named = lab.wait("the tighter limit to be named", LOOK, || named(lab));
    lab.run("virsh memtune example --live --hard-limit -1")?;
    lab.measured(format!("libvirt's tighter limit is named after {:.1} s", named?.1.as_secs_f64()));
    lab.wait("the manifest's limit to be told again", LOOK, || bounded(lab, &path, "after the limit was lifted"))?;
    daemon::settled(lab).map(drop)
}

/// The status says whose limit it is, how much, and that not everything is as the manifest says.
fn named(lab: &Lab) -> Result<(), String> {
    let ended = lab.attempt(&["bulkhead", "status", "--json"], LOOK)?;
    let status: Status = serde_json::from_str(&ended.stdout).map_err(|error| format!("{error}: {}", ended.stdout))?;
    let memory = limit(&status, "memory")?;
    let group = memory.group.as_deref().unwrap_or_default();
    let told = status.notices.iter().any(|notice| notice.text.contains(group));
    let same = memory.at == Some(TIGHTER) && memory.declared == WANTED.memory && memory.tighter;
    if same && group.starts_with(SLICE) && group.ends_with("/libvirt") && told && !ended.success {
        return Ok(());
    }
    Err(format!("exit status {}, memory {memory:?}, notices {:?}", ended.status, status.notices))
}

/// What the status says of the guest's limit by a control.
fn limit<'a>(status: &'a Status, control: &str) -> Result<&'a Limit, String> {
    let mut limits = status.guests.iter().take(1).flat_map(|guest| &guest.limits);
    limits.find(|limit| limit.control == control).ok_or_else(|| format!("no limit of {control}: {:?}", status.guests))
}

fn bounded(lab: &Lab, path: &str, when: &str) -> Result<(), String> {
    let bounds = bounds(path)?;
    if bounds != WANTED {
        return Err(format!("{when} the bounds along {path} are {bounds:?}, not {WANTED:?}"));
    }
    let status = lab.status()?;
    let at = |control| limit(&status, control).map(|limit| limit.at);
    let told = Bounds { memory: at("memory")?, cpu: at("cpu")?, pids: at("pids")? };
    if told == WANTED { Ok(()) } else { Err(format!("{when} the status says {told:?}")) }
}

/// The cgroup of a process (cgroup v2).
fn group(pid: u32) -> Result<String, String> {
    let path = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    text.trim().strip_prefix("0::").map(str::to_owned).ok_or_else(|| format!("{path}: {text}"))
}

fn bounds(path: &str) -> Result<Bounds, String> {
    let mut bounds = Bounds { memory: None, cpu: None, pids: None };
    let least = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
    for group in groups(path) {
        bounds.memory = least(bounds.memory, number(&group, "memory.max")?);
        bounds.pids = least(bounds.pids, number(&group, "pids.max")?);
        bounds.cpu = least(bounds.cpu, processor(&group)?);
    }
    Ok(bounds)
}

/// The groups on the way, the process's own first; the root has no limits.
fn groups(path: &str) -> impl Iterator<Item = PathBuf> {
    let whole = Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
    let groups: Vec<PathBuf> =
        whole.ancestors().take_while(|group| group.as_os_str() != "/sys/fs/cgroup").map(Path::to_owned).collect();
    groups.into_iter()
}

/// memory.max of the group that libvirt keeps below the scope.
fn nested(path: &str) -> Result<Option<u64>, String> {
    let group = groups(path).find(|group| group.ends_with("libvirt"));
    number(&group.ok_or_else(|| format!("libvirt has no group of its own in {path}"))?, "memory.max")
}

/// A file with one number or `max`; a group without the controller has none.
fn number(group: &Path, file: &str) -> Result<Option<u64>, String> {
    let Ok(text) = fs::read_to_string(group.join(file)) else { return Ok(None) };
    let failed = |error| format!("{}: {text:?}: {error}", group.join(file).display());
    if text.trim() == "max" { Ok(None) } else { text.trim().parse().map(Some).map_err(failed) }
}

/// cpu.max as microseconds of processor time a second.
fn processor(group: &Path) -> Result<Option<u64>, String> {
    let path = group.join("cpu.max");
    let Ok(text) = fs::read_to_string(&path) else { return Ok(None) };
    let Some((quota, period)) = text.trim().split_once(' ') else {
        return Err(format!("{}: {text:?}", path.display()));
    };
    if quota == "max" {
        return Ok(None);
    }
    match (quota.parse::<u64>(), period.parse::<u64>()) {
        (Ok(quota), Ok(period)) if period > 0 => Ok(Some(quota * 1_000_000 / period)),
        _ => Err(format!("{}: {text:?}", path.display())),
    }
}
