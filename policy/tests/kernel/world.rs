//! Bridges with ports that stand in for guests and for the trunk, and what is done with them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bulkhead_packet::{Capture, Direction, Frame, Namespace, Sender};
use bulkhead_policy::model::*;
use bulkhead_policy::{Plan, Ruleset, Step, plan};
use bulkhead_types::{IfName, Mac, Outcome, Report, SegmentName};
use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};

use crate::frame::MARK;

/// Runs one command line that may fail.
pub(crate) use bulkhead_packet::run as attempt;

/// One test at a time: two contexts of libnftables in one process were seen to hang (1.1.3), and a flood would starve whatever
/// runs beside it.
static ONE: Mutex<()> = Mutex::new(());

/// Runs a test in a namespace of its own.
pub(crate) fn within<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    // A lock that a failed test left behind guards nothing that could be broken.
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let host = Namespace::new("policy").expect("root, in a machine of the lab");
    let work = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
    host.within(work).unwrap();
}

/// Runs one command line; it must succeed.
pub(crate) fn run(line: &str) -> String {
    attempt(line).unwrap()
}

/// Whether kernel and nft can hold tables (6.9 and 1.1): each release of the lab can or cannot.
pub(crate) fn can_hold() -> bool {
    attempt("nft -c add table bridge probe { flags owner,persist; }").is_ok()
}

pub(crate) fn sysctl(key: &str, value: &str) {
    bulkhead_packet::sysctl(key, value).unwrap();
}

pub(crate) async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

pub(crate) fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

pub(crate) fn mac(last: u8) -> Mac {
    Mac::try_from([0x52, 0x54, 0, 0, 0, last]).unwrap()
}

/// A guest, or a machine beyond the trunk, with one link, `eth0`.
pub(crate) struct Station(Namespace);

impl Station {
    /// A station on a new link. Its own link, `eth0`, has that MAC; neither says anything by itself.
    pub(crate) fn on(link: &str, address: Mac) -> Self {
        let mut namespace = Namespace::new(link).unwrap();
        namespace.veth(link, "eth0", address.into()).unwrap();
        sysctl(&format!("ipv6/conf/{link}/disable_ipv6"), "1");
        Self(namespace)
    }

    /// A station behind a new port of a bridge.
    pub(crate) fn behind(port: &str, bridge: &str, address: Mac) -> Self {
        let station = Self::on(port, address);
        run(&format!("ip link set {port} master {bridge} up"));
        station
    }

    /// Does something there.
    pub(crate) fn run<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        self.0.within(job).unwrap()
    }

    pub(crate) fn wire(&self) -> Wire {
        Wire { sender: self.sender(), capture: self.0.capture("eth0", Direction::Arriving).unwrap() }
    }

    pub(crate) fn sender(&self) -> Sender {
        self.0.sender("eth0").unwrap()
    }

    /// Gives it an address.
    pub(crate) fn address(&self, address: &str) {
        if address.contains(':') {
            // Before the link has IPv6: while it looks for duplicates it reports its groups from `::`, which counts as spoofed.
            self.run(|| sysctl("ipv6/conf/eth0/accept_dad", "0"));
        }
        self.0.address("eth0", address).unwrap();
    }

    /// Gives it a neighbour that never changes.
    pub(crate) fn neighbour(&self, address: &str, mac: Mac) {
        self.0.run(&format!("ip neighbour replace {address} lladdr {mac} dev eth0 nud permanent")).unwrap();
    }
}

/// A station's link as the wire sees it: whole frames in and out.
pub(crate) struct Wire {
    pub(crate) sender: Sender,
    capture: Capture,
}

impl Wire {
    pub(crate) fn send(&self, frame: &Frame) {
        self.sender.send(frame).unwrap();
    }

    /// Everything that has arrived since the last call.
    pub(crate) fn frames(&self) -> Vec<Frame> {
        self.capture.during(Duration::ZERO).unwrap().into_iter().map(|seen| seen.frame).collect()
    }

    /// How many marked frames have arrived since the last call.
    pub(crate) fn marked(&self) -> usize {
        self.frames().iter().filter(|frame| MARK.marks(frame)).count()
    }
}

/// Whether a frame gets from one to the other.
pub(crate) async fn arrives(from: &Wire, to: &Wire, frame: &Frame) -> bool {
    to.frames();
    from.send(frame);
    pause(100).await;
    to.frames().contains(frame)
}

