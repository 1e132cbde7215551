//! `bulkhead status`: the host at a glance.

use std::fmt::Write as _;
use std::process::ExitCode;

use bulkhead_api::{Ended, Guest, Limit, Owner, PhaseTimes, Segment, State, Status, Wake};
use comfy_table::{ContentArrangement, ContentLineStyle, LineStyle, Table, TableStyle};
use serde_json::json;

use super::failure::{Failure, NOT_SO};
use super::{Daemon, Screen, paint, plan, words};

/// The map's frames: light lines, round corners.
const STYLE: TableStyle = TableStyle::new()
    .top_border(LineStyle::new('╭', '─', '┬', '╮'))
    .header_lines(ContentLineStyle::new('│', '│', '│'))
    .header_separator(LineStyle::new('├', '─', '┼', '┤'))
    .content_lines(ContentLineStyle::new('│', '│', '│'))
    .bottom_border(LineStyle::new('╰', '─', '┴', '╯'));

/// Repairs that are shown; the reply has more.
const REPAIRS: usize = 5;
/// Steps of one repair that are shown.
const STEPS: usize = 4;

/// Show how the host is; exit status 1 when it is not as the manifest says
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    daemon: Daemon,
}

pub(super) fn run(args: &Args, screen: &mut Screen<'_>) -> Result<ExitCode, Failure> {
    let reply = args.daemon.connect()?.call("Status", &json!({}))?;
    let status: Status = words::typed(&reply["status"])?;
    let columns = screen.columns;
    screen.show(&reply["status"], || Ok(draw(&status, words::now(), columns)))?;
    Ok(if status.is_well() { ExitCode::SUCCESS } else { ExitCode::from(NOT_SO) })
}

