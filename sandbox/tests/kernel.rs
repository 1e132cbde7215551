//! Tests of this room against a real systemd and cgroup v2, as root in a VM of the lab with the package installed.
//!
//! The daemon stands still for them: it would take away slices that its manifest does not name. Each test has a guest of its own,
//! and they run one after the other, because every plan is about all slices there are.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // A test may stop at the first surprise.
#![allow(clippy::disallowed_methods)] // Tests run systemctl and busctl, as an administrator would.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use bulkhead_sandbox::model::{Bound, Cgroup, Control, Desired, Limits, Observed};
use bulkhead_sandbox::plan::{Plan, plan};
use bulkhead_sandbox::watch::Watch;
use bulkhead_sandbox::{Systemd, capabilities, unit};
use bulkhead_types::{Cause, GuestName, Known, Limit, Outcome};
use tokio::sync::{Mutex, MutexGuard};

fn limits() -> Limits {
    Limits::from_fn(|control| match control {
        Control::Memory => Limit::At(64 << 20),
        Control::Cpu => Limit::At(500_000),
        Control::Pids => Limit::At(32),
    })
}

/// One test at a time, without the daemon: what of it ran goes on afterwards.
struct Alone {
    stopped: Vec<&'static str>,
    _turn: MutexGuard<'static, ()>,
}

async fn alone() -> Alone {
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

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// Runs a program that must succeed, and returns what it printed.
fn must(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs a program as the daemon's user, who has no capability here and whom polkit knows.
fn as_daemon(arguments: &[&str]) -> Output {
    run("setpriv", &[&["--reuid=bulkhead", "--regid=bulkhead", "--clear-groups", "--"], arguments].concat())
}

fn guest(name: &str) -> GuestName {
    name.parse().unwrap()
}

/// What there is already, as it is, and one guest more or with other limits: nobody else's slice is in the plan.
fn desired(observed: &Observed, guest: &GuestName, limits: Limits) -> Desired {
    let there = observed.slices.iter().filter(|(_, slice)| slice.kept);
    let mut guests: BTreeMap<_, _> =
        there.map(|(guest, slice)| (guest.clone(), *slice.properties.known().unwrap())).collect();
    guests.insert(guest.clone(), limits);
    Desired { guests }
}

async fn converge(systemd: &mut Systemd, desired: &Desired) -> Plan {
    let plan = plan(desired, &systemd.observe().await.unwrap());
    let report = systemd.apply(&plan, &mut |_, _| ()).await;
    for (step, outcome) in report.steps {
        assert_eq!(outcome, Outcome::Done, "{step}");
    }
    assert_eq!(self::plan(desired, &systemd.observe().await.unwrap()).steps, vec![], "the plan after apply");
    plan
}

/// Makes the guest's slice, and returns what was desired for it.
async fn with_slice(systemd: &mut Systemd, guest: &GuestName) -> Desired {
    let desired = desired(&systemd.observe().await.unwrap(), guest, limits());
    converge(systemd, &desired).await;
    desired
}

async fn without(systemd: &mut Systemd, mut desired: Desired, guest: &GuestName) -> Plan {
    desired.guests.remove(guest);
    converge(systemd, &desired).await
}

fn group(guest: &GuestName) -> PathBuf {
    Path::new("/sys/fs/cgroup/machine.slice/machine-bulkhead.slice").join(unit::slice(guest))
}

fn file(guest: &GuestName, name: &str) -> String {
    fs::read_to_string(group(guest).join(name)).unwrap().trim().to_owned()
}

/// The guest's group, as the room sees it.
async fn seen(systemd: &mut Systemd, guest: &GuestName) -> Cgroup {
    systemd.observe().await.unwrap().slices[guest].cgroup.known().unwrap().clone().unwrap()
}

/// What bounds the guest, whoever set it.
async fn bounds(systemd: &mut Systemd, guest: &GuestName) -> Limits {
    let group = seen(systemd, guest).await;
    Limits::from_fn(|control| group.bounds[control].known().unwrap().limit)
}

/// Something that runs in a guest's slice as libvirt's QEMU does: in a scope of its own, below which somebody else writes.
struct Inmate {
    scope: String,
}

impl Inmate {
    fn start(guest: &GuestName) -> Self {
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
}

impl Drop for Inmate {
    fn drop(&mut self) {
        run("systemctl", &["stop", &self.scope]);
    }
}

#[tokio::test]
async fn a_guest_s_slice_gets_its_limits_and_a_second_apply_does_nothing() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-limits"));
    let desired = with_slice(&mut systemd, &guest).await;
    assert_eq!(file(&guest, "memory.max"), "67108864");
    assert_eq!(file(&guest, "cpu.max"), "50000 100000");
    assert_eq!(file(&guest, "pids.max"), "32");
    assert_eq!(converge(&mut systemd, &desired).await.steps, vec![], "the second plan");
    without(&mut systemd, desired, &guest).await;
}

#[tokio::test]
async fn limits_stand_before_anything_can_run_in_the_slice() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-before"));
    let desired = desired(&systemd.observe().await.unwrap(), &guest, limits());
    let mut plan = plan(&desired, &systemd.observe().await.unwrap());
    plan.steps.truncate(1);
    systemd.apply(&plan, &mut |_, _| ()).await;
    assert_eq!(must("systemctl", &["show", "--value", "--property=ActiveState", &unit::slice(&guest)]), "inactive");
    // Whoever starts something in it now, libvirt say, finds the limits there.
    let inmate = Inmate::start(&guest);
    assert_eq!(bounds(&mut systemd, &guest).await, limits());
    drop(inmate);
    converge(&mut systemd, &desired).await;
    without(&mut systemd, desired, &guest).await;
}

#[tokio::test]
async fn daemon_reload_keeps_the_limits_and_plans_nothing() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-reload"));
    let desired = with_slice(&mut systemd, &guest).await;
    must("systemctl", &["daemon-reload"]);
    assert_eq!(file(&guest, "memory.max"), "67108864");
    assert_eq!(file(&guest, "cpu.max"), "50000 100000");
    assert_eq!(file(&guest, "pids.max"), "32");
    assert_eq!(converge(&mut systemd, &desired).await.steps, vec![]);
    without(&mut systemd, desired, &guest).await;
}

