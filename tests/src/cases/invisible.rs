//! Where the host has no place, it is not there; and nobody plugs in who was not declared.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bulkhead_packet::arp::Arp;
use bulkhead_packet::{
    Answer, Capture, Captured, Direction, Ether, Frame, Marker, Namespace, Sender, Tag, TcpServer, UdpServer, line,
    neighbour, run, send_counted, sysctl, tcp, transport, udp, unknown,
};

use super::counters::Counters;
use super::stand_in::{FAR, LINK, StandIn, far_side_up, station, under, while_silent};
use super::watchers::{PATIENCE, Watchers};
use super::{Case, SEED};
use crate::inside::Lab;
use crate::suite::Suite;

/// Case 4, the host.
pub(super) const NO_HOST: Case = Case {
    number: 4,
    name: "the host is invisible where it has no place: ARP, ping, TCP and UDP get nothing, with a static neighbour too",
    on: Suite::ALL,
    boot: &SEED,
    run: no_host,
};

/// Case 4, the stranger.
pub(super) const NO_STRANGER: Case = Case {
    number: 4,
    name: "through a NIC that nobody declared nothing passes, and the status names it",
    on: Suite::ALL,
    boot: &SEED,
    run: no_stranger,
};

/// Case 4, the host's own end of a tap.
pub(super) const NO_TAP: Case = Case {
    number: 4,
    name: "the host's end of a guest's tap has no IPv6 as soon as udev has seen it, also while the daemon is down",
    on: Suite::ALL,
    boot: &SEED,
    run: no_tap,
};

const HOST: Ipv4Addr = Ipv4Addr::new(10, 13, 37, 30);
const PROBE: Ipv4Addr = Ipv4Addr::new(10, 13, 38, 41);
const SILENCE: Duration = Duration::from_secs(2);

fn no_tap(lab: &Lab) -> Result<(), String> {
    const UNITS: &str = "bulkheadd.socket bulkheadd.service";
    // A name as the manifest gives taps, and one that is nobody's.
    const LINKS: [(&str, &str); 2] = [("bh-0123456789ab", "1"), ("lab-tap", "0")];
    lab.run(&format!("systemctl stop {UNITS}"))?;
    let seen = LINKS.iter().try_for_each(|(link, off)| {
        lab.run(&format!("ip link add {link} type dummy"))?;
        lab.run("udevadm settle")?;
        let seen = lab.run(&format!("cat /proc/sys/net/ipv6/conf/{link}/disable_ipv6"))?;
        if seen.trim() == *off { Ok(()) } else { Err(format!("disable_ipv6 of {link} is {seen}")) }
    });
    let gone = LINKS.iter().try_for_each(|(link, _)| lab.run(&format!("ip link delete {link}")).map(drop));
    lab.run(&format!("systemctl start {UNITS}"))?;
    seen.and(gone)
}

fn no_host(lab: &Lab) -> Result<(), String> {
    under(lab, "invisible", || {
        let probe = StandIn::plug(lab, "probe", "dmz")?;
        let bridge = station("br30")?;
        let at = SocketAddr::new([0, 0, 0, 0].into(), 5300);
        let (over_tcp, over_udp) = (TcpServer::listen(at)?, UdpServer::listen(at)?);
        nothing_comes_back(&probe, bridge)?;
        nothing_is_sent_outside(bridge)?;
        probe.speak()?;
        for line in [
            format!("ip route add {HOST} dev {LINK}"),
            format!("ip neighbour add {HOST} lladdr {bridge} dev {LINK} nud permanent"),
        ] {
            probe.namespace.run(&line)?;
        }
        let to = SocketAddr::new(HOST.into(), 5300);
        let answers = probe.namespace.within(|| [tcp(to, SILENCE), udp(to, SILENCE)])?;
        for answer in answers {
            let answer = answer?;
            if answer != Answer::Silence {
                return Err(format!("with a static neighbour, {to} gives {answer:?}"));
            }
        }
        match (over_tcp.answered(), over_udp.answered()) {
            (0, 0) => Ok(()),
            heard => Err(format!("the host's servers heard something (TCP, UDP): {heard:?}")),
        }
    })
}

/// Everything that asks the host to answer, from the guest: by its addresses, by its station, by groups.
fn questions(from: Ether, ip: Ipv4Addr, bridge: Ether) -> Vec<Frame> {
    let (local, host_local) = (neighbour::link_local(from), neighbour::link_local(bridge));
    let nodes = neighbour::ALL_NODES;
    let mut frames = vec![
        Arp::request(from, ip, HOST).frame(from),
        Arp::request(from, ip, ip).frame(from),
        neighbour::solicitation(local, from, host_local)
            .frame(from, neighbour::group(neighbour::solicited_node(host_local))),
        transport::echo_request((local, nodes), 1, b"ping").frame(from, neighbour::group(nodes)),
    ];
    for station in [bridge, Ether::BROADCAST] {
        frames.push(transport::echo_request((ip, HOST), 1, b"ping").frame(from, station));
        frames.push(transport::echo_request((local, host_local), 1, b"ping").frame(from, station));
        frames.push(transport::udp((ip, HOST), 40000, 5300, b"udp").frame(from, station));
        frames.push(transport::udp((ip, HOST), 40000, 5301, b"closed").frame(from, station));
        frames.push(transport::tcp((ip, HOST), 40000, 5300, transport::SYN, &[]).frame(from, station));
    }
    frames
}

