//! What the agent knows of its host, as one value: the daemon publishes it, the socket sends it, the command draws it.
//!
//! Times are microseconds; a field that is `None` is left out of the reply.

use std::net::IpAddr;

use bulkhead_types::{GuestName, IfName, Mac, Notice, SegmentName, VlanId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::report::keeps_promises;
use crate::{Done, Ended, Phase};

/// Everything there is to say about the host, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Policy verified by a dump, and the links of every trunk that is present verified.
    pub ready: bool,
    /// Whether all of the host was read since what is followed is followed, and no step is left.
    pub verified: bool,
    /// Whether a teardown is under way.
    pub teardown: bool,
    /// What was applied, and what waits to be.
    pub manifest: Manifest,
    /// When each phase was first done, in the order of the phases.
    pub phases: Vec<PhaseTimes>,
    /// How the ruleset is kept from others' changes; `None` while it is not verified to stand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_owner: Option<Owner>,
    /// Trunk ports.
    pub trunks: Vec<Trunk>,
    /// Segments, in the manifest's order.
    pub segments: Vec<Segment>,
    /// Guests, by name.
    pub guests: Vec<Guest>,
    /// Who may talk to whom, in the manifest's order.
    pub allows: Vec<Allow>,
    /// The ruleset's other named counters.
    pub counters: Vec<Counter>,
    /// When the counters, those of the allows too, were read: microseconds since 1970; `None` before the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted_at_us: Option<u64>,
    /// What a person should know and no step mends.
    pub notices: Vec<Notice>,
    /// Of each room the last plan that was not empty, and how each of its steps ended.
    pub report: Vec<Done>,
    /// The last wakes of the loop that had something to mend, oldest first. What a boot or a request makes is not among them.
    pub wakes: Vec<Wake>,
    /// Connections to the socket that were closed unread.
    pub refused: Refused,
}

impl Status {
    /// Whether every promise of the manifest holds: everything that it declares was seen and is as it says. What waits, is not
    /// known or is held is not well; foreign objects beside ours and what this host cannot do better are.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.ready
            && self.verified
            && self.phases.iter().all(|phase| phase.since_start_us.is_some())
            && self.trunks.iter().all(|trunk| trunk.state == State::Ready)
            && self.segments.iter().all(|segment| segment.state == State::Ready)
            && self.guests.iter().all(Guest::is_well)
            && self.report.iter().all(|done| done.outcome == Ended::Done)
            && self.notices.iter().all(keeps_promises)
    }
}

/// Connections that were closed unread since the daemon started. The log names some of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Of users whom the daemon does not serve.
    pub strangers: u64,
    /// Of users who had as many as they may have, or while all observers together had.
    pub crowded: u64,
}

/// Which manifest the host follows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Number of the applied generation; `None` before the first apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// SHA-256 of the applied text, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// When it was applied, in microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_at_us: Option<u64>,
    /// Whether the files differ from what is applied; `bulkhead apply` applies them.
    pub pending: bool,
    /// Why the files cannot be applied as they are; empty when they can.
    pub errors: Vec<Problem>,
}

/// One error of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The file, by its whole path.
    pub file: String,
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Vec<String>,
}

/// When a phase was first verified. Both `None`: not yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTimes {
    /// Which phase.
    pub phase: Phase,
    /// Microseconds since the daemon started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_start_us: Option<u64>,
    /// Microseconds since the kernel started (`CLOCK_BOOTTIME`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_boot_us: Option<u64>,
}

/// How the ruleset is kept as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// The kernel lets nobody else change it (table flags `owner` and `persist`, Linux 6.9).
    Held,
    /// Anybody with `CAP_NET_ADMIN` can change it; the kernel's event brings it back.
    RepairedByEvent,
}

/// Whether a link is as the manifest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As the manifest says.
    Ready,
    /// Waits for something that may come by itself.
    Pending,
    /// A step of it failed, or somebody else's object is in its place.
    Failed,
}