#[tokio::test]
async fn what_is_raised_below_the_slice_is_bounded_by_it() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-nested"));
    let desired = with_slice(&mut systemd, &guest).await;
    let inmate = Inmate::start(&guest);
    // What `virsh memtune --hard-limit` does: a raw write into the group that libvirt has below the scope.
    let nested = group(&guest).join(&inmate.scope);
    fs::write(nested.join("memory.max"), "1073741824").unwrap();
    fs::write(nested.join("pids.max"), "max").unwrap();
    assert_eq!(bounds(&mut systemd, &guest).await, limits());
    drop(inmate);
    without(&mut systemd, desired, &guest).await;
}

#[tokio::test]
async fn what_is_lowered_below_the_slice_is_named_with_its_group() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-lowered"));
    let desired = with_slice(&mut systemd, &guest).await;
    let inmate = Inmate::start(&guest);
    // What `virsh memtune --hard-limit` does, where libvirt's own group is made; in the scope where it is not.
    let scope = group(&guest).join(&inmate.scope);
    let nested = if scope.join("libvirt").exists() {
        // As libvirt does before it sets a limit.
        fs::write(scope.join("cgroup.subtree_control"), "+memory").unwrap();
        scope.join("libvirt")
    } else {
        scope
    };
    fs::write(nested.join("memory.max"), "33554432").unwrap();
    let path = nested.strip_prefix("/sys/fs/cgroup").unwrap().to_str().unwrap();
    let found = seen(&mut systemd, &guest).await;
    let bound = Bound { limit: Limit::At(32 << 20), group: format!("/{path}") };
    assert_eq!(found.bounds[Control::Memory], Known::Known(bound));
    assert_eq!(found.bounds[Control::Pids].known().unwrap().group, found.path);
    let plan = plan(&desired, &systemd.observe().await.unwrap());
    assert!(plan.is_empty(), "what is not ours is not written: {:?}", plan.steps);
    let said = plan.notices.iter().find(|notice| notice.cause == Cause::Held).expect("a notice");
    assert!(said.text.contains("32 MiB and not the manifest's 64 MiB") && said.text.contains(path), "{}", said.text);
    drop(inmate);
    without(&mut systemd, desired, &guest).await;
}

