//! What somebody changes by hand comes back by the kernel's event, with no timer to help.

use std::time::{Duration, Instant};

use bulkhead_api::Owner;

use super::{Case, SEED, daemon, stand_in::Nic};
use crate::inside::Lab;
use crate::suite::Suite;

/// Case 7, links.
pub(super) const LINKS_COME_BACK: Case = Case {
    number: 7,
    name: "with the timer off, links, addresses, routes and port flags that drift come back by event",
    on: Suite::ALL,
    boot: &SEED,
    run: links_come_back,
};

/// Case 7, the policy.
pub(super) const RULES_COME_BACK: Case = Case {
    number: 7,
    name: "with the timer off, removed rules, set elements and tables come back by event, or the kernel refuses to remove them",
    on: Suite::ALL,
    boot: &SEED,
    run: rules_come_back,
};

const DEADLINE: Duration = Duration::from_secs(30);
const NO_TIMER: &str = "ExecStart=\nExecStart=/usr/sbin/bulkheadd --resync 0";

/// A change by hand, and how the host looks when it is undone.
struct Drift {
    what: &'static str,
    by: String,
    look: String,
    /// What must be seen.
    wanted: &'static str,
    /// What must not.
    unwanted: Option<&'static str>,
}

fn links_come_back(lab: &Lab) -> Result<(), String> {
    daemon::running(lab, "example")?;
    daemon::with_settings(lab, NO_TIMER, || {
        let tap = Nic::of(lab, "example", "lan")?.tap;
        drifts(&tap).iter().try_for_each(|drift| undone(lab, drift))
    })
}

fn drifts(tap: &str) -> Vec<Drift> {
    let drift = |what, by: &str, look: &str, wanted, unwanted| Drift {
        what,
        by: by.to_owned(),
        look: look.to_owned(),
        wanted,
        unwanted,
    };
    let (vlan, bridge) = ("ip -d -o link show vlan20", "ip -o address show dev br20");
    vec![
        drift("vlan20 deleted", "ip link delete vlan20", vlan, "master br20", None),
        drift("vlan20 taken off br20", "ip link set vlan20 nomaster", vlan, "master br20", None),
        drift("br20's address removed", "ip address delete 10.13.37.30/24 dev br20", bridge, "10.13.37.30/24", None),
        drift(
            "the default route removed",
            "ip route delete default via 10.13.37.1 dev br20",
            "ip route show default",
            "via 10.13.37.1 dev br20 proto 98",
            None,
        ),
        drift("br30 set down", "ip link set br30 down", "ip -o link show br30", ",UP", None),
        drift("vlan30 set down", "ip link set vlan30 down", "ip -o link show vlan30", ",UP", None),
        drift(
            "an address given to br30, which has none",
            "ip address add 192.0.2.30/24 dev br30",
            "ip -o address show",
            "br20",
            Some("192.0.2.30"),
        ),
        drift(
            "a guest's port made to learn",
            &format!("bridge link set dev {tap} learning on"),
            &format!("bridge -d link show dev {tap}"),
            "learning off",
            None,
        ),
        drift("br20 deleted", "ip link delete br20", bridge, "10.13.37.30/24", None),
    ]
}

/// Drifts, waits until it is undone, and tells how long that took.
fn undone(lab: &Lab, drift: &Drift) -> Result<(), String> {
    lab.run(&drift.by)?;
    let began = Instant::now();
    lab.wait(&format!("{} to be undone", drift.what), DEADLINE, || {
        let seen = lab.run(&drift.look).unwrap_or_else(|error| error);
        let undone = seen.contains(drift.wanted) && !drift.unwanted.is_some_and(|words| seen.contains(words));
        if undone { Ok(()) } else { Err(seen) }
    })?;
    let seen = began.elapsed();
    daemon::settled(lab)?;
    let (reason, own) = event(lab)?;
    lab.measured(format!("{}: seen undone after {} ms; {reason} to verified {own} ms", drift.what, seen.as_millis()));
    Ok(())
}

/// The event that woke the daemon for its last repair (of several at once the first, which need not be the one of the drift),
/// and the milliseconds from the wake to the verified host.
fn event(lab: &Lab) -> Result<(String, u64), String> {
    let status = lab.status()?;
    let wake = status.wakes.into_iter().next_back().ok_or("the status tells of no repair")?;
    if ["timer", "request", "start"].contains(&wake.reason.as_str()) {
        return Err(format!("the last repair was made by {}, not by an event", wake.reason));
    }
    Ok((wake.reason, wake.latency_us / 1000))
}

