//! A real guest speaks on its own VLAN, and is answered there.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bulkhead_packet::dhcp::Kind;
use bulkhead_packet::lease::{Offer, message, serve};
use bulkhead_packet::{Captured, Ether, Tag, line};

use super::stand_in::{FAR, Nic, far_side_up};
use super::{Case, SEED};
use crate::inside::Lab;
use crate::suite::Suite;

/// Case 2.
pub(super) const OVER_ITS_VLAN: Case = Case {
    number: 2,
    name: "a guest that the daemon started gets its DHCP lease over its own VLAN and is seen nowhere else",
    on: Suite::ALL,
    boot: &SEED,
    run: over_its_vlan,
};

/// libvirt starts QEMU in software emulation, within software emulation.
const START_DEADLINE: Duration = Duration::from_secs(180);
/// iPXE's own start, and its first questions.
const LEASE_DEADLINE: Duration = Duration::from_secs(120);
const VLAN: u16 = 20;

fn over_its_vlan(lab: &Lab) -> Result<(), String> {
    let frames = take_lease(lab)?;
    let nic = Nic::of(lab, "example", "lan")?;
    if let Some(stray) =
        frames.iter().find(|seen| seen.frame.source == nic.mac && seen.frame.tags != [Tag::dot1q(VLAN)])
    {
        return Err(format!("a frame of the guest has other tags than {VLAN}: {}", line(stray)));
    }
    let kinds: Vec<Kind> = frames.iter().filter_map(|seen| Some(message(&seen.frame)?.kind)).collect();
    let wanted = [Kind::Discover, Kind::Offer, Kind::Request, Kind::Ack];
    let mut rest = kinds.iter();
    if !wanted.iter().all(|kind| rest.any(|said| said == kind)) {
        let text: Vec<String> = frames.iter().map(line).collect();
        return Err(format!("expected {wanted:?} in this order, and saw {} frames:\n{}", text.len(), text.join("\n")));
    }
    for kind in wanted {
        let first = frames.iter().find(|seen| message(&seen.frame).is_some_and(|said| said.kind == kind));
        first.iter().for_each(|seen| lab.measured(line(seen)));
    }
    Ok(())
}

/// Starts the guest `example` over and gives it its address from the far side of the trunk; every frame from and to it
/// that was seen there, in order.
pub(crate) fn take_lease(lab: &Lab) -> Result<Vec<Captured>, String> {
    let nic = Nic::of(lab, "example", "lan")?;
    lab.wait("the guest example to run", START_DEADLINE, || {
        let state = lab.run("virsh domstate example")?;
        if state.trim() == "running" { Ok(()) } else { Err(state) }
    })?;
    far_side_up()?;
    // It asked when it was started and may have given up since.
    lab.run("virsh reset example")?;
    let offer = Offer {
        vlan: VLAN,
        station: Ether([0x02, 0, 0, 0, 0, 0x01]),
        server: Ipv4Addr::new(10, 13, 37, 1),
        client: nic.mac,
        yours: Ipv4Addr::new(10, 13, 37, 40),
    };
    Ok(serve(FAR, &offer, Instant::now() + LEASE_DEADLINE)?)
}
