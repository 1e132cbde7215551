//! A systemd without the daemon, and what runs in the slices of guests.
//!
//! The daemon stands still for a test: it would take away slices that its manifest does not name. Each test has a guest of its own,
//! and they run one after the other, because every plan is about all slices there are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bulkhead_sandbox::model::{Cgroup, Control, Desired, Limits, Observed};
use bulkhead_sandbox::plan::{Plan, plan};
use bulkhead_sandbox::{Systemd, unit};
use bulkhead_types::{GuestName, Limit, Outcome};
use tokio::sync::{Mutex, MutexGuard};

pub(crate) fn limits() -> Limits {
    Limits::from_fn(|control| match control {
        Control::Memory => Limit::At(64 << 20),
        Control::Cpu => Limit::At(500_000),
        Control::Pids => Limit::At(32),
    })
}

/// One test at a time, without the daemon: what of it ran goes on afterwards.
pub(crate) struct Alone {
    stopped: Vec<&'static str>,
    _turn: MutexGuard<'static, ()>,
}

pub(crate) async fn alone() -> Alone {
    static ONE: Mutex<()> = Mutex::const_new(());
    let turn = ONE.lock().await;
    let runs = |unit: &&str| {
        let state = must("systemctl", &["show", "--value", "--property=ActiveState", unit]);
        !["inactive", "failed"].contains(&state.as_str())
    };
    let stopped: Vec<_> = ["bulkheadd.socket", "bulkheadd.service"].into_iter().filter(runs).collect();
    // Both at once: the socket would start the service again.
    if !stopped.is_empty() {
        must("systemctl", &[&["stop"], &stopped[..]].concat());
    }
    Alone { stopped, _turn: turn }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if !self.stopped.is_empty() {
            run("systemctl", &[&["start"], &self.stopped[..]].concat());
        }
    }
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// Runs a program that must succeed, and returns what it printed.
pub(crate) fn must(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs a program as the daemon's user, who has no capability here and whom polkit knows.
pub(crate) fn as_daemon(arguments: &[&str]) -> Output {
    run("setpriv", &[&["--reuid=bulkhead", "--regid=bulkhead", "--clear-groups", "--"], arguments].concat())
}

pub(crate) fn guest(name: &str) -> GuestName {
    name.parse().unwrap()
}

/// What there is already, as it is, and one guest more or with other limits: nobody else's slice is in the plan.
pub(crate) fn desired(observed: &Observed, guest: &GuestName, limits: Limits) -> Desired {
    let there = observed.slices.iter().filter(|(_, slice)| slice.kept);
    let mut guests: BTreeMap<_, _> =
        there.map(|(guest, slice)| (guest.clone(), *slice.properties.known().unwrap())).collect();
    guests.insert(guest.clone(), limits);
    Desired { guests }
}

pub(crate) async fn converge(systemd: &mut Systemd, desired: &Desired) -> Plan {
    let plan = plan(desired, &systemd.observe().await.unwrap());
    let report = systemd.apply(&plan, &|| None, &mut |_, _| ()).await;
    for (step, outcome) in report.steps {
        assert_eq!(outcome, Outcome::Done, "{step}");
    }
    assert_eq!(self::plan(desired, &systemd.observe().await.unwrap()).steps, vec![], "the plan after apply");
    plan
}

/// Makes the guest's slice, and returns what was desired for it.
pub(crate) async fn with_slice(systemd: &mut Systemd, guest: &GuestName) -> Desired {
    let desired = desired(&systemd.observe().await.unwrap(), guest, limits());
    converge(systemd, &desired).await;
    desired
}

pub(crate) async fn without(systemd: &mut Systemd, mut desired: Desired, guest: &GuestName) -> Plan {
    desired.guests.remove(guest);
    converge(systemd, &desired).await
}

pub(crate) fn group(guest: &GuestName) -> PathBuf {
    Path::new("/sys/fs/cgroup/machine.slice/machine-bulkhead.slice").join(unit::slice(guest))
}

pub(crate) fn file(guest: &GuestName, name: &str) -> String {
    fs::read_to_string(group(guest).join(name)).unwrap().trim().to_owned()
}

/// The guest's group, as the room sees it.
pub(crate) async fn seen(systemd: &mut Systemd, guest: &GuestName) -> Cgroup {
    systemd.observe().await.unwrap().slices[guest].cgroup.known().unwrap().clone().unwrap()
}

/// What bounds the guest, whoever set it.
pub(crate) async fn bounds(systemd: &mut Systemd, guest: &GuestName) -> Limits {
    let group = seen(systemd, guest).await;
    Limits::from_fn(|control| group.bounds[control].known().unwrap().limit)
}

/// Something that runs in a guest's slice as libvirt's QEMU does: in a scope of its own, below which somebody else writes.
pub(crate) struct Inmate {
    pub(crate) scope: String,
}

impl Inmate {
    pub(crate) fn start(guest: &GuestName) -> Self {
        let service = format!("bulkhead-inmate-{guest}.service");
        let slice = format!("--slice={}", unit::slice(guest));
        let delegate = ["--property=Delegate=yes", "--property=DelegateSubgroup=libvirt"];
        let unit = format!("--unit={service}");
        // DelegateSubgroup= came with systemd 254; without it the process is in the scope itself.
        let fits = must("systemctl", &["--version"]).split_whitespace().nth(1).unwrap().parse::<u32>().unwrap() >= 254;
        let delegate = if fits { &delegate[..] } else { &delegate[..1] };
        must("systemd-run", &[&[unit.as_str(), slice.as_str()], delegate, &["sleep", "1000"]].concat());
        Self { scope: service }
    }

    /// Where `virsh memtune --hard-limit` writes: libvirt's own group where it is made, and the scope where it is not.
    pub(crate) fn lowest(&self, guest: &GuestName) -> PathBuf {
        let scope = group(guest).join(&self.scope);
        let own = scope.join("libvirt");
        if !own.exists() {
            return scope;
        }
        // As libvirt does before it sets a limit.
        fs::write(scope.join("cgroup.subtree_control"), "+memory").unwrap();
        own
    }
}

impl Drop for Inmate {
    fn drop(&mut self) {
        run("systemctl", &["stop", &self.scope]);
    }
}