const TABLES: [&str; 3] = ["bridge bulkhead", "inet bulkhead", "arp bulkhead"];

fn rules_come_back(lab: &Lab) -> Result<(), String> {
    daemon::running(lab, "example")?;
    daemon::with_settings(lab, NO_TIMER, || {
        let owned = lab.status()?.policy_owner == Some(Owner::Held);
        if owned != (lab.suite() == Suite::Debian13) {
            return Err(format!("on {} the tables are owned: {owned}", lab.suite()));
        }
        let listing = lab.run("nft -a list table bridge bulkhead")?;
        let removals = [rule(&listing), element(&listing)].into_iter().flatten();
        let tables = TABLES.iter().map(|table| format!("delete table {table}"));
        let removals: Vec<String> = removals.chain(tables).chain(["flush ruleset".to_owned()]).collect();
        if removals.len() < 6 {
            return Err(format!("no rule or no set element to remove in\n{listing}"));
        }
        removals.iter().try_for_each(|removal| if owned { refused(lab, removal) } else { restored(lab, removal) })
    })
}

/// Both tables, without handles and counts.
fn tables(lab: &Lab) -> Result<String, String> {
    TABLES.iter().map(|table| lab.run(&format!("nft -s list table {table}"))).collect()
}

fn refused(lab: &Lab, removal: &str) -> Result<(), String> {
    let before = tables(lab)?;
    let ended = lab.attempt(&["nft", removal], DEADLINE)?;
    // A flush passes over what somebody else holds.
    if removal != "flush ruleset" && (ended.success || !ended.stderr.contains("Operation not permitted")) {
        return Err(format!("`nft {removal}` is not refused: {} {}", ended.status, ended.stderr));
    }
    if tables(lab)? != before {
        return Err(format!("`nft {removal}` changed the tables"));
    }
    lab.measured(format!("nft {removal}: nothing changed ({})", ended.status));
    Ok(())
}

fn restored(lab: &Lab, removal: &str) -> Result<(), String> {
    let before = tables(lab)?;
    lab.run_words(&["nft", removal])?;
    let began = Instant::now();
    lab.wait(&format!("what `nft {removal}` removed"), DEADLINE, || match tables(lab)? {
        now if now == before => Ok(()),
        now => Err(now),
    })?;
    let seen = began.elapsed();
    daemon::settled(lab)?;
    let (reason, own) = event(lab)?;
    lab.measured(format!("nft {removal}: seen back after {} ms; {reason} to verified {own} ms", seen.as_millis()));
    Ok(())
}

/// Removes the first rule of a listing with handles.
fn rule(listing: &str) -> Option<String> {
    let mut chain = None;
    for line in listing.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("chain ") {
            chain = rest.split_whitespace().next();
        } else if let (Some(chain), Some((rule, handle))) = (chain, line.rsplit_once("# handle "))
            && !rule.trim_end().ends_with('{')
        {
            return Some(format!("delete rule bridge bulkhead {chain} handle {handle}"));
        }
    }
    None
}

/// Removes the first element of the first set of a listing that has any.
fn element(listing: &str) -> Option<String> {
    let mut set = None;
    for line in listing.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("set ") {
            set = rest.split_whitespace().next();
        } else if let (Some(set), Some(elements)) = (set, line.strip_prefix("elements = {")) {
            let first = elements.trim_end_matches('}').split(',').next()?.trim();
            return Some(format!("delete element bridge bulkhead {set} {{ {first} }}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\
table bridge bulkhead { # handle 4
\tset macs { # handle 2
\t\ttype ifname . ether_addr
\t\telements = { \"bh-1\" . 52:54:00:00:00:01,
\t\t\t     \"bh-2\" . 52:54:00:00:00:02 }
\t}
\tchain forward { # handle 3
\t\ttype filter hook forward priority -200; policy drop;
\t\tmeta ibrname != \"br20\" accept # handle 7
\t}
}
";

    #[test]
    fn the_first_rule_and_the_first_element_are_found_in_a_listing() {
        assert_eq!(rule(LISTING).unwrap(), "delete rule bridge bulkhead forward handle 7");
        assert_eq!(element(LISTING).unwrap(), "delete element bridge bulkhead macs { \"bh-1\" . 52:54:00:00:00:01 }");
    }
}
