//! The daemon is not root: what polkit lets its user do through systemd, and what not.

use std::path::Path;
use std::process::Output;

use bulkhead_sandbox::unit;

use crate::world::*;

#[tokio::test]
async fn the_daemon_s_user_may_do_what_a_plan_does() {
    let _guard = alone().await;
    let guest = guest("t-user");
    let (slice, keeper) = (unit::slice(&guest), unit::keeper(&guest));
    for call in [
        &["systemctl", "--no-ask-password", "set-property", "--runtime", &slice, "TasksMax=9"][..],
        &["systemctl", "--no-ask-password", "start", &keeper],
    ] {
        let output = as_daemon(call);
        assert!(output.status.success(), "{call:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(file(&guest, "pids.max"), "9");
    let output = as_daemon(&["systemctl", "--no-ask-password", "stop", &keeper]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// StartTransientUnit, whose arguments are the unit, its properties and units to make beside it.
fn start_transient(arguments: &[&str]) -> Output {
    const CALL: [&str; 8] = [
        "busctl",
        "--system",
        "call",
        "org.freedesktop.systemd1",
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
        "StartTransientUnit",
        "ssa(sv)a(sa(sv))",
    ];
    as_daemon(&[&CALL, arguments].concat())
}

#[tokio::test]
async fn the_daemon_s_user_starts_nothing_else_through_systemd() {
    const PROOF: &str = "/run/bulkhead-hijacked";
    const EVIL: [&str; 8] = ["ExecStart", "a(sasb)", "1", "/bin/touch", "2", "/bin/touch", PROOF, "false"];
    let _guard = alone().await;
    let refused = |what: &str, output: Output| {
        assert!(!output.status.success(), "{what} was allowed");
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        let words = ["Access denied", "authentication required", "not authorized", "Permission denied"];
        let denied = words.iter().any(|word| why.to_lowercase().contains(&word.to_lowercase()));
        assert!(denied || why.contains("already"), "{what}: refused for another reason: {why}");
    };
    // A unit of its own.
    refused("a transient service", start_transient(&[&["evil.service", "fail", "1"][..], &EVIL, &["0"]].concat()));
    // A name that the rules allow, with a command of its own.
    let keeper = "bulkhead-slice@evil.service";
    refused("a transient keeper", start_transient(&[&[keeper, "fail", "1"][..], &EVIL, &["0"]].concat()));
    // A name that the rules allow, with another unit beside it that it pulls in.
    let wants = ["fail", "1", "Wants", "as", "1", "evil.service", "1", "evil.service", "1"];
    refused("an auxiliary unit of a keeper", start_transient(&[&[keeper][..], &wants, &EVIL].concat()));
    let slice = "machine-bulkhead-evil.slice";
    refused("an auxiliary unit of a slice", start_transient(&[&[slice][..], &wants, &EVIL].concat()));
    // Units that are there.
    for (verb, unit) in [
        ("start", "debug-shell.service"),
        ("stop", "dbus.service"),
        ("start", "bulkhead-slice@a-b.service"),
        ("start", r"bulkhead-slice@..\x2f..\x2fetc.service"),
        ("start", slice),
        ("restart", "bulkhead-slice@evil.service"),
        ("stop", "machine.slice"),
        ("kill", "dbus.service"),
        ("freeze", "dbus.service"),
    ] {
        refused(unit, as_daemon(&["systemctl", "--no-ask-password", verb, unit]));
    }
    for unit in
        ["machine.slice", "system.slice", "dbus.service", "machine-bulkhead.slice", "machine-bulkhead-a-b.slice"]
    {
        let call = ["systemctl", "--no-ask-password", "set-property", "--runtime", unit, "TasksMax=1"];
        refused(unit, as_daemon(&call));
    }
    assert!(!Path::new(PROOF).exists(), "something of the daemon's user ran as root");
}
