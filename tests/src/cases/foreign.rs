//! What is somebody else's stays as it is, and a clash of names is said, not solved.

use std::thread::sleep;
use std::time::Duration;

use bulkhead_api::{State, Status};
use bulkhead_packet::{Namespace, run};
use bulkhead_types::{Cause, Notice};

use super::picture::Foreign;
use super::{Case, SEED, daemon, lost};
use crate::inside::Lab;
use crate::suite::Suite;

/// Case 9, its neighbours.
pub(super) const NEIGHBOURS_STAY: Case = Case {
    number: 9,
    name: "foreign links, bridges, routes, tables, domains, pools and networks survive apply, drift and teardown unchanged",
    on: Suite::ALL,
    boot: &SEED,
    run: neighbours_stay,
};

/// Case 9, its clashes.
pub(super) const CLASHES_ARE_SAID: Case = Case {
    number: 9,
    name: "a clash of names is an error that names both sides, and neither the foreign one nor the rest is harmed",
    on: Suite::ALL,
    boot: &SEED,
    run: clashes_are_said,
};

const FOREIGN: Foreign = Foreign {
    links: &["other0", "other0.77", "otherbr", "otherport", "virbr0"],
    tables: &["inet other", "bridge other"],
    libvirt: &[
        "dumpxml --inactive other",
        "dominfo other",
        "net-dumpxml elsewhere",
        "net-info elsewhere",
        "pool-dumpxml other",
        "pool-info other",
    ],
};

const TABLES: &str = "
table inet other {
    set friends { type ipv4_addr; elements = { 198.51.100.7, 198.51.100.8 } }
    counter seen { }
    chain input { type filter hook input priority 10; policy accept; ip saddr @friends counter name seen accept; }
}
table bridge other {
    chain forward { type filter hook forward priority -100; policy accept; meta ibrname \"otherbr\" counter accept; }
}
";
const DOMAIN: &str =
    "<domain type='qemu'><name>other</name><memory unit='MiB'>64</memory><os><type>hvm</type></os></domain>";
/// With no DNS, no DHCP and no NAT it needs no other program.
const NETWORK: &str = "<network><name>elsewhere</name><forward mode='open'/><bridge name='virbr0' stp='off'/><dns enable='no'/>\
                       <ip address='192.168.150.1' prefix='24'/></network>";
const POOL: &str = "<pool type='dir'><name>other</name><target><path>/srv</path></target></pool>";

const TEARDOWN: Duration = Duration::from_secs(150);

/// The neighbours, which go with this value.
struct Neighbours<'a> {
    lab: &'a Lab,
    namespaces: Vec<Namespace>,
}

impl<'a> Neighbours<'a> {
    fn make(lab: &'a Lab) -> Result<Self, String> {
        let mut neighbours = Self { lab, namespaces: Vec::new() };
        for line in [
            "ip link add other0 type dummy",
            "ip link set other0 up",
            "ip address add 198.51.100.1/24 dev other0",
            "ip route add 203.0.113.0/24 via 198.51.100.9 dev other0 metric 50",
            "ip route add default via 198.51.100.9 dev other0 metric 9000",
            "ip link add link other0 name other0.77 type vlan id 77",
            "ip link add otherbr type bridge",
            "ip link set otherbr up",
            "ip address add 198.51.101.1/24 dev otherbr",
            "ip link add otherport type dummy",
            "ip link set otherport master otherbr up",
        ] {
            run(line)?;
        }
        for (name, text) in [("tables", TABLES), ("domain", DOMAIN), ("network", NETWORK), ("pool", POOL)] {
            let file = format!("/run/lab-{name}");
            std::fs::write(&file, text).map_err(|error| format!("{file}: {error}"))?;
        }
        for line in [
            "nft -f /run/lab-tables",
            "virsh define /run/lab-domain",
            "virsh net-define /run/lab-network",
            "virsh net-start elsewhere",
            "virsh pool-define /run/lab-pool",
            "virsh pool-start other",
        ] {
            lab.run(line)?;
        }
        for number in [1_u8, 2] {
            let mut namespace = Namespace::new(&format!("elsewhere{number}"))?;
            let tap = format!("vnet9{number}");
            namespace.veth(&tap, "port0", bulkhead_packet::Ether([0x52, 0x54, 0, 9, 9, number]))?;
            namespace.address("port0", &format!("192.168.150.{}/24", 10 + number))?;
            run(&format!("ip link set {tap} master virbr0 up"))?;
            neighbours.namespaces.push(namespace);
        }
        Ok(neighbours)
    }

    /// A ping from one namespace to the other, across virbr0, and to the host on it.
    fn ping(&self) -> Result<(), String> {
        for to in ["192.168.150.12", "192.168.150.1"] {
            self.namespaces[0].run(&format!("ping -c 2 -i 0.2 -W 5 {to}"))?;
        }
        Ok(())
    }
}

impl Drop for Neighbours<'_> {
    fn drop(&mut self) {
        for line in [
            "virsh undefine other",
            "virsh net-destroy elsewhere",
            "virsh net-undefine elsewhere",
            "virsh pool-destroy other",
            "virsh pool-undefine other",
            "nft delete table inet other",
            "nft delete table bridge other",
            "ip link delete otherport",
            "ip link delete otherbr",
            "ip link delete other0",
        ] {
            if let Err(error) = self.lab.run(line) {
                eprintln!("left behind: {error}");
            }
        }
    }
}

