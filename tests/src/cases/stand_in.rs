//! Who plays in the cases: namespaces that stand in for declared guests and for whatever is beyond the trunk.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::inside::Lab;
use bulkhead_packet::{
    Capture, Direction, Error, Ether, Frame, Marker, Namespace, Sender, Tag, run, sysctl, transport,
};
use bulkhead_types::Mac;

/// The far side of the trunk, where its tagged frames are seen.
pub(super) const FAR: &str = "eth2";
/// The link of a stand-in, and of `Outside`, in its namespace.
pub(super) const LINK: &str = "port0";

/// How long the daemon has to see a new port and to set its flags.
const PORT_DEADLINE: Duration = Duration::from_secs(20);

/// Runs a case under the manifest `tests/cases/NAME/host.toml`; the seed is applied again, however it ends.
pub(super) fn under(lab: &Lab, name: &str, case: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let ended = lab.apply_case(name).and_then(|_| case());
    ended.and(lab.apply_seed().map(drop))
}

/// Runs something while the guest `example` is silent: its frames would be counted among those of the case.
pub(super) fn while_silent(lab: &Lab, run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    lab.run("virsh suspend example")?;
    let ended = run();
    ended.and(lab.run("virsh resume example").map(drop))
}

/// A NIC, as the daemon's status tells it.
#[derive(Debug, Clone)]
pub(super) struct Nic {
    /// Its port on the bridge.
    pub(super) tap: String,
    /// Its station.
    pub(super) mac: Ether,
    /// Its bridge.
    pub(super) bridge: String,
    /// Its addresses.
    pub(super) addresses: Vec<IpAddr>,
}

impl Nic {
    /// The NIC of a declared guest on a segment.
    pub(super) fn of(lab: &Lab, guest: &str, segment: &str) -> Result<Self, String> {
        let guests = lab.status()?.guests;
        let nics = guests.iter().filter(|one| one.name.as_str() == guest).flat_map(|one| &one.nics);
        let nic = nics
            .into_iter()
            .find(|nic| nic.segment.as_str() == segment)
            .ok_or_else(|| format!("the status shows no NIC of {guest} on {segment}: {guests:?}"))?;
        Ok(Self {
            tap: nic.tap.to_string(),
            mac: nic.mac.into(),
            bridge: nic.bridge.to_string(),
            addresses: nic.addresses.clone(),
        })
    }
}

/// A namespace in a declared guest's place.
#[derive(Debug)]
pub(super) struct StandIn {
    /// The NIC that it plays.
    pub(super) nic: Nic,
    /// Where it plays; its link is [`LINK`].
    pub(super) namespace: Namespace,
}

impl StandIn {
    /// Plugs a guest's place in, as libvirt would, and waits until the daemon has made the port a guest's.
    pub(super) fn plug(lab: &Lab, guest: &str, segment: &str) -> Result<Self, String> {
        let nic = Nic::of(lab, guest, segment)?;
        let mut namespace = Namespace::new(&format!("guest-{guest}"))?;
        namespace.veth(&nic.tap, LINK, nic.mac)?;
        run(&format!("ip link set {} master {} up", nic.tap, nic.bridge))?;
        let look = format!("bridge -d link show dev {}", nic.tap);
        lab.wait(&format!("the daemon to make {} the port of a guest", nic.tap), PORT_DEADLINE, || {
            let seen = lab.run(&look)?;
            if seen.contains("learning off") { Ok(()) } else { Err(seen) }
        })?;
        Ok(Self { nic, namespace })
    }

    /// Gives it its own addresses, so that its kernel speaks.
    pub(super) fn speak(&self) -> Result<(), Error> {
        self.nic.addresses.iter().try_for_each(|address| {
            let length = if address.is_ipv6() { 64 } else { 24 };
            self.namespace.address(LINK, &format!("{address}/{length}"))
        })
    }

    /// What no manifest of the cases allows it on VLAN 20: a frame to the station `far` beyond the trunk, and one from there,
    /// each with who sends it.
    pub(super) fn forbidden(&self, far: Ether, marker: Marker) -> Result<[(Sender, Frame); 2], Error> {
        let (here, there) = (Ipv4Addr::new(10, 13, 37, 41), Ipv4Addr::new(10, 13, 37, 1));
        let out = transport::udp((here, there), 40000, 9, marker.bytes()).frame(self.nic.mac, far);
        let into = transport::udp((there, here), 40000, 9, marker.bytes()).frame(far, self.nic.mac);
        Ok([(self.namespace.sender(LINK)?, out), (Sender::open(FAR)?, into.tagged(Tag::dot1q(20)))])
    }

    /// What comes to it.
    pub(super) fn capture(&self) -> Result<Capture, Error> {
        self.namespace.capture(LINK, Direction::Arriving)
    }
}

/// Somebody beyond the trunk, on one VLAN.
#[derive(Debug)]
pub(super) struct Outside {
    /// Where it is; its link is [`LINK`].
    pub(super) namespace: Namespace,
}

impl Outside {
    /// With these addresses, written with their prefix lengths.
    pub(super) fn on(vlan: u16, addresses: &[&str]) -> Result<Self, Error> {
        far_side_up()?;
        let mut namespace = Namespace::new(&format!("outside-{vlan}"))?;
        namespace.vlan(FAR, vlan, LINK)?;
        addresses.iter().try_for_each(|address| namespace.address(LINK, address))?;
        Ok(Self { namespace })
    }
}

/// Makes the far side ready to send and to see, without a word of its own.
pub(super) fn far_side_up() -> Result<(), Error> {
    sysctl(&format!("ipv6/conf/{FAR}/disable_ipv6"), "1")?;
    run(&format!("ip link set {FAR} up")).map(drop)
}

/// The Ethernet address of a link of this host.
pub(super) fn station(link: &str) -> Result<Ether, String> {
    let path = format!("/sys/class/net/{link}/address");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let mac: Mac = text.trim().parse().map_err(|error| format!("{path}: {text:?} {error}"))?;
    Ok(mac.into())
}
