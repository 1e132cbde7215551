//! What the host routes: never into or out of our bridges.

use super::crossing::FILTER;
use super::{Topology, past};
use crate::counters::{INET_DROPS, PORT_IP, ROUTED};
use crate::model::BRIDGES;
use crate::rule::*;
use crate::table::{Family, HookPoint, Set, Table};

/// Before `NF_IP_PRI_CONNTRACK_DEFRAG`, -400, which would keep fragments.
const BEFORE_FRAGMENTS: i32 = -450;

/// Where br_netfilter is loaded (Docker does that), a bridged frame passes inet's forward hook too, with the bridge as both
/// interfaces. The bridge table has decided about it. What the host routes back to the bridge that it came from looks the
/// same, but was sent to the bridge's own MAC: the bridge table lets nothing else in to the host.
pub(super) fn table(topology: &Topology<'_>) -> Table {
    let mut table = Table::new(Family::Inet);
    table.counters.extend(INET_DROPS.map(str::to_owned));
    past::add(topology, HookPoint::Prerouting, BEFORE_FRAGMENTS, PORT_IP, &mut table);
    let rows = |row: fn(&crate::model::Bridge) -> Vec<String>| topology.bridges().map(row);
    table.sets.insert(BRIDGES, Set::new(&["ifname"], topology.names.iter().map(|name| vec![name.to_string()])));
    let both = rows(|bridge| vec![bridge.name.to_string(), bridge.name.to_string()]);
    table.sets.insert("bridged", Set::new(&["ifname", "ifname"], both));
    let own = rows(|bridge| vec![bridge.name.to_string(), bridge.mac.to_string()]);
    table.sets.insert("own_mac", Set::new(&["ifname", "ether_addr"], own));
    table.base(
        "forward",
        HookPoint::Forward,
        FILTER,
        vec![
            Rule::new().within(&[IIFNAME, OIFNAME], "bridged").goto("bridged"),
            Rule::new().within(&[IIFNAME], "bridges").drop(ROUTED),
            Rule::new().within(&[OIFNAME], "bridges").drop(ROUTED),
        ],
    );
    table.chain(
        "bridged",
        vec![Rule::new().within(&[IIFNAME, ETHER_DADDR], "own_mac").drop(ROUTED), Rule::new().accept()],
    );
    table
}
