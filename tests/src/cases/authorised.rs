//! Who may ask the daemon what.

use std::time::Duration;

use bulkhead_packet::Ended;

use super::strace::Strace;
use super::{Case, SEED, daemon};
use crate::inside::Lab;
use crate::suite::Suite;

/// Case 12, those who may.
pub(super) const WHO_MAY_WHAT: Case = Case {
    number: 12,
    name: "varlinkctl gets the status, and group bulkhead-observe may look and not apply",
    on: &[Suite::Debian13],
    boot: &SEED,
    run: who_may_what,
};

/// Case 12, everybody else.
pub(super) const CLOSED_UNREAD: Case = Case {
    number: 12,
    name: "another user is disconnected before a byte of theirs is read",
    on: &[Suite::Debian13],
    boot: &SEED,
    run: closed_unread,
};

const SOCKET: &str = "unix:/run/bulkhead/io.bulkhead.Agent";
const DEADLINE: Duration = Duration::from_secs(60);

fn who_may_what(lab: &Lab) -> Result<(), String> {
    let status = lab.run(&format!("varlinkctl call --json=short {SOCKET} io.bulkhead.Agent.Status {{}}"))?;
    if !status.contains(r#""ready":true"#) {
        return Err(format!("varlinkctl got {status}"));
    }
    let interfaces = lab.run(&format!("varlinkctl list-interfaces {SOCKET}"))?;
    if !interfaces.contains("io.bulkhead.Agent") {
        return Err(format!("varlinkctl found the interfaces {interfaces}"));
    }
    for method in ["status", "plan"] {
        let seen = nobody(lab, "--groups=bulkhead-observe", &["bulkhead", method, "--json"])?;
        if seen.stdout.is_empty() || !seen.stderr.is_empty() {
            return Err(format!("an observer's {method}: {} {}", seen.status, seen.stderr));
        }
    }
    for words in [&["bulkhead", "apply"][..], &["bulkhead", "teardown", "--yes"]] {
        let refused = nobody(lab, "--groups=bulkhead-observe", words)?;
        if refused.success || !refused.stderr.contains("bulkhead") {
            return Err(format!("an observer's {words:?}: {} {}", refused.status, refused.stderr));
        }
        lab.measured(format!("an observer's {}: {}", words[1], refused.stderr.lines().next().unwrap_or_default()));
    }
    let applied = nobody(lab, "--groups=bulkhead", &["bulkhead", "apply"])?;
    // What the machine lacks, such as the seed's encrypted mount, makes the exit status 1.
    if applied.stdout.contains("as the manifest says") && applied.stderr.is_empty() {
        Ok(())
    } else {
        Err(format!("an administrator's apply: {} {}", applied.stdout, applied.stderr))
    }
}

fn closed_unread(lab: &Lab) -> Result<(), String> {
    let calls = "accept,accept4,read,readv,recvfrom,recvmsg,recvmmsg,close";
    let strace = Strace::attach(lab, daemon::pid(lab)?, calls)?;
    let refused = nobody(lab, "--clear-groups", &["bulkhead", "status", "--json"]);
    let calls = strace.finish(lab)?;
    let refused = refused?;
    if refused.success || !refused.stdout.is_empty() {
        return Err(format!("a stranger got {}", refused.stdout));
    }
    let connections = connections(&calls);
    lab.measured(format!("a stranger's status: {}", refused.stderr.lines().next().unwrap_or_default()));
    for connection in &connections {
        lab.measured(connection.join(" | "));
    }
    match connections.as_slice() {
        [] => Err(format!("strace saw no connection:\n{calls}")),
        all if all.iter().any(|calls| calls.len() != 2) => Err("something was read, or the end is missing".to_owned()),
        _ => Ok(()),
    }
}

/// Runs a command as nobody, in these groups.
fn nobody(lab: &Lab, groups: &str, words: &[&str]) -> Result<Ended, String> {
    let prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", groups, "--"];
    lab.attempt(&[&prefix, words].concat(), DEADLINE)
}

/// Of each accepted connection, the calls on its descriptor up to its end.
fn connections(calls: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> =
        calls.lines().map(|line| line.split_once(' ').map_or(line, |(_, call)| call.trim())).collect();
    let mut connections = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("accept")) {
        let Some(descriptor) = line.rsplit_once("= ").and_then(|(_, number)| number.trim().parse::<u32>().ok()) else {
            continue;
        };
        let of = |line: &&&str| {
            let first = line.split_once('(').map(|(_, rest)| rest.split([',', ')']).next().unwrap_or_default());
            first == Some(descriptor.to_string().as_str())
        };
        let mut calls = vec![(*line).to_owned()];
        for call in lines[at + 1..].iter().filter(of) {
            calls.push((*call).to_owned());
            if call.starts_with("close") {
                break;
            }
        }
        connections.push(calls);
    }
    connections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_of_a_connection_is_found_and_other_descriptors_are_not() {
        let calls = "7 recvfrom(17, \"x\", 1, 0, NULL, NULL) = 1\n7 accept4(3, NULL, NULL, SOCK_CLOEXEC) = 17\n\
                     7 read(1, \"\", 1) = 0\n7 close(17) = 0\n7 accept4(3, NULL, NULL, 0) = -1 EAGAIN (Resource)\n\
                     7 accept4(3, NULL, NULL, 0) = 18\n8 recvfrom(18, \"{\", 9, 0, NULL, NULL) = 1\n7 close(18) = 0\n";
        let lengths: Vec<usize> = connections(calls).iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 3]);
    }
}