fn neighbours_stay(lab: &Lab) -> Result<(), String> {
    daemon::running(lab, "example")?;
    let neighbours = Neighbours::make(lab)?;
    neighbours.ping().map_err(|error| format!("before anything is done: {error}"))?;
    // The kernel learns its neighbours' states, and libvirt those of its objects, a moment later.
    sleep(Duration::from_secs(1));
    let before = FOREIGN.picture(lab)?;
    let look = |after: &str| {
        FOREIGN.unchanged(lab, &before, after)?;
        neighbours.ping().map_err(|error| format!("after {after}: {error}"))
    };
    let ended = through(lab, &look);
    // The seed is applied whatever happened, and then the neighbours are looked at once more.
    ended.and(lab.apply_seed().map(drop)).and_then(|()| look("a first apply"))?;
    lab.measured(format!("{} pictures of foreign things equal through 5 changes", before.len()));
    Ok(())
}

fn through(lab: &Lab, look: &dyn Fn(&str) -> Result<(), String>) -> Result<(), String> {
    lab.apply_case("forward")?;
    look("an apply")?;
    for line in ["ip link delete vlan20", "ip link set br30 down", "virsh net-destroy LANBridge"] {
        lab.run(line)?;
    }
    sleep(Duration::from_secs(1));
    daemon::settled(lab)?;
    look("drift")?;
    // A guest without an operating system does not shut down when it is asked, and has its time all the same.
    let torn = lab.attempt(&["bulkhead", "teardown", "--yes", "--force"], TEARDOWN)?;
    if !torn.success {
        return Err(format!("bulkhead teardown: {}{}", torn.stdout, torn.stderr));
    }
    gone(lab)?;
    look("teardown")?;
    lost::stays_torn_down(lab)?;
    gone(lab)?;
    look("a boot after a teardown")
}

/// After a teardown nothing of ours is there.
fn gone(lab: &Lab) -> Result<(), String> {
    let group = lab.run("ip -o link show group 25192")?;
    let tables = lab.run("nft list tables")?;
    let domains = lab.run("virsh list --all --name")?;
    let networks = lab.run("virsh net-list --all --name")?;
    let slices = lab.run("systemctl list-units --plain --no-legend machine-bulkhead-*.slice")?;
    let ours = [
        ("links", !group.is_empty(), &group),
        ("tables", tables.contains("bulkhead"), &tables),
        ("domains", domains.lines().any(|name| name == "example"), &domains),
        ("networks", networks.lines().any(|name| name == "LANBridge"), &networks),
        ("slices", !slices.trim().is_empty(), &slices),
    ];
    match ours.into_iter().find(|(_, there, _)| *there) {
        Some((what, _, seen)) => Err(format!("after a teardown {what} of ours are there: {seen}")),
        None => Ok(()),
    }
}

const CLASH: Foreign = Foreign {
    links: &["br40"],
    tables: &[],
    libvirt: &["dumpxml --inactive taken", "dominfo taken", "net-dumpxml Taken", "net-info Taken"],
};

fn clashes_are_said(lab: &Lab) -> Result<(), String> {
    let domain = DOMAIN.replace("other", "taken");
    let network = "<network><name>Taken</name><forward mode='bridge'/><bridge name='br40'/></network>";
    for (file, text) in [("/run/lab-domain", domain.as_str()), ("/run/lab-network", network)] {
        std::fs::write(file, text).map_err(|error| format!("{file}: {error}"))?;
    }
    for line in ["ip link add br40 type bridge", "ip address add 198.51.102.1/24 dev br40"] {
        lab.run(line)?;
    }
    let ended = lab
        .run("virsh define /run/lab-domain")
        .and_then(|_| lab.run("virsh net-define /run/lab-network"))
        .and_then(|_| clash(lab));
    let mut undone = lab.apply_seed().map(drop);
    for line in ["virsh undefine taken", "virsh net-undefine Taken", "ip link delete br40"] {
        undone = undone.and(lab.run(line).map(drop));
    }
    ended.and(undone)
}

fn clash(lab: &Lab) -> Result<(), String> {
    let before = CLASH.picture(lab)?;
    let said = match lab.apply_case("clash") {
        Ok(said) | Err(said) => said,
    };
    // Its exit status says that something failed.
    let ended = lab.attempt(&["bulkhead", "status", "--json"], TEARDOWN)?;
    let status: Status =
        serde_json::from_str(&ended.stdout).map_err(|error| format!("status: {error}: {}", ended.stdout))?;
    if ended.success {
        return Err("bulkhead status says by its exit status that all is well".to_owned());
    }
    let clashes: Vec<&Notice> = status.notices.iter().filter(|notice| notice.cause == Cause::Clash).collect();
    // Both sides: what the manifest wants, and what is in its place.
    for (object, words) in [
        ("segment taken", ["br40 cannot be made", "foreign link has that name"]),
        ("guest taken", ["declares guest taken", "a domain taken that is not ours"]),
        ("network Taken", ["as libvirt network Taken", "a network Taken"]),
    ] {
        let text = clashes.iter().find(|notice| notice.object.to_string() == object).map(|notice| &notice.text);
        match text {
            Some(text) if words.iter().all(|words| text.contains(words)) => lab.measured(text),
            _ => {
                let notices = &status.notices;
                return Err(format!("no notice of {object} says {words:?}: {notices:?}\nthe apply said: {said}"));
            }
        }
    }
    let state = |name: &str| status.segments.iter().find(|one| one.name.as_str() == name).map(|one| one.state);
    if state("taken") != Some(State::Failed) || state("lan") != Some(State::Ready) {
        return Err(format!("one bad segment, the rest good: {:?}", status.segments));
    }
    CLASH.unchanged(lab, &before, "an apply that clashes")
}
