//! A segment without a host stays without one, from the moment that its bridge exists.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_packet::{Capture, Captured, Direction, line};

use super::stand_in::{FAR, far_side_up};
use super::{Case, SEED};
use crate::inside::Lab;
use crate::suite::Suite;

/// Case 1, its invisible half.
pub(super) const NO_WORD_OF_ITS_OWN: Case = Case {
    number: 1,
    name: "br30 has no address from the moment it exists, and in 60 s no frame of the host's own leaves tagged 30",
    on: Suite::ALL,
    boot: &SEED,
    run: no_word_of_its_own,
};

/// Longer than the kernel repeats router solicitations and reports of groups after a link came up.
const WATCHED: Duration = Duration::from_secs(60);
const BACK_DEADLINE: Duration = Duration::from_secs(30);

fn no_word_of_its_own(lab: &Lab) -> Result<(), String> {
    far_side_up()?;
    let capture = Capture::open(FAR, Direction::Arriving)?;
    let end = Instant::now() + WATCHED;
    let seen = thread::scope(|scope| {
        let watching = scope.spawn(|| capture.during(WATCHED));
        made_without_address(lab, end)?;
        watching.join().map_err(|_| "the capture panicked".to_owned())?.map_err(String::from)
    })?;
    let on = |vlan| seen.iter().filter(move |one: &&Captured| one.frame.vlan() == Some(vlan));
    if on(20).next().is_none() {
        return Err(format!("not even the host's question on VLAN 20 was seen among {} frames", seen.len()));
    }
    let lines: Vec<String> = on(30).map(line).collect();
    lab.measured(format!(
        "{} frames on VLAN 20, {} on VLAN 30 in {} s",
        on(20).count(),
        lines.len(),
        WATCHED.as_secs()
    ));
    if lines.is_empty() { Ok(()) } else { Err(format!("left on VLAN 30:\n{}", lines.join("\n"))) }
}

/// Takes the segment away, so that the daemon makes it anew before our eyes, and looks at it until the end.
fn made_without_address(lab: &Lab, end: Instant) -> Result<(), String> {
    // Somebody must be seen on the wire, or nobody's silence would say anything.
    let socket = UdpSocket::bind("10.13.37.30:0").map_err(|error| format!("10.13.37.30: {error}"))?;
    socket.send_to(b"hello", "10.13.37.1:9").map_err(|error| format!("10.13.37.1: {error}"))?;
    for link in ["br30", "vlan30"] {
        // The daemon may have the one back before the other is gone, and then takes it away itself.
        let _ = lab.attempt(&["ip", "link", "delete", link], BACK_DEADLINE)?;
    }
    lab.wait("the daemon to make br30 again", BACK_DEADLINE, || lab.run("ip -o link show dev br30 up"))?;
    let addresses = || lab.run("ip -o address show dev br30");
    while Instant::now() < end {
        let seen = addresses()?;
        if !seen.trim().is_empty() {
            return Err(format!("br30 has an address: {seen}"));
        }
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}
