//! What comes to the host by a bridge's port itself, past every hook of the bridge.
//!
//! The kernel hands frames for 01:80:c2:00:00:0e to the port that they came by (`br_handle_frame`), unless the bridge is told to
//! forward that group, as ours are. A declared port has no address and no business with the host, whatever bridge it is on: with
//! br_netfilter, IP that crosses a bridge is shown with the bridge's name and not with the port's.

use super::Topology;
use super::sets::{NAME, PORTS, ports};
use crate::counters::{ARP_DROPS, PORT_ARP};
use crate::rule::{IIFNAME, Rule};
use crate::table::{Family, HookPoint, Set, Table};

/// The table that drops ARP.
pub(super) fn table(topology: &Topology<'_>) -> Table {
    let mut table = Table::new(Family::Arp);
    table.counters.extend(ARP_DROPS.map(str::to_owned));
    add(topology, HookPoint::Input, 0, PORT_ARP, &mut table);
    table
}

pub(super) fn add(topology: &Topology<'_>, point: HookPoint, priority: i32, counter: &str, table: &mut Table) {
    table.sets.insert(PORTS, Set::new(NAME, ports(topology)));
    table.base("past_bridge", point, priority, vec![Rule::new().within(&[IIFNAME], PORTS).drop(counter)]);
}
