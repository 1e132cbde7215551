//! What the package lets the daemon ask of other services is what the daemon asks.

use std::collections::BTreeSet;

#[test]
fn the_polkit_rules_grant_what_is_asked_and_no_more() {
    let rules = include_str!("../../systemd/polkit.rules");
    let named = |line: &'static str| {
        let line = line.trim();
        let rest = line.strip_prefix("case \"").or_else(|| line.strip_prefix("if (action.id === \""))?;
        rest.split('"').next()
    };
    let granted: BTreeSet<&str> = rules.lines().filter_map(named).collect();
    // Each with its calls: SetUnitProperties, StartUnit and StopUnit; everything of libvirt; SetLinkDNS; RevertLink.
    let asked = [
        "org.freedesktop.systemd1.manage-units",
        "org.libvirt.unix.manage",
        "org.freedesktop.resolve1.set-dns-servers",
        "org.freedesktop.resolve1.revert",
    ];
    assert_eq!(granted, BTreeSet::from(asked));
}