/// A file of the kernel's with another text laid over it, which nobody else sees; gone at the end.
struct Garbled(PathBuf);

impl Garbled {
    fn lay(over: PathBuf) -> Self {
        let text = Path::new("/run/bulkhead-t-garbled");
        fs::write(text, "many\n").unwrap();
        must("mount", &["--bind", text.to_str().unwrap(), over.to_str().unwrap()]);
        Self(over)
    }
}

impl Drop for Garbled {
    fn drop(&mut self) {
        run("umount", &[self.0.to_str().unwrap()]);
    }
}

#[tokio::test]
async fn a_slice_that_cannot_be_read_is_unknown_and_the_others_go_on() {
    let _guard = alone().await;
    let (mut systemd, bad, good) = (Systemd::new(), guest("t-garbled"), guest("t-readable"));
    with_slice(&mut systemd, &bad).await;
    let both = with_slice(&mut systemd, &good).await;
    let garbled = Garbled::lay(group(&bad).join("pids.max"));
    must("systemctl", &["set-property", "--runtime", &unit::slice(&good), "TasksMax=9"]);
    let observed = systemd.observe().await.unwrap();
    let why = observed.slices[&bad].cgroup.why().expect("it cannot be read");
    assert!(why.contains("pids.max") && why.contains("many"), "{why}");
    let first = plan(&both, &observed);
    assert!(first.notices.iter().any(|notice| notice.text.contains("not known")), "{:?}", first.notices);
    systemd.apply(&first, &mut |_, _| ()).await;
    assert_eq!(file(&good, "pids.max"), "32");
    drop(garbled);
    assert_eq!(plan(&both, &systemd.observe().await.unwrap()).steps, vec![]);
    let left = without(&mut systemd, both, &bad).await;
    assert_eq!(left.steps.len(), 1);
    let rest = desired(&systemd.observe().await.unwrap(), &good, limits());
    without(&mut systemd, rest, &good).await;
}

#[tokio::test]
async fn a_machine_that_starts_or_ends_in_a_slice_wakes() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-machine"));
    let mut watch = Watch::open().await.unwrap();
    let desired = with_slice(&mut systemd, &guest).await;
    while tokio::time::timeout(Duration::from_secs(2), watch.wake()).await.is_ok() {}
    // As systemd-machined names what libvirt starts.
    let scope = r"machine-qemu\x2d1\x2dt\x2dmachine.scope";
    let slice = format!("--slice={}", unit::slice(&guest));
    let arguments = ["--scope", &slice, "--unit", scope, "sleep", "1000"];
    let mut machine = Command::new("systemd-run").args(arguments).spawn().unwrap();
    tokio::time::timeout(Duration::from_secs(10), watch.wake()).await.expect("a wake").unwrap();
    assert!(seen(&mut systemd, &guest).await.populated);
    while tokio::time::timeout(Duration::from_secs(2), watch.wake()).await.is_ok() {}
    must("systemctl", &["stop", scope]);
    machine.wait().unwrap();
    tokio::time::timeout(Duration::from_secs(10), watch.wake()).await.expect("a wake").unwrap();
    without(&mut systemd, desired, &guest).await;
}

#[tokio::test]
async fn a_limit_that_somebody_raised_on_the_slice_is_put_back() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-drift"));
    let desired = with_slice(&mut systemd, &guest).await;
    must("systemctl", &["set-property", "--runtime", &unit::slice(&guest), "MemoryMax=infinity"]);
    assert_eq!(converge(&mut systemd, &desired).await.steps.len(), 1);
    assert_eq!(file(&guest, "memory.max"), "67108864");
    // Behind systemd's back: systemd believes in its own value, the kernel is asked all the same.
    fs::write(group(&guest).join("pids.max"), "max").unwrap();
    assert_eq!(converge(&mut systemd, &desired).await.steps.len(), 1);
    assert_eq!(file(&guest, "pids.max"), "32");
    without(&mut systemd, desired, &guest).await;
}