/// The whole picture; `now` in microseconds since 1970.
fn draw(status: &Status, now: u64, columns: usize) -> String {
    let parts = [
        headline(status, now, columns),
        phases(&status.phases, columns),
        segments(status, columns),
        guests(&status.guests, columns),
        drops(status, now, columns),
        refused(status, columns),
        repairs(&status.wakes, now, columns),
        failures(status, columns),
        plan::notices(&status.notices, columns).trim_start().to_owned(),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

fn headline(status: &Status, now: u64, columns: usize) -> String {
    let manifest = &status.manifest;
    let (sign, state) = match (status.ready, manifest.generation) {
        _ if status.teardown => ("◐ ", "a teardown is under way"),
        (true, None) => ("○ ", "no manifest is followed"),
        (true, Some(_)) if status.is_well() => ("● ", "ready"),
        (true, Some(_)) if !status.verified => {
            ("◐ ", "ready, and not all that the manifest says was done and looked at yet")
        }
        (true, Some(_)) => ("◐ ", "ready, and not all is as the manifest says"),
        (false, _) => ("◐ ", "not ready"),
    };
    let generation = match (manifest.generation, manifest.applied_at_us) {
        (Some(number), Some(then)) => format!("generation {number}, applied {}", words::ago(now, then)),
        (Some(number), None) => format!("generation {number}"),
        (None, _) => "no generation is followed".to_owned(),
    };
    let notices = words::count(status.notices.len(), "notice");
    let state = format!("{state}, {notices} · {generation} · bulkheadd {}", status.version);
    let policy = match status.policy_owner {
        Some(Owner::Held) => "policy: the kernel lets nobody else change it",
        Some(Owner::RepairedByEvent) => "policy: others with CAP_NET_ADMIN can change it; an event brings it back",
        None => "policy: not seen to stand yet",
    };
    let mut text = words::hanging(sign, &state, columns) + &words::hanging("  ", policy, columns);
    if manifest.pending {
        let (sign, say) = match manifest.errors.len() {
            0 => ("◐ ", "bulkhead plan shows it, apply applies it".to_owned()),
            _ => ("✗ ", "see below".to_owned()),
        };
        let what = if manifest.generation.is_some() { "was changed since" } else { "is not applied" };
        text += &words::hanging(sign, &format!("the manifest {what}: {say}"), columns);
    }
    for error in &manifest.errors {
        let error = format!("{}:{}:{}: {}", error.file, error.line, error.column, error.message);
        text += &words::hanging("  ", &error, columns);
    }
    text
}

fn phases(phases: &[PhaseTimes], columns: usize) -> String {
    let time = |us: Option<u64>| us.map_or_else(|| "not yet".to_owned(), words::duration);
    let rows = phases.iter().map(|p| [p.phase.as_str().to_owned(), time(p.since_start_us), time(p.since_boot_us)]);
    table(["ready", "after the daemon's start", "after boot"], rows, columns)
}

fn segments(status: &Status, columns: usize) -> String {
    let row = |segment: &Segment| {
        let host = host(segment).unwrap_or_else(|| vec!["invisible".to_owned()]).join("\n");
        let links = format!("{} → {} → {}", segment.trunk, segment.vlan_link, segment.bridge);
        [segment.name.to_string(), segment.vlan.to_string(), links, host, state(segment.state, segment.why.as_deref())]
    };
    let mut text = table(["segment", "vlan", "links", "host", "state"], status.segments.iter().map(row), columns);
    for trunk in status.trunks.iter().filter(|trunk| trunk.state != State::Ready) {
        let trunk = format!("trunk {}: {}", trunk.name, state(trunk.state, trunk.why.as_deref()));
        text += &words::hanging("", &trunk, columns);
    }
    text
}

/// The host's own part of a segment, a line for each address of its bridge and each that is declared and not there; `None` where
/// the manifest gives it none.
pub(super) fn host(segment: &Segment) -> Option<Vec<String>> {
    if segment.declared.is_empty() {
        return None;
    }
    let Some(addresses) = &segment.addresses else { return Some(vec!["unknown".to_owned()]) };
    let missing = segment.declared.iter().filter(|declared| !addresses.contains(declared));
    let missing = missing.map(|declared| format!("{declared} is not there"));
    Some(addresses.iter().map(ToString::to_string).chain(missing).collect())
}

fn state(state: State, why: Option<&str>) -> String {
    let word = match state {
        State::Ready => "ready",
        State::Pending => "pending",
        State::Failed => "failed",
    };
    because(&format!("{} {word}", paint::state(state)), why)
}

fn because(state: &str, why: Option<&str>) -> String {
    why.map_or_else(|| state.to_owned(), |why| format!("{state}: {why}"))
}

fn guests(guests: &[Guest], columns: usize) -> String {
    let row = |guest: &Guest| {
        let (sign, word) = paint::guest(guest);
        let emulated = if guest.accelerated == Some(false) { ", no KVM" } else { "" };
        let size = match (guest.vcpus, guest.memory) {
            (Some(vcpus), Some(memory)) => format!("{vcpus} CPU, {}", words::bytes(memory)),
            _ => "unknown".to_owned(),
        };
        let address = |nic: &bulkhead_api::Nic| {
            let addresses = nic.addresses.iter().map(ToString::to_string);
            std::iter::once(nic.segment.to_string()).chain(addresses).collect::<Vec<_>>().join(" ")
        };
        let nics = guest.nics.iter().map(address).collect::<Vec<_>>().join("\n");
        let state = because(&format!("{sign} {word}{emulated}"), guest.why.as_deref());
        [guest.name.to_string(), state, size, limits(guest), nics]
    };
    table(["guest", "state", "has", "limits", "nics"], guests.iter().map(row), columns)
}

fn limits(guest: &Guest) -> String {
    let line = |limit: &Limit| match (limit.at, &limit.unknown) {
        (_, Some(_)) => Some(format!("{} unknown", limit.control)),
        _ if !limit.holds() => Some(format!("✗ {}: {}", limit.control, limit.text)),
        (Some(_), _) => Some(limit.text.clone()),
        (None, _) => None,
    };
    let lines: Vec<_> = guest.limits.iter().filter_map(line).collect();
    if lines.is_empty() { "none".to_owned() } else { lines.join("\n") }
}

fn drops(status: &Status, now: u64, columns: usize) -> String {
    let dropped = status.counters.iter().filter(|counter| counter.dropped);
    let some = dropped.clone().filter(|counter| counter.packets > 0);
    let rows: Vec<_> = some.map(|c| [c.name.clone(), c.packets.to_string(), words::bytes(c.bytes)]).collect();
    let text = match (status.counted_at_us, dropped.count(), rows.is_empty()) {
        (None, ..) if status.manifest.generation.is_some() => return "What was dropped is not known yet.\n".to_owned(),
        (None, ..) | (_, 0, _) => return String::new(),
        (Some(_), _, true) => "Nothing was dropped.\n".to_owned(),
        (Some(_), _, false) => table(["dropped", "packets", "bytes"], rows.into_iter(), columns),
    };
    text + &words::counted(status.counted_at_us, now)
}

/// Connections that were closed unread; nothing when there were none.
fn refused(status: &Status, columns: usize) -> String {
    let of = |number: u64, what: &str| (number > 0).then(|| format!("{number} {what}"));
    let parts = [
        of(status.refused.strangers, "of users whom the daemon does not serve"),
        of(status.refused.crowded, "of users with too many of them"),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    match parts.len() {
        0 => String::new(),
        _ => words::hanging("", &format!("Connections closed unread: {}.", parts.join(", ")), columns),
    }
}

/// What came by an event or the timer; the first making and an apply are no repairs.
fn repairs(wakes: &[Wake], now: u64, columns: usize) -> String {
    let row = |wake: &Wake| {
        let when = words::ago(now, wake.at_us);
        let mut steps: Vec<String> = wake.repairs.iter().take(STEPS).cloned().collect();
        if wake.repairs.len() > STEPS {
            steps.push(format!("and {} more", wake.repairs.len() - STEPS));
        }
        [when, wake.reason.clone(), words::duration(wake.latency_us), steps.join("\n")]
    };
    let repair = |wake: &&Wake| !wake.repairs.is_empty() && !matches!(wake.reason.as_str(), "start" | "request");
    let last = wakes.iter().rev().filter(repair).take(REPAIRS);
    table(["repaired", "woken by", "within", "steps"], last.map(row), columns)
}

/// Steps of the last plan that did not end well.
fn failures(status: &Status, columns: usize) -> String {
    let mut text = String::new();
    for done in status.report.iter().filter(|done| done.outcome != Ended::Done) {
        let why = done.why.as_deref().unwrap_or_default();
        let sign = format!("{} ", paint::ended(done.outcome));
        text += &words::hanging(&sign, &format!("{}: {}", done.object, done.text), columns);
        for line in words::wrap(why, columns - 4) {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

/// Nothing when there are no rows.
fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>, columns: usize) -> String {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(u16::try_from(columns).unwrap_or(u16::MAX));
    table.set_header(header).add_rows(rows);
    format!("{table}\n")
}

#[cfg(test)]
mod tests {
    use bulkhead_api::{Problem, Refused};

    use super::*;
    use crate::cli::COLUMNS;
    use crate::cli::tests::{NOW, seed};

    #[test]
    fn the_seed_is_drawn_as_in_its_picture() {
        crate::cli::tests::compare(&draw(&seed(), NOW, COLUMNS), "status.txt");
    }

    #[test]
    fn a_daemon_that_has_just_started_says_so() {
        let text = draw(&Status::default(), 0, COLUMNS);
        assert!(text.starts_with("◐ not ready, 0 notices · no generation is followed"), "{text}");
    }

    #[test]
    fn a_host_of_which_not_all_was_looked_at_yet_is_not_green() {
        let text = draw(&Status { verified: false, ..seed() }, NOW, COLUMNS);
        assert!(text.starts_with("◐ ready, and not all that the manifest says was done and looked at yet"), "{text}");
    }

    #[test]
    fn counters_that_are_not_fresh_show_their_age() {
        let mut status = seed();
        assert!(!draw(&status, NOW, COLUMNS).contains("counted"));
        status.counted_at_us = Some(NOW - 42_000_000);
        assert!(draw(&status, NOW, COLUMNS).contains("counted 42 s ago, the daemon was busy when it was asked\n"));
    }

    #[test]
    fn a_host_without_a_manifest_is_not_called_ready() {
        let text = draw(&Status { ready: true, ..Status::default() }, 0, COLUMNS);
        assert!(text.starts_with("○ no manifest is followed, 0 notices"), "{text}");
        assert!(text.contains("policy: not seen to stand yet") && !text.contains("can change it"), "{text}");
    }

    #[test]
    fn a_teardown_is_said_first_and_a_guest_past_its_walls_is_not_green() {
        let mut status = seed();
        status.teardown = true;
        status.guests[0].why = Some("runs with a hostdev".to_owned());
        (status.guests[1].vcpus, status.guests[1].memory) = (None, None);
        let text = draw(&status, NOW, COLUMNS);
        assert!(text.starts_with("◐ a teardown is under way"), "{text}");
        assert!(text.contains("✗ running") && text.contains("unknown"), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut status = seed();
        status.manifest.errors.push(Problem {
            file: "/etc/bulkhead/host.toml".to_owned(),
            line: 3,
            column: 8,
            message: "no such trunk as eth7 is declared in this manifest or in any of its parts".to_owned(),
            help: Vec::new(),
        });
        status.trunks[0].state = State::Pending;
        status.trunks[0].why = Some("eth1 does not exist; its segments are built when it comes".to_owned());
        status.refused = Refused { strangers: 100_000, crowded: 7 };
        status.policy_owner = Some(Owner::RepairedByEvent);
        for columns in [40, 60, 80, 100] {
            for line in draw(&status, NOW, columns).lines() {
                let width = line.chars().count();
                assert!(width <= columns, "{width} columns of {columns}: {line}");
            }
        }
    }

    #[test]
    fn connections_that_were_closed_unread_are_shown() {
        let mut status = seed();
        assert!(!draw(&status, NOW, COLUMNS).contains("unread"));
        status.refused.strangers = 3;
        let text = draw(&status, NOW, COLUMNS);
        assert!(text.contains("Connections closed unread: 3 of users whom the daemon does not serve.\n"), "{text}");
    }

    #[test]
    fn a_host_s_address_that_is_unknown_or_not_there_is_not_called_invisible() {
        let of = |addresses: Option<&[&str]>, declared: &[&str]| {
            let mut segment = seed().segments.swap_remove(0);
            let parse = |all: &[&str]| all.iter().map(|one| one.parse().unwrap()).collect();
            (segment.declared, segment.addresses) = (parse(declared), addresses.map(parse));
            host(&segment).map(|lines| lines.join(", "))
        };
        let both = ["10.0.0.1/24", "fd00::1/64"];
        assert_eq!(of(None, &both).as_deref(), Some("unknown"));
        assert_eq!(of(Some(&both[..1]), &both).as_deref(), Some("10.0.0.1/24, fd00::1/64 is not there"));
        assert_eq!(of(Some(&[]), &both[..1]).as_deref(), Some("10.0.0.1/24 is not there"));
        assert_eq!((of(None, &[]), of(Some(&[]), &[])), (None, None), "invisible, by the manifest");
    }

    #[test]
    fn a_limit_that_is_not_the_manifest_s_is_marked_and_an_unknown_one_named() {
        let mut guest = seed().guests.swap_remove(0);
        let limits = &mut guest.limits;
        (limits[0].at, limits[0].text) = (Some(200 << 20), "200 MiB".to_owned());
        (limits[1].at, limits[1].unknown) = (None, Some("denied".to_owned()));
        (limits[2].at, limits[2].text) = (None, "no limit".to_owned());
        assert_eq!(super::limits(&guest), "✗ memory: 200 MiB\ncpu unknown\n✗ pids: no limit");
    }
}
