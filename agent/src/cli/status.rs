//! `bulkhead status`: the host at a glance.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use bulkhead_api::{Client, Counter, Ended, Guest, Owner, PhaseTimes, Segment, State, Status, Wake};
use comfy_table::{ContentArrangement, ContentLineStyle, LineStyle, Table, TableStyle};
use serde_json::json;

use super::failure::{Failure, NOT_SO};
use super::{Screen, paint, plan, words};

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
pub(super) struct Args {}

pub(super) fn run(
    _: &Args,
    connect: impl FnOnce() -> Result<Client, Failure>,
    screen: &mut Screen<'_>,
) -> Result<ExitCode, Failure> {
    let reply = connect()?.call("Status", &json!({}))?;
    let status: Status = words::typed(&reply["status"])?;
    // A clock before 1970 makes every age "just now", which is as good as any other.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
    screen.show(&reply["status"], || Ok(draw(&status, now)))?;
    Ok(if well(&status) { ExitCode::SUCCESS } else { ExitCode::from(NOT_SO) })
}

/// As the manifest says, as far as it can be: what is pending waits for somebody else.
fn well(status: &Status) -> bool {
    status.ready
        && status.trunks.iter().all(|trunk| trunk.state != State::Failed)
        && status.segments.iter().all(|segment| segment.state != State::Failed)
        && status.report.iter().all(|done| done.outcome == Ended::Done)
}

