//! What of the cases `cargo lab demo` shows.

use std::net::Ipv4Addr;

use bulkhead_packet::{Frame, Marker, line, send_counted, transport};

use super::counters::Counters;
use super::lease;
use super::stand_in::{FAR, LINK, StandIn, far_side_up, station, under, while_silent};
use super::watchers::{PATIENCE, Watchers};
use crate::inside::Lab;

const COUNT: u64 = 1000;
const COUNTER: &str = "spoofed_ipv4";
const OWN: Ipv4Addr = Ipv4Addr::new(10, 13, 37, 41);
const FALSE: Ipv4Addr = Ipv4Addr::new(10, 13, 37, 99);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 13, 37, 1);

/// The guest's own frames and the answers, as the far side of the trunk sees them.
pub(crate) fn a_guest_takes_its_lease(lab: &Lab) -> Result<(), String> {
    let frames = lease::take_lease(lab)?;
    frames.iter().for_each(|seen| lab.measured(line(seen)));
    if frames.is_empty() { Err("no frame of the guest was seen".to_owned()) } else { Ok(()) }
}

/// A second guest, played by a namespace, sends as itself and then as somebody else.
pub(crate) fn a_lie_is_dropped_and_counted(lab: &Lab) -> Result<(), String> {
    under(lab, "forward", || {
        let web = StandIn::plug(lab, "web", "lan")?;
        far_side_up()?;
        let station = station(FAR)?;
        while_silent(lab, || {
            let marker = Marker::unique();
            let from =
                |source| transport::udp((source, OUTSIDE), 40000, 5000, marker.bytes()).frame(web.nic.mac, station);
            let mut counters = Counters::read(lab)?;
            shown(lab, &web, &format!("from {OWN}, its own address"), &from(OWN), marker, COUNT)?;
            shown(lab, &web, &format!("from {FALSE}, somebody else's"), &from(FALSE), marker, 0)?;
            counters.grew(lab, COUNTER, COUNT)?;
            lab.measured(format!("the counter {COUNTER} says {COUNT} more than before"));
            Ok(())
        })
    })
}

fn shown(lab: &Lab, web: &StandIn, what: &str, frame: &Frame, marker: Marker, wanted: u64) -> Result<(), String> {
    let watchers = Watchers::start(marker, &[], &[])?;
    send_counted(&web.namespace.sender(LINK)?, frame, COUNT)?;
    let arrived = watchers.finish(PATIENCE)?;
    let text = format!("{COUNT} frames of guest web {what}: on the far side arrived {}", sum(&arrived));
    if sum(&arrived) == wanted {
        lab.measured(text);
        Ok(())
    } else {
        Err(text)
    }
}

fn sum(arrived: &[(String, u64)]) -> u64 {
    arrived.iter().map(|(_, frames)| frames).sum()
}