#[tokio::test]
async fn a_slice_that_left_is_kept_while_something_runs_in_it_and_goes_afterwards() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-left"));
    let mut desired = with_slice(&mut systemd, &guest).await;
    desired.guests.remove(&guest);
    let inmate = Inmate::start(&guest);
    let held = plan(&desired, &systemd.observe().await.unwrap());
    assert!(held.steps.is_empty(), "{:?}", held.steps);
    assert!(held.notices.iter().any(|notice| notice.cause == Cause::Held && notice.text.contains("processes run")));
    drop(inmate);
    assert_eq!(converge(&mut systemd, &desired).await.steps.len(), 1);
    let gone = async {
        while group(&guest).exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the slice goes by itself");
}

#[tokio::test]
async fn a_running_guest_survives_that_its_keeper_is_stopped() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-keeper"));
    let desired = with_slice(&mut systemd, &guest).await;
    let inmate = Inmate::start(&guest);
    must("systemctl", &["stop", &unit::keeper(&guest)]);
    assert_eq!(bounds(&mut systemd, &guest).await, limits());
    assert_eq!(converge(&mut systemd, &desired).await.steps.len(), 1);
    assert_eq!(bounds(&mut systemd, &guest).await, limits());
    drop(inmate);
    without(&mut systemd, desired, &guest).await;
}

#[tokio::test]
async fn foreign_slices_stay_as_they_are() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-foreign"));
    // A neighbour, and one whose name is like ours but nests deeper than a guest's.
    let foreign = ["machine-other.slice", "machine-bulkhead-a-b.slice"];
    for slice in foreign {
        must("systemctl", &["set-property", "--runtime", slice, "TasksMax=77"]);
        must("systemctl", &["start", slice]);
    }
    let show = || {
        let wanted = "--property=ActiveState,TasksMax,MemoryMax,CPUQuotaPerSecUSec,InvocationID";
        foreign.map(|slice| must("systemctl", &["show", wanted, slice]))
    };
    let before = show();
    let desired = with_slice(&mut systemd, &guest).await;
    without(&mut systemd, desired, &guest).await;
    assert_eq!(show(), before);
    for slice in foreign {
        must("systemctl", &["stop", slice]);
    }
}

#[tokio::test]
async fn a_stopped_keeper_wakes() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-wake"));
    let mut watch = Watch::open().await.unwrap();
    let desired = with_slice(&mut systemd, &guest).await;
    // Our own writes wake too: wait until it is quiet.
    while tokio::time::timeout(Duration::from_secs(2), watch.wake()).await.is_ok() {}
    must("systemctl", &["stop", &unit::keeper(&guest)]);
    tokio::time::timeout(Duration::from_secs(10), watch.wake()).await.expect("a wake").unwrap();
    converge(&mut systemd, &desired).await;
    without(&mut systemd, desired, &guest).await;
}

