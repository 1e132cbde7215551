//! A libvirt with what a test wants in it, and what somebody else does there.
//!
//! Everything of a test has a name that begins with `t-`. What a plan says of other objects is left out: the VM may have a
//! manifest of its own. The daemon stands still meanwhile, for it would take away what that manifest does not name.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use bulkhead::guest::model::{Desired, Disk, Format, Guest, Network, Nic, Observed, Pool, State, Timing};
use bulkhead::guest::{Admission, Libvirt, Plan, SYSTEM, Step, Watch, plan};
use bulkhead_sandbox::model::{Control, Desired as Slices, Limits};
use bulkhead_sandbox::{Systemd, unit};
use bulkhead_types::{Cause, GuestName, Limit, Object, Outcome};
use tokio::sync::{Mutex, MutexGuard};

pub(crate) const BRIDGE: &str = "bt-lan";
pub(crate) const POOL: &str = "t-images";
pub(crate) const IMAGES: &str = "/var/lib/libvirt/t-images";
pub(crate) const NETWORK: &str = "t-lan";
pub(crate) fn limits() -> Limits {
    Limits::from_fn(|control| match control {
        Control::Memory => Limit::At(1 << 30),
        Control::Cpu => Limit::At(2_000_000),
        Control::Pids => Limit::At(256),
    })
}
/// A libvirtd that starts runs each QEMU it has, which under emulation inside emulation takes half a minute.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a program, its arguments separated by blanks.
pub(crate) fn try_run(line: &str) -> Output {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap();
    Command::new(program).args(words).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// The same, and it must succeed; returns what it printed.
pub(crate) fn run(line: &str) -> String {
    let output = try_run(line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) fn virsh(line: &str) -> String {
    run(&format!("timeout --verbose 180 virsh --quiet --connect {SYSTEM} {line}"))
}

/// Hands a text to virsh as a file: `virsh("define", xml)`.
pub(crate) fn virsh_file(line: &str, xml: &str) -> Output {
    let path = std::env::temp_dir().join(format!("bulkhead-{}.xml", std::process::id()));
    std::fs::write(&path, xml).unwrap();
    let output = try_run(&format!("timeout --verbose 180 virsh --quiet --connect {SYSTEM} {line} {}", path.display()));
    std::fs::remove_file(path).unwrap();
    output
}

/// The same, and it must succeed.
pub(crate) fn define(line: &str, xml: &str) {
    let output = virsh_file(line, xml);
    assert!(output.status.success(), "{line}: {}\n{xml}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn pool(name: &str, path: &str) -> Pool {
    Pool { name: name.to_owned(), path: path.into(), mode: 0o711, encrypted: false }
}

pub(crate) fn disk(guest: &str, target: &str, format: Format) -> Disk {
    let volume = format!("{guest}-{target}.{}", format.as_str());
    Disk { target: target.to_owned(), pool: POOL.to_owned(), volume, size: 64 << 20, format }
}

pub(crate) fn nic(number: u8) -> Nic {
    Nic {
        tap: format!("bh-{number:012x}").parse().unwrap(),
        mac: [0x52, 0x54, 0, 0x42, 0, number].try_into().unwrap(),
        bridge: BRIDGE.parse().unwrap(),
    }
}

/// A guest with one disk and one NIC.
pub(crate) fn guest(name: &str) -> Guest {
    Guest {
        name: name.parse().unwrap(),
        memory: 192 << 20,
        vcpus_now: 1,
        vcpus_max: 2,
        start: true,
        disks: vec![disk(name, "vda", Format::Raw)],
        nics: vec![nic(1)],
    }
}

/// A pool, a network and that guest.
pub(crate) fn desired(guest: Guest) -> Desired {
    Desired {
        pools: vec![pool(POOL, IMAGES)],
        networks: vec![Network { name: NETWORK.to_owned(), bridge: BRIDGE.parse().unwrap() }],
        guests: vec![guest],
        default_network_absent: false,
    }
}

/// The same without its guest.
pub(crate) fn without_guests(desired: &Desired) -> Desired {
    Desired { guests: Vec::new(), ..desired.clone() }
}

pub(crate) fn words(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

/// What a person is told, without that this VM emulates its guests.
pub(crate) fn told(plan: &Plan) -> Vec<String> {
    let notices = plan.notices.iter().filter(|notice| notice.cause != Cause::Unsupported);
    notices.map(|n| format!("{} {:?}: {}", n.object, n.cause, n.text)).collect()
}

fn is_tests(object: &Object) -> bool {
    match object {
        Object::Guest(name) => name.as_str().starts_with("t-"),
        Object::Pool(name) | Object::Network(name) => name.starts_with("t-") || name == "default",
        _ => false,
    }
}

/// One test at a time.
async fn turn() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::const_new(());
    ONE.lock().await
}

pub(crate) struct World {
    pub(crate) libvirt: Libvirt,
    pub(crate) watch: Watch,
    pub(crate) admission: Admission,
    timing: Timing,
    systemd: Systemd,
    stopped: Vec<&'static str>,
    _turn: MutexGuard<'static, ()>,
}

impl World {
    pub(crate) async fn open() -> Self {
        Self::open_with(Timing::default()).await
    }

    /// The same, where guests have less time than the daemon gives them.
    pub(crate) async fn open_with(timing: Timing) -> Self {
        let turn = turn().await;
        let runs = |unit: &&str| {
            let state = run(&format!("systemctl show --value --property=ActiveState {unit}"));
            !["inactive", "failed"].contains(&state.as_str())
        };
        let stopped: Vec<_> = ["bulkheadd.socket", "bulkheadd.service"].into_iter().filter(runs).collect();
        if !stopped.is_empty() {
            run(&format!("systemctl stop {}", stopped.join(" ")));
        }
        run("systemctl start libvirtd.service");
        empty();
        let (libvirt, watch) = connect(timing).await;
        let (admission, systemd) = (Admission::default(), Systemd::new());
        let mut world = Self { libvirt, watch, admission, timing, systemd, stopped, _turn: turn };
        // The first question makes a fresh libvirtd run every QEMU it has, once.
        world.until(&Desired::default(), "the first answer", |observed| observed.down.is_none()).await;
        world
    }

    /// What a restart of the daemon leaves: a new connection, and nothing remembered.
    pub(crate) async fn restart(&mut self) {
        (self.libvirt, self.watch) = connect(self.timing).await;
    }

    /// What libvirt has; it may be slow, and is asked again.
    pub(crate) async fn observe(&self, desired: &Desired) -> Observed {
        self.libvirt.take_up(desired);
        let answered = async {
            loop {
                let observed = self.libvirt.observe(desired).await.unwrap();
                if observed.down.is_none() {
                    return observed;
                }
                println!("{:?}", observed.down);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("libvirtd answers")
    }

    pub(crate) async fn plan(&self, desired: &Desired) -> Plan {
        let mut plan = plan(desired, &self.observe(desired).await, &self.admission);
        plan.steps.retain(|step| is_tests(&bulkhead_types::Step::object(step)));
        plan.notices.retain(|notice| is_tests(&notice.object));
        plan
    }

    /// Makes the calls, each of which must succeed.
    pub(crate) async fn apply(&self, plan: &Plan) {
        let applied = tokio::time::timeout(PATIENCE * 2, self.libvirt.apply(plan, &|| None, &mut |_, _| {})).await;
        for (step, outcome) in &applied.expect("libvirtd ends what it began").steps {
            assert_eq!(*outcome, Outcome::Done, "{step}");
        }
    }

    /// One round, after which nothing is missing. Returns what it did, and what it said at the end.
    pub(crate) async fn settle(&mut self, desired: &Desired) -> (Vec<Step>, Plan) {
        self.prepare(desired).await;
        let plan = self.plan(desired).await;
        self.apply(&plan).await;
        let rest = self.plan(desired).await;
        assert_eq!(words(&rest), Vec::<String>::new(), "remains after {:#?}", words(&plan));
        (plan.steps, rest)
    }

    /// The guests' slices, as the phase before makes them.
    pub(crate) async fn prepare(&mut self, desired: &Desired) {
        let observed = self.systemd.observe().await.unwrap();
        let there = observed.slices.iter().filter(|(_, slice)| slice.kept);
        let mut guests: BTreeMap<GuestName, Limits> =
            there.map(|(name, slice)| (name.clone(), *slice.properties.known().unwrap())).collect();
        guests.extend(desired.guests.iter().map(|guest| (guest.name.clone(), limits())));
        let plan = bulkhead_sandbox::plan::plan(&Slices { guests }, &observed);
        for (step, outcome) in self.systemd.apply(&plan, &|| None, &mut |_, _| {}).await.steps {
            assert_eq!(outcome, Outcome::Done, "{step}");
        }
    }

    /// Waits until an event brings what is waited for, or fails: the timer is off.
    pub(crate) async fn until(&mut self, desired: &Desired, what: &str, is_so: impl Fn(&Observed) -> bool) -> Observed {
        let wait = async {
            loop {
                let observed = self.libvirt.observe(desired).await.unwrap();
                if is_so(&observed) {
                    return observed;
                }
                self.watch.wake().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no event brought: {what}"))
    }

    /// Waits until no event comes any more.
    pub(crate) async fn quiet(&mut self) {
        let quiet = async { while tokio::time::timeout(Duration::from_secs(2), self.watch.wake()).await.is_ok() {} };
        tokio::time::timeout(PATIENCE, quiet).await.expect("events end");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        clean();
        if !self.stopped.is_empty() {
            try_run(&format!("systemctl start {}", self.stopped.join(" ")));
        }
    }
}

async fn connect(timing: Timing) -> (Libvirt, Watch) {
    let libvirt = Libvirt::open(SYSTEM, timing).unwrap();
    let mut watch = libvirt.watch().unwrap();
    let up = async {
        while libvirt.down().is_some() {
            watch.wake().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, up).await.expect("libvirtd answers");
    (libvirt, watch)
}

/// A libvirt without anything of a test, and the bridge of its guests.
pub(crate) fn empty() {
    clean();
    run(&format!("ip link add {BRIDGE} type bridge"));
    run(&format!("ip link set {BRIDGE} up"));
}

/// Takes away whatever a test made. One virsh for many commands: each start of it takes its time.
pub(crate) fn clean() {
    const KINDS: [(&str, &str); 3] = [("list", ""), ("net-list", "net-"), ("pool-list", "pool-")];
    let lists = KINDS.map(|(list, _)| format!("{list} --all --name")).join("; echo next; ");
    let listed = virsh_line(&lists);
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    // `echo` of a quiet virsh ends no line.
    let listed = String::from_utf8(listed.stdout).unwrap();
    let mut commands = Vec::new();
    for ((_, kind), names) in KINDS.iter().zip(listed.split("next")) {
        for name in names.split_whitespace().filter(|name| name.starts_with("t-")) {
            // What a domain has beside its definition keeps it from being undefined.
            let all = "--managed-save --snapshots-metadata --checkpoints-metadata --nvram";
            let all = if kind.is_empty() { all } else { "" };
            commands.push(format!("{kind}destroy {name}; {kind}undefine {name} {all}"));
            if kind.is_empty() {
                try_run(&format!("systemctl stop {}", unit::keeper(&name.parse().unwrap())));
            }
        }
    }
    if !commands.is_empty() {
        // What is not active cannot be destroyed, and virsh goes on.
        virsh_line(&commands.join("; "));
    }
    let images = Path::new(IMAGES);
    if images.exists() {
        std::fs::remove_dir_all(images).unwrap();
    }
    try_run(&format!("ip link delete {BRIDGE}"));
}

/// Hands virsh a line with several commands.
fn virsh_line(line: &str) -> Output {
    let bounded = ["--verbose", "180", "virsh", "--quiet", "--connect", SYSTEM];
    Command::new("timeout").args(bounded).arg(line).output().unwrap()
}

pub(crate) fn runs(observed: &Observed, name: &str) -> bool {
    observed.domains.get(name).is_some_and(|domain| domain.state == State::Running)
}

/// The process of a running domain, by libvirt's own file.
pub(crate) fn qemu(name: &str) -> u32 {
    let path = format!("/run/libvirt/qemu/{name}.pid");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().parse().unwrap()
}