/// The whole picture; `now` in microseconds since 1970.
fn draw(status: &Status, now: u64) -> String {
    let parts = [
        headline(status, now),
        phases(&status.phases),
        segments(status),
        guests(&status.guests),
        drops(&status.counters),
        repairs(&status.wakes, now),
        failures(status),
        plan::notices(&status.notices).trim_start().to_owned(),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

fn headline(status: &Status, now: u64) -> String {
    let manifest = &status.manifest;
    let state = if status.ready { "● ready" } else { "◐ not ready" };
    let generation = match (manifest.generation, manifest.applied_at_us) {
        (Some(number), Some(then)) => format!("generation {number}, applied {}", words::ago(now, then)),
        (Some(number), None) => format!("generation {number}"),
        (None, _) => "nothing applied yet".to_owned(),
    };
    let notices = words::count(status.notices.len(), "notice");
    let mut text = format!("{state}, {notices} · {generation} · bulkheadd {}\n", status.version);
    text += match status.policy_owner {
        Owner::Held => "  policy: the kernel lets nobody else change it\n",
        Owner::RepairedByEvent => "  policy: others with CAP_NET_ADMIN can change it; an event brings it back\n",
    };
    if manifest.pending {
        let (sign, say) = match manifest.errors.len() {
            0 => ('◐', "bulkhead plan shows it, apply applies it".to_owned()),
            errors => ('✗', format!("it has {}: bulkhead check", words::count(errors, "error"))),
        };
        let what = if manifest.generation.is_some() { "was changed since" } else { "is not applied" };
        let _ = writeln!(text, "{sign} the manifest {what}: {say}");
    }
    for error in &manifest.errors {
        let _ = writeln!(text, "  {}:{}:{}: {}", error.file, error.line, error.column, error.message);
    }
    text
}

fn phases(phases: &[PhaseTimes]) -> String {
    let time = |us: Option<u64>| us.map_or_else(|| "not yet".to_owned(), words::duration);
    let rows = phases.iter().map(|p| [p.phase.as_str().to_owned(), time(p.since_start_us), time(p.since_boot_us)]);
    table(["ready", "after the daemon's start", "after boot"], rows)
}

fn segments(status: &Status) -> String {
    let row = |segment: &Segment| {
        let host = match segment.addresses.as_slice() {
            [] => "invisible".to_owned(),
            some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        };
        let links = format!("{} → {} → {}", segment.trunk, segment.vlan_link, segment.bridge);
        [segment.name.to_string(), segment.vlan.to_string(), links, host, state(segment.state, segment.why.as_deref())]
    };
    let mut text = table(["segment", "vlan", "links", "host", "state"], status.segments.iter().map(row));
    for trunk in status.trunks.iter().filter(|trunk| trunk.state != State::Ready) {
        let _ = writeln!(text, "trunk {}: {}", trunk.name, state(trunk.state, trunk.why.as_deref()));
    }
    text
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

fn guests(guests: &[Guest]) -> String {
    let row = |guest: &Guest| {
        let (sign, word) = paint::guest(guest.state);
        let emulated = if guest.accelerated == Some(false) { ", no KVM" } else { "" };
        let size = format!("{} CPU, {}", guest.vcpus, words::bytes(guest.memory));
        let address = |nic: &bulkhead_api::Nic| {
            let addresses = nic.addresses.iter().map(ToString::to_string);
            std::iter::once(nic.segment.to_string()).chain(addresses).collect::<Vec<_>>().join(" ")
        };
        let nics = guest.nics.iter().map(address).collect::<Vec<_>>().join("\n");
        let state = because(&format!("{sign} {word}{emulated}"), guest.why.as_deref());
        [guest.name.to_string(), state, size, limits(guest), nics]
    };
    table(["guest", "state", "has", "limits", "nics"], guests.iter().map(row))
}

fn limits(guest: &Guest) -> String {
    let limits = guest.limits;
    // Hundredths of a CPU are as fine as anybody sets them.
    let cpu = |us: u64| match (us / 1_000_000, us % 1_000_000 / 10_000) {
        (whole, 0) => format!("{whole} CPU"),
        (whole, hundredths) => format!("{whole}.{hundredths:02} CPU"),
    };
    let parts = [limits.memory.map(words::bytes), limits.cpu.map(cpu), limits.pids.map(|n| format!("{n} tasks"))];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join("\n") }
}

fn drops(counters: &[Counter]) -> String {
    let dropped = counters.iter().filter(|counter| counter.dropped);
    let some = dropped.clone().filter(|counter| counter.packets > 0);
    let rows: Vec<_> = some.map(|c| [c.name.clone(), c.packets.to_string(), words::bytes(c.bytes)]).collect();
    match (dropped.count(), rows.is_empty()) {
        (0, _) => String::new(),
        (_, true) => "Nothing was dropped.\n".to_owned(),
        (_, false) => table(["dropped", "packets", "bytes"], rows.into_iter()),
    }
}

/// What came by an event or the timer; the first making and an apply are no repairs.
fn repairs(wakes: &[Wake], now: u64) -> String {
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
    table(["repaired", "woken by", "within", "steps"], last.map(row))
}

/// Steps of the last plan that did not end well.
fn failures(status: &Status) -> String {
    let mut text = String::new();
    for done in status.report.iter().filter(|done| done.outcome != Ended::Done) {
        let why = done.why.as_deref().unwrap_or_default();
        let _ = writeln!(text, "{} {}: {}", paint::ended(done.outcome), done.object, done.text);
        for line in words::wrap(why, words::COLUMNS - 4) {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

/// Nothing when there are no rows.
fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(u16::try_from(words::COLUMNS).unwrap_or(80));
    table.set_header(header).add_rows(rows);
    format!("{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::seed;

    #[test]
    fn the_seed_is_drawn_as_in_its_picture() {
        crate::cli::tests::compare(&draw(&seed(), 1_800_000_125_000_000), "status.txt");
    }

    #[test]
    fn a_daemon_that_has_just_started_says_so() {
        let text = draw(&Status::default(), 0);
        assert!(text.starts_with("◐ not ready, 0 notices · nothing applied yet"), "{text}");
    }

    #[test]
    fn a_failed_segment_is_not_well_and_a_pending_one_is() {
        let mut status = seed();
        assert!(well(&status));
        status.segments[0].state = State::Pending;
        assert!(well(&status));
        status.segments[0].state = State::Failed;
        assert!(!well(&status));
    }
}
