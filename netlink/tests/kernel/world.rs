//! A network namespace with a trunk (`eth0`) and its far side (`far0`), and what is done in it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bulkhead_netlink::model::{DEFAULT_METRIC, Desired, Host, Observed, Port, Segment};
use bulkhead_netlink::{Kernel, Plan, Step, plan};
use bulkhead_packet::{Capture, Direction, Namespace};
use bulkhead_types::{IfName, Mac, Outcome, Report, SegmentName, VlanId};
use caps::{CapSet, Capability};

/// Runs a test in a namespace of its own.
pub(crate) fn within<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let host = Namespace::new(&format!("netlink{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    let work = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
    host.expect("root, in a machine of the lab").within(work).unwrap();
}

/// Runs one command line; it must succeed.
pub(crate) fn run(line: &str) -> String {
    bulkhead_packet::run(line).unwrap()
}

/// Makes the trunk, silent but for what is sent through it, with its far side.
pub(crate) fn trunk() {
    run("ip link add eth0 type veth peer name far0");
    for link in ["eth0", "far0"] {
        sysctl(&format!("ipv6/conf/{link}/disable_ipv6"), "1");
        run(&format!("ip link set {link} up"));
    }
}

pub(crate) fn sysctl(key: &str, value: &str) {
    bulkhead_packet::sysctl(key, value).unwrap();
}

pub(crate) fn read_sysctl(key: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/net/{key}")).unwrap().trim().to_owned()
}

pub(crate) fn index(link: &str) -> u32 {
    let text = run(&format!("ip -o link show dev {link}"));
    text.split(':').next().unwrap().parse().unwrap()
}

/// What arrives at the far side of the trunk from now on.
pub(crate) fn far_side() -> Capture {
    Capture::open("far0", Direction::Arriving).unwrap()
}

pub(crate) async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

pub(crate) fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

pub(crate) fn mac(a: u8, b: u8) -> Mac {
    Mac::try_from([0x52, 0x54, 0, 0x42, a, b]).unwrap()
}

/// A segment of `eth0` where the host is invisible.
pub(crate) fn hidden(vlan: u16) -> Segment {
    let [a, b] = vlan.to_be_bytes();
    Segment {
        trunk: name("eth0"),
        vlan: VlanId::try_from(i64::from(vlan)).unwrap(),
        vlan_link: name(&format!("vlan{vlan}")),
        name: segment_of(&format!("br{vlan}")),
        bridge: name(&format!("br{vlan}")),
        mac: mac(a, b),
        mtu: None,
        host: None,
    }
}

/// A segment of `eth0` where the host has addresses and gateways.
pub(crate) fn visible(vlan: u16, addresses: &[&str], gateways: &[&str]) -> Segment {
    let host = Host {
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        gateways: gateways.iter().map(|text| text.parse().unwrap()).collect(),
        metric: DEFAULT_METRIC,
    };
    Segment { host: Some(host), ..hidden(vlan) }
}

pub(crate) fn manifest(segments: impl IntoIterator<Item = Segment>) -> Desired {
    Desired { segments: segments.into_iter().collect(), ports: BTreeMap::new() }
}

/// The segment of a bridge of these tests: `lan20` of `br20`.
pub(crate) fn segment_of(bridge: &str) -> SegmentName {
    bridge.replacen("br", "lan", 1).parse().unwrap()
}

pub(crate) fn with_port(mut desired: Desired, tap: &str, bridge: &str, address: Mac) -> Desired {
    desired.ports.insert(name(tap), Port { segment: segment_of(bridge), bridge: name(bridge), mac: address });
    desired
}

/// The kernel under test, and what was asked of it.
pub(crate) struct World {
    pub(crate) kernel: Kernel,
}

impl World {
    pub(crate) fn open() -> Self {
        Self { kernel: Kernel::open().unwrap() }
    }

    pub(crate) async fn observe(&mut self, desired: &Desired) -> Observed {
        self.kernel.observe(desired).await.unwrap()
    }

    pub(crate) async fn plan(&mut self, desired: &Desired) -> Plan {
        plan(desired, &self.observe(desired).await)
    }

    pub(crate) async fn apply(&mut self, plan: &Plan) -> Report<Step> {
        let mut told = Vec::new();
        let mut tell = |step: &Step, outcome: &Outcome| told.push((step.clone(), outcome.clone()));
        let report = self.kernel.apply(plan, &|| None, &mut tell).await;
        assert_eq!(told, report.steps, "progress tells what the report says");
        assert_eq!(plan.steps, report.steps.iter().map(|(step, _)| step.clone()).collect::<Vec<_>>());
        report
    }

    /// One round, in which every step must be done, and after which nothing is missing and nothing is written.
    pub(crate) async fn converge(&mut self, desired: &Desired) -> Plan {
        let plan = self.plan(desired).await;
        let report = self.apply(&plan).await;
        for (step, outcome) in &report.steps {
            assert_eq!(*outcome, Outcome::Done, "{step}");
        }
        let before = self.kernel.writes();
        let rest = self.plan(desired).await;
        assert!(rest.is_empty(), "after {:#?}\nremains {:#?}", plan.steps, rest.steps);
        self.apply(&rest).await;
        assert_eq!(self.kernel.writes(), before, "what is as it should be is not written");
        plan
    }
}

/// What runs by the kernel's clock in a bridge and its ports, whoever looks.
const TIMERS: [&str; 7] = [
    "hello_timer",
    "tcn_timer",
    "topology_change_timer",
    "gc_timer",
    "hold_timer",
    "message_age_timer",
    "forward_delay_timer",
];
/// How many users want all frames of a link: a VLAN on a bridge is one of its trunk's for as long as it stands, because the
/// bridge wants the frames of all its guests.
const USERS: [&str; 2] = ["promiscuity", "allmulti"];

/// What is foreign, as lines: links, addresses, routes and FDB without ours and without the timers; while something of ours
/// stands, also without the counts of users.
pub(crate) fn foreign(ours: &[&str]) -> Vec<String> {
    let of_ours = |line: &&str| {
        ours.iter()
            .any(|name| line.split_whitespace().any(|w| w.trim_end_matches(':').split('@').next() == Some(*name)))
    };
    let mut lines = Vec::new();
    for command in [
        "ip -d -o link show",
        "ip -o address show",
        "ip -4 route show table all",
        "ip -6 route show table all",
        "bridge fdb show",
    ] {
        lines.extend(run(command).lines().filter(|line| !of_ours(line)).map(|line| lasting(line, ours.is_empty())));
    }
    lines
}

fn lasting(line: &str, users: bool) -> String {
    let mut words = Vec::new();
    let mut all = line.split_whitespace();
    while let Some(word) = all.next() {
        if TIMERS.contains(&word) || (!users && USERS.contains(&word)) {
            all.next();
        } else {
            words.push(word);
        }
    }
    words.join(" ")
}

/// Holds if two states of the foreign are equal, and otherwise shows only what differs.
pub(crate) fn same(now: &[String], before: &[String], when: &str) {
    let less = |a: &[String], b: &[String]| a.iter().filter(|line| !b.contains(line)).cloned().collect::<Vec<_>>();
    assert_eq!(less(now, before), less(before, now), "{when}");
}

/// Gives a link a name of any bytes: by a raw message, since iproute2 takes only UTF-8.
pub(crate) fn set_name(index: u32, name: &[u8]) -> std::io::Result<()> {
    let mut message = Vec::new();
    // `struct nlmsghdr`: the length follows, RTM_NEWLINK, NLM_F_REQUEST and NLM_F_ACK, sequence number and port.
    message.extend([0; 4]);
    message.extend(16_u16.to_ne_bytes());
    message.extend(5_u16.to_ne_bytes());
    message.extend([0; 8]);
    // `struct ifinfomsg`.
    message.extend([0; 4]);
    message.extend(index.to_ne_bytes());
    message.extend([0; 8]);
    // `IFLA_IFNAME`, with its final NUL.
    message.extend((5 + name.len() as u16).to_ne_bytes());
    message.extend(3_u16.to_ne_bytes());
    message.extend(name);
    message.push(0);
    message.resize(message.len().next_multiple_of(4), 0);
    let length = (message.len() as u32).to_ne_bytes();
    message[..4].copy_from_slice(&length);
    let mut socket = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.send_to(&message, &netlink_sys::SocketAddr::new(0, 0), 0)?;
    let mut answer = Vec::with_capacity(4096);
    socket.recv(&mut answer, 0)?;
    let code = answer.get(16..20).and_then(|code| code.try_into().ok()).map_or(-libc::EBADMSG, i32::from_ne_bytes);
    if code == 0 { Ok(()) } else { Err(std::io::Error::from_raw_os_error(-code)) }
}

/// Takes `CAP_NET_ADMIN` from the calling thread, and from those that it starts from now on.
pub(crate) fn drop_net_admin() {
    // What is effective must be permitted, so it goes first.
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::drop(None, set, Capability::CAP_NET_ADMIN).unwrap();
    }
}