#[tokio::test]
async fn the_daemon_s_user_may_do_what_a_plan_does() {
    let _guard = alone().await;
    let guest = guest("t-user");
    let (slice, keeper) = (unit::slice(&guest), unit::keeper(&guest));
    for call in [
        &["systemctl", "--no-ask-password", "set-property", "--runtime", &slice, "TasksMax=9"][..],
        &["systemctl", "--no-ask-password", "start", &keeper],
    ] {
        let output = as_daemon(call);
        assert!(output.status.success(), "{call:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(file(&guest, "pids.max"), "9");
    let output = as_daemon(&["systemctl", "--no-ask-password", "stop", &keeper]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// StartTransientUnit, whose arguments are the unit, its properties and units to make beside it.
fn start_transient(arguments: &[&str]) -> Output {
    const CALL: [&str; 8] = [
        "busctl",
        "--system",
        "call",
        "org.freedesktop.systemd1",
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
        "StartTransientUnit",
        "ssa(sv)a(sa(sv))",
    ];
    as_daemon(&[&CALL, arguments].concat())
}

#[tokio::test]
async fn the_daemon_s_user_starts_nothing_else_through_systemd() {
    const PROOF: &str = "/run/bulkhead-hijacked";
    const EVIL: [&str; 8] = ["ExecStart", "a(sasb)", "1", "/bin/touch", "2", "/bin/touch", PROOF, "false"];
    let _guard = alone().await;
    let refused = |what: &str, output: Output| {
        assert!(!output.status.success(), "{what} was allowed");
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        let words = ["Access denied", "authentication required", "not authorized", "Permission denied"];
        let denied = words.iter().any(|word| why.to_lowercase().contains(&word.to_lowercase()));
        assert!(denied || why.contains("already"), "{what}: refused for another reason: {why}");
    };
    // A unit of its own.
    refused("a transient service", start_transient(&[&["evil.service", "fail", "1"][..], &EVIL, &["0"]].concat()));
    // A name that the rules allow, with a command of its own.
    let keeper = "bulkhead-slice@evil.service";
    refused("a transient keeper", start_transient(&[&[keeper, "fail", "1"][..], &EVIL, &["0"]].concat()));
    // A name that the rules allow, with another unit beside it that it pulls in.
    let wants = ["fail", "1", "Wants", "as", "1", "evil.service", "1", "evil.service", "1"];
    refused("an auxiliary unit of a keeper", start_transient(&[&[keeper][..], &wants, &EVIL].concat()));
    let slice = "machine-bulkhead-evil.slice";
    refused("an auxiliary unit of a slice", start_transient(&[&[slice][..], &wants, &EVIL].concat()));
    // Units that are there.
    for (verb, unit) in [
        ("start", "debug-shell.service"),
        ("stop", "dbus.service"),
        ("start", "bulkhead-slice@a-b.service"),
        ("start", r"bulkhead-slice@..\x2f..\x2fetc.service"),
        ("start", slice),
        ("restart", "bulkhead-slice@evil.service"),
        ("stop", "machine.slice"),
        ("kill", "dbus.service"),
        ("freeze", "dbus.service"),
    ] {
        refused(unit, as_daemon(&["systemctl", "--no-ask-password", verb, unit]));
    }
    for unit in
        ["machine.slice", "system.slice", "dbus.service", "machine-bulkhead.slice", "machine-bulkhead-a-b.slice"]
    {
        let call = ["systemctl", "--no-ask-password", "set-property", "--runtime", unit, "TasksMax=1"];
        refused(unit, as_daemon(&call));
    }
    assert!(!Path::new(PROOF).exists(), "something of the daemon's user ran as root");
}

#[test]
fn a_thread_keeps_the_required_capabilities_and_no_other() {
    // In a thread of its own: the rest of the tests need root's.
    let status = std::thread::spawn(|| {
        capabilities::drop_to_required().unwrap();
        fs::read_to_string("/proc/thread-self/status").unwrap()
    })
    .join()
    .unwrap();
    let sets: Vec<&str> = status.lines().filter(|line| line.starts_with("Cap")).collect();
    assert_eq!(sets.len(), 5);
    assert!(sets.iter().all(|line| line.ends_with("\t0000000000001000")), "{sets:?}");
    // The other threads still have all: the assertion is about every one.
    assert!(capabilities::assert_required().is_err());
}

#[test]
fn without_the_required_capabilities_the_unit_is_named() {
    let error = std::thread::spawn(|| {
        caps::clear(None, caps::CapSet::Effective).unwrap();
        caps::clear(None, caps::CapSet::Permitted).unwrap();
        capabilities::drop_to_required().unwrap_err().to_string()
    })
    .join()
    .unwrap();
    assert!(error.contains("cap_net_admin") || error.contains("CAP_NET_ADMIN"), "{error}");
    assert!(error.contains("systemctl start bulkheadd"), "{error}");
}
