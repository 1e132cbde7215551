//! The daemon's user may ask systemd for its own slices, and for nothing else.

use std::path::Path;
use std::time::Duration;

use bulkhead_packet::Ended;

use super::{Case, SEED, daemon::USER};
use crate::inside::Lab;
use crate::suite::Suite;

/// Case 10, the hijacks.
pub(super) const NOTHING_ELSE_STARTS: Case = Case {
    number: 10,
    name: "the daemon's user cannot start anything but its own slices through systemd: every hijack is refused",
    on: &[Suite::Debian13],
    boot: &SEED,
    run: nothing_else_starts,
};

const DEADLINE: Duration = Duration::from_secs(30);
/// What a hijack that works would leave.
const PROOF: &str = "/run/lab-hijacked";
const EVIL: [&str; 8] = ["ExecStart", "a(sasb)", "1", "/bin/touch", "2", "/bin/touch", PROOF, "false"];
const TRANSIENT: [&str; 8] = [
    "busctl",
    "--system",
    "call",
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
    "StartTransientUnit",
    "ssa(sv)a(sa(sv))",
];
const KEEPER: &str = "bulkhead-slice@evil.service";
const SLICE: &str = "machine-bulkhead-evil.slice";

fn nothing_else_starts(lab: &Lab) -> Result<(), String> {
    // Its own, or the refusals below would say nothing.
    let own = [
        &["systemctl", "--no-ask-password", "start", "bulkhead-slice@hijack.service"][..],
        &["systemctl", "--no-ask-password", "stop", "bulkhead-slice@hijack.service"],
    ];
    for words in own {
        let ended = as_daemon(lab, words)?;
        if !ended.success {
            return Err(format!("{words:?} is refused: {}", ended.stderr));
        }
    }
    let hijacks = hijacks();
    for (what, words) in &hijacks {
        let ended = as_daemon(lab, &words.iter().map(String::as_str).collect::<Vec<_>>())?;
        let why = ended.stderr.to_lowercase();
        let denied = ["access denied", "authentication required", "not authorized", "permission denied"];
        // A name that has a file cannot be made transient, whoever asks.
        let refused = denied.iter().any(|words| why.contains(words)) || why.contains("already");
        if ended.success || !refused {
            return Err(format!("{what}: {} {why}", ended.status));
        }
    }
    if Path::new(PROOF).exists() {
        return Err(format!("{PROOF} is there: something of the daemon's user ran as root"));
    }
    lab.measured(format!("{} hijacks tried, all refused", hijacks.len()));
    Ok(())
}

fn as_daemon(lab: &Lab, words: &[&str]) -> Result<Ended, String> {
    let user = [format!("--reuid={USER}"), format!("--regid={USER}")];
    let prefix = ["setpriv", &user[0], &user[1], "--clear-groups", "--"];
    lab.attempt(&[&prefix, words].concat(), DEADLINE)
}

fn hijacks() -> Vec<(String, Vec<String>)> {
    let wants = ["fail", "1", "Wants", "as", "1", "evil.service", "1", "evil.service", "1"];
    let transient = |what: &str, words: &[&[&str]]| {
        let words = [&TRANSIENT[..], &words.concat()].concat();
        (what.to_owned(), words.into_iter().map(str::to_owned).collect())
    };
    let mut hijacks: Vec<(String, Vec<String>)> = vec![
        transient("a service of its own", &[&["evil.service", "fail", "1"], &EVIL, &["0"]]),
        transient("a command under a name that is allowed", &[&[KEEPER, "fail", "1"], &EVIL, &["0"]]),
        transient("a unit that a keeper pulls in", &[&[KEEPER], &wants, &EVIL]),
        transient("a unit that a slice pulls in", &[&[SLICE], &wants, &EVIL]),
    ];
    let verbs = [
        ("start", "debug-shell.service"),
        ("stop", "dbus.service"),
        ("start", "bulkhead-slice@a-b.service"),
        ("start", r"bulkhead-slice@..\x2f..\x2fetc.service"),
        ("start", SLICE),
        ("restart", KEEPER),
        ("stop", "machine.slice"),
        ("kill", "dbus.service"),
    ];
    for (verb, unit) in verbs {
        let words = ["systemctl", "--no-ask-password", verb, unit];
        hijacks.push((format!("{verb} {unit}"), words.map(str::to_owned).to_vec()));
    }
    for unit in ["machine.slice", "dbus.service", "machine-bulkhead.slice", "machine-bulkhead-a-b.slice"] {
        let words = ["systemctl", "--no-ask-password", "set-property", "--runtime", unit, "TasksMax=1"];
        hijacks.push((format!("limits of {unit}"), words.map(str::to_owned).to_vec()));
    }
    hijacks
}
