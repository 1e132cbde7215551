//! What stands after a boot, with nothing typed.

use std::time::Duration;

use super::{Case, SEED};
use crate::inside::Lab;
use crate::suite::Suite;

/// Case 1, its visible half.
pub(super) const SEED_IS_THERE: Case = Case {
    number: 1,
    name: "after boot the seed's VLAN, bridge, address and default route are there",
    on: Suite::ALL,
    boot: &SEED,
    run: seed_is_there,
};

fn seed_is_there(lab: &Lab) -> Result<(), String> {
    let wanted = [
        ("ip -d -o link show vlan20", "vlan protocol 802.1Q id 20"),
        ("ip -o link show vlan20", "master br20"),
        ("ip -o -4 address show dev br20", "10.13.37.30/24"),
        ("ip -4 route show default", "via 10.13.37.1 dev br20 proto 98 metric 4242"),
    ];
    for (line, words) in wanted {
        lab.wait(&format!("`{line}` to say `{words}`"), Duration::from_secs(60), || {
            let seen = lab.run(line).unwrap_or_else(|error| error);
            if seen.contains(words) { Ok(()) } else { Err(seen) }
        })?;
    }
    Ok(())
}