/// A trunk port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trunk {
    /// The interface.
    pub name: IfName,
    /// Present and up, or not.
    pub state: State,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A segment: a VLAN of a trunk, bridged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Its name in the manifest.
    pub name: SegmentName,
    /// The port that carries the tag.
    pub trunk: IfName,
    /// The 802.1Q tag.
    pub vlan: VlanId,
    /// The VLAN link.
    pub vlan_link: IfName,
    /// The bridge.
    pub bridge: IfName,
    /// The host's own addresses, as the manifest says; empty: the host is invisible here.
    pub declared: Vec<IpNet>,
    /// The addresses that the bridge has; `None` while that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<IpNet>>,
    /// The gateways of the default routes through the bridge; `None` while they are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateways: Option<Vec<IpAddr>>,
    /// As the manifest says, or not.
    pub state: State,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What a guest is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestState {
    /// Its QEMU runs.
    Running,
    /// Its QEMU runs and its CPUs do not.
    Paused,
    /// Defined and not running.
    Stopped,
    /// Not started, because something it needs is not there.
    Held,
    /// Asked to shut down, and still running.
    Stopping,
    /// libvirt does not answer, or does not know it.
    Unknown,
}

/// A guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// Its name.
    pub name: GuestName,
    /// What it is doing.
    pub state: GuestState,
    /// Why it does not run although the manifest says so; of one that runs, what leads past its walls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The CPUs that it has now, or that its next start gives it; `None` where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// The same of its RAM, in bytes: what the balloon leaves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// What bounds it, a control each: the least along its cgroup's path, or its slice's while it does not run.
    pub limits: Vec<Limit>,
    /// Whether KVM runs it; `None` while nothing runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accelerated: Option<bool>,
    /// Its NICs, in the guest's order.
    pub nics: Vec<Nic>,
}

impl Guest {
    /// Whether it does what the manifest says: it runs within its walls, or it is off and nothing says that it should not be; it
    /// may use what the manifest gives it and no more, and of one that runs it is known what bounds it.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let state = match self.state {
            GuestState::Running => self.why.is_none() && self.limits.iter().all(|limit| limit.unknown.is_none()),
            GuestState::Stopped => self.why.is_none(),
            GuestState::Paused | GuestState::Held | GuestState::Stopping | GuestState::Unknown => false,
        };
        state && self.limits.iter().all(Limit::holds)
    }
}

/// What bounds a guest by one control.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// The control, by its key in the manifest; the interface file says in which unit its numbers are.
    pub control: String,
    /// What the manifest says, as the kernel can hold it; `None` when it says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared: Option<u64>,
    /// What holds; `None` when nothing does, and when it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// Whether what holds is less than what is declared.
    pub tighter: bool,
    /// The cgroup whose limit it is: the guest's slice, one above it, or one that libvirt or somebody else has below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Why it is not known what holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// What holds, for people: `768 MiB`, `no limit`, `unknown`.
    pub text: String,
}

impl Limit {
    /// Whether what is declared is what holds, as far as that is known.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.unknown.is_some() || self.declared.is_none_or(|declared| self.at == Some(declared))
    }
}

/// A NIC of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// The segment it is on, which is its name too.
    pub segment: SegmentName,
    /// Its port on the bridge.
    pub tap: IfName,
    /// The only source address of its frames.
    pub mac: Mac,
    /// The bridge.
    pub bridge: IfName,
    /// The addresses it is pinned to.
    pub addresses: Vec<IpAddr>,
    /// Whether it may speak DHCP.
    pub dhcp: bool,
}

/// One `[[allow]]`, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allow {
    /// Who opens the flow, as the manifest writes it: `guest.web`.
    pub from: String,
    /// Who is spoken to: `outside.lan`.
    pub to: String,
    /// What is let through: `tcp 80, 443`.
    pub what: String,
    /// Packets of new flows that it let through.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// A named counter of the ruleset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Its name in the ruleset.
    pub name: String,
    /// Whether it counts what was dropped.
    pub dropped: bool,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// One turn of the loop: what woke it, and what it had to mend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// The source that woke it, in a word: `links`, `timer` and the like.
    pub reason: String,
    /// When, in microseconds since 1970.
    pub at_us: u64,
    /// From the wake to the verified host, in microseconds.
    pub latency_us: u64,
    /// The steps that mended the host.
    pub repairs: Vec<String>,
}