fn nothing_comes_back(probe: &StandIn, bridge: Ether) -> Result<(), String> {
    let (sender, capture) = (probe.namespace.sender(LINK)?, probe.capture()?);
    for frame in questions(probe.nic.mac, PROBE, bridge) {
        sender.send(&frame)?;
    }
    silent("the guest", capture.during(SILENCE)?)
}

/// The same from beyond the trunk.
fn nothing_is_sent_outside(bridge: Ether) -> Result<(), String> {
    far_side_up()?;
    let far = station(FAR)?;
    let (sender, capture) = (Sender::open(FAR)?, Capture::open(FAR, Direction::Arriving)?);
    for frame in questions(far, Ipv4Addr::new(10, 13, 38, 1), bridge) {
        sender.send(&frame.tagged(Tag::dot1q(30)))?;
    }
    let seen = capture.during(SILENCE)?.into_iter().filter(|seen| seen.frame.vlan() == Some(30)).collect();
    silent("the far side", seen)
}

fn silent(who: &str, seen: Vec<Captured>) -> Result<(), String> {
    let lines: Vec<String> = seen.iter().map(line).collect();
    if lines.is_empty() { Ok(()) } else { Err(format!("{who} got\n{}", lines.join("\n"))) }
}

fn no_stranger(lab: &Lab) -> Result<(), String> {
    const TAP: &str = "stray0";
    const FRAMES: u64 = 100;
    under(lab, "forward", || {
        far_side_up()?;
        let (web, far) = (StandIn::plug(lab, "web", "lan")?, station(FAR)?);
        let mut stray = Namespace::new("stray")?;
        let own = Ether([0x52, 0x54, 0, 0, 0, 0x77]);
        stray.veth(TAP, LINK, own)?;
        // What the tap's maker says through the tap itself crosses no bridge, and no rule sees it.
        sysctl(&format!("ipv6/conf/{TAP}/disable_ipv6"), "1")?;
        run(&format!("ip link set {TAP} master br20 up"))?;
        while_silent(lab, || {
            let marker = Marker::unique();
            let (sender, mut counters) = (stray.sender(LINK)?, Counters::read(lab)?);
            let watchers = Watchers::start(marker, &["br20"], &[&web])?;
            let frames = from_stranger(&[own, web.nic.mac], far, web.nic.mac, &marker);
            for frame in &frames {
                send_counted(&sender, frame, FRAMES)?;
            }
            watchers.nothing("frames of the stranger", PATIENCE)?;
            let (sent, counted) = (FRAMES * frames.len() as u64, counters.growth(lab, "undeclared")?);
            // What others say to everybody does not reach the stranger either, and counts too.
            if counted < sent {
                return Err(format!("of {sent} frames of the stranger only {counted} were counted"));
            }
            keeps_its_station(lab, &web)?;
            towards_stranger(&stray, far, own)
        })?;
        lab.wait("the status to name the stranger", Duration::from_secs(10), || {
            let notices = lab.status()?.notices;
            let named = notices.iter().any(|notice| notice.text.contains(TAP));
            if named { Ok(()) } else { Err(format!("{notices:?}")) }
        })?;
        Ok(())
    })
}

/// As itself, and in the name of a declared guest: to everybody, to the outside and to the guest.
fn from_stranger(names: &[Ether], far: Ether, web: Ether, marker: &Marker) -> Vec<Frame> {
    let web_ip = Ipv4Addr::new(10, 13, 37, 41);
    let outside = Ipv4Addr::new(10, 13, 37, 1);
    let mut frames = Vec::new();
    for name in names {
        frames.push(marker.behind(Arp::request(*name, web_ip, outside).frame(*name)));
        frames.push(unknown(*name, Ether::BROADCAST, marker));
        for to in [far, web, Ether::BROADCAST] {
            frames.push(transport::udp((web_ip, outside), 40000, 5000, marker.bytes()).frame(*name, to));
        }
    }
    frames
}

/// A bridge moves even a static entry of its FDB to whoever speaks in that name, unless it is stopped before.
fn keeps_its_station(lab: &Lab, guest: &StandIn) -> Result<(), String> {
    let (mac, entries) = (guest.nic.mac.to_string(), lab.run("bridge fdb show br br20")?);
    let ports: Vec<&str> = entries.lines().filter(|line| line.starts_with(&mac)).collect();
    let own = format!("dev {} ", guest.nic.tap);
    let kept = !ports.is_empty() && ports.iter().all(|line| line.contains(&own));
    if kept {
        Ok(())
    } else {
        Err(format!("the bridge looks for {mac} elsewhere than at {}: {ports:?}", guest.nic.tap))
    }
}

/// What is beyond the trunk does not reach it either.
fn towards_stranger(stray: &Namespace, far: Ether, own: Ether) -> Result<(), String> {
    let (sender, capture) = (Sender::open(FAR)?, stray.capture(LINK, Direction::Arriving)?);
    let (outside, target) = (Ipv4Addr::new(10, 13, 37, 1), Ipv4Addr::new(10, 13, 37, 77));
    for frame in [
        Arp::request(far, outside, target).frame(far),
        transport::udp((outside, target), 40000, 5000, b"hello").frame(far, own),
        transport::udp((outside, Ipv4Addr::BROADCAST), 40000, 5000, b"hello").frame(far, Ether::BROADCAST),
    ] {
        sender.send(&frame.tagged(Tag::dot1q(20)))?;
    }
    silent("the stranger", capture.during(SILENCE)?)
}