/// Makes a bridge, silent, with its pinned MAC.
pub(crate) fn make_bridge(bridge: &Bridge) {
    let name = &bridge.name;
    run(&format!("ip link add {name} address {} type bridge mcast_snooping 0 stp_state 0", bridge.mac));
    sysctl(&format!("ipv6/conf/{name}/disable_ipv6"), "1");
    run(&format!("ip link set {name} up"));
}

/// The segment of a bridge of these tests: `lan20` of `br20`.
pub(crate) fn segment_of(bridge: &str) -> SegmentName {
    bridge.replacen("br", "lan", 1).parse().unwrap()
}

/// `brN` with `vlanN` as its outside.
pub(crate) fn segment(number: u8, host: bool) -> Bridge {
    let addresses: &[&str] = if host { &["10.0.0.254/24", "2001:db8::254/64"] } else { &[] };
    Bridge {
        segment: Some(segment_of(&format!("br{number}"))),
        name: name(&format!("br{number}")),
        outside: name(&format!("vlan{number}")),
        mac: mac(0x80 + number),
        host,
        addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
    }
}

/// Guest `g1` with its NIC on a bridge: port `bh-1`, MAC ...:01.
pub(crate) fn nic(number: u8, bridge: &str, addresses: &[&str]) -> Nic {
    let mut nic = Nic {
        guest: format!("g{number}").parse().unwrap(),
        segment: segment_of(bridge),
        tap: name(&format!("bh-{number}")),
        bridge: name(bridge),
        mac: mac(number),
        ipv4: Vec::new(),
        ipv6: Vec::new(),
        dhcp: false,
    };
    for address in addresses {
        match address.parse().unwrap() {
            std::net::IpAddr::V4(ip) => nic.ipv4.push(ip),
            std::net::IpAddr::V6(ip) => nic.ipv6.push(ip),
        }
    }
    nic
}

pub(crate) fn guest(number: u8) -> Endpoint {
    Endpoint::Guest(format!("g{number}").parse().unwrap())
}

pub(crate) fn allow(from: Endpoint, to: Endpoint, what: Traffic) -> Allow {
    Allow { from, to, from_net: Vec::new(), to_net: Vec::new(), what }
}

pub(crate) fn tcp(ports: &[u16]) -> Traffic {
    Traffic { tcp: ports.iter().map(|port| *port..=*port).collect(), ..Traffic::default() }
}

pub(crate) fn any() -> Traffic {
    Traffic { any: true, ..Traffic::default() }
}

/// The ruleset under test.
pub(crate) struct World {
    pub(crate) ruleset: Ruleset,
}

impl World {
    pub(crate) fn open() -> Self {
        Self { ruleset: Ruleset::open().unwrap() }
    }

    /// Ends, and waits until nobody owns the tables: a process that another test has just started holds a copy of the socket
    /// until it has become the program that it is to be, or ended.
    pub(crate) async fn close(self) {
        drop(self);
        for _ in 0..100 {
            if !attempt("nft list table bridge bulkhead").is_ok_and(|text| text.contains("owner")) {
                return;
            }
            pause(50).await;
        }
        panic!("the tables still have an owner");
    }

    pub(crate) async fn observe(&mut self) -> Observed {
        self.ruleset.observe().await.unwrap()
    }

    pub(crate) async fn plan(&mut self, desired: &Desired) -> Plan {
        plan(desired, &self.observe().await)
    }

    pub(crate) async fn apply(&mut self, plan: &Plan) -> Report<Step> {
        let mut told = Vec::new();
        let report = self.ruleset.apply(plan, &mut |step, outcome| told.push((step.clone(), outcome.clone()))).await;
        assert_eq!(told, report.steps, "progress tells what the report says");
        assert_eq!(plan.steps, report.steps.iter().map(|(step, _)| step.clone()).collect::<Vec<_>>());
        report
    }

    /// One round, in which every step must be done, and after which nothing is missing and nothing is written.
    pub(crate) async fn settle(&mut self, desired: &Desired) -> Plan {
        let plan = self.plan(desired).await;
        let report = self.apply(&plan).await;
        if let Some((step, outcome)) = report.steps.iter().find(|(_, outcome)| *outcome != Outcome::Done) {
            panic!("{step}: {outcome:?}");
        }
        let before = generation();
        let rest = self.plan(desired).await;
        let text = |plan: &Plan| plan.steps.iter().map(|step| format!("  {step}\n")).collect::<String>();
        let first = rest.steps.iter().find_map(|step| step.to_string().strip_prefix("flush chain ").map(str::to_owned));
        let there = first.map(|chain| attempt(&format!("nft -j list chain {chain}")));
        assert!(rest.is_empty(), "remains\n{}\nthere is {there:?}", text(&rest));
        self.apply(&rest).await;
        assert_eq!(generation(), before, "what is as it should be is not written");
        plan
    }

    pub(crate) async fn counted(&mut self, name: &str) -> u64 {
        let counters = self.observe().await.counters;
        counters.iter().find(|counter| counter.name == name).unwrap_or_else(|| panic!("{name} in {counters:?}")).packets
    }
}

/// `br20` with guests behind `bh-1`, `bh-2` and so on, 10.0.0.1 and 2001:db8::1 and so on, and 10.0.0.9 outside.
pub(crate) struct Lan {
    pub(crate) world: World,
    pub(crate) desired: Desired,
    pub(crate) guests: Vec<Station>,
    pub(crate) outside: Station,
}

pub(crate) const OUTSIDE_MAC: u8 = 0x50;

impl Lan {
    pub(crate) async fn new(guests: u8, host: bool, allows: Vec<Allow>) -> Self {
        Self::on(20, guests, host, allows).await
    }

    pub(crate) async fn on(number: u8, guests: u8, host: bool, allows: Vec<Allow>) -> Self {
        let bridge = segment(number, host);
        make_bridge(&bridge);
        let outside = Station::behind(bridge.outside.as_str(), bridge.name.as_str(), mac(OUTSIDE_MAC));
        outside.address("10.0.0.9/24");
        outside.address("2001:db8::9/64");
        let ports: Vec<u8> = (1..=guests).map(|i| if number == 20 { i } else { number + i }).collect();
        let station = |port: &u8| Station::behind(&format!("bh-{port}"), bridge.name.as_str(), mac(*port));
        let stations: Vec<Station> = ports.iter().map(station).collect();
        let mut nics = Vec::new();
        for (i, (port, station)) in ports.iter().zip(&stations).enumerate() {
            let (v4, v6) = (format!("10.0.0.{}", i + 1), format!("2001:db8::{}", i + 1));
            station.address(&format!("{v4}/24"));
            station.address(&format!("{v6}/64"));
            nics.push(nic(*port, bridge.name.as_str(), &[&v4, &v6]));
        }
        let desired = Desired { bridges: vec![bridge], nics, allows, ..Desired::default() };
        let mut world = World::open();
        world.settle(&desired).await;
        Self { world, desired, guests: stations, outside }
    }

    /// Settles on these allows.
    pub(crate) async fn allow(&mut self, allows: Vec<Allow>) {
        self.desired.allows = allows;
        self.world.settle(&self.desired).await;
    }
}

pub(crate) fn lan() -> Endpoint {
    Endpoint::Segment(segment_of("br20"))
}

pub(crate) fn outside() -> Endpoint {
    Endpoint::Outside(segment_of("br20"))
}

pub(crate) fn udp_ports(ports: &[u16]) -> Traffic {
    Traffic { udp: ports.iter().map(|port| *port..=*port).collect(), ..Traffic::default() }
}

pub(crate) fn ping() -> Traffic {
    Traffic { icmp: vec![IcmpType::EchoRequest], ..Traffic::default() }
}

/// The generation id of the ruleset of the calling thread's namespace (`NFT_MSG_GETGEN`).
pub(crate) fn generation() -> u32 {
    let mut socket = Socket::new(NETLINK_NETFILTER).unwrap();
    socket.bind_auto().unwrap();
    let mut request = 20_u32.to_ne_bytes().to_vec();
    request.extend((10_u16 << 8 | 16).to_ne_bytes());
    request.extend(1_u16.to_ne_bytes());
    request.extend([0; 12]);
    socket.send(&request, 0).unwrap();
    let mut reply = Vec::with_capacity(4096);
    socket.recv(&mut reply, 0).unwrap();
    // Header of 16 bytes, nfgenmsg of 4, attribute header of 4: NFTA_GEN_ID.
    u32::from_be_bytes(*reply[24..].first_chunk().unwrap())
}
