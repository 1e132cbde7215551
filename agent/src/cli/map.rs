//! `bulkhead map`: trunk, segments and guests as a picture, and who may talk to whom.
//!
//! Everything fits the terminal; what does not is cut with an ellipsis, or goes on in the next line.

use std::fmt::Write as _;
use std::process::ExitCode;

use bulkhead_api::{Allow, Guest, GuestState, Nic, Segment, State, Status};
use bulkhead_types::IfName;
use serde_json::json;

use super::failure::Failure;
use super::words::{cut, hanging, traffic, wrap};
use super::{Daemon, Screen, paint, status, words};

/// Columns of a segment's box that are the rail, the frame and its spaces.
const FRAME: usize = 8;
/// A name is rarely longer.
const NAME: usize = 17;
/// An IPv4 address is never longer.
const ADDRESS: usize = 15;

/// Draw trunks, segments and guests, and who may talk to whom
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
    Ok(ExitCode::SUCCESS)
}

/// The whole picture; `now` in microseconds since 1970.
fn draw(status: &Status, now: u64, columns: usize) -> String {
    let mut text = String::new();
    for trunk in trunks(status) {
        text += &draw_trunk(status, trunk, columns);
        text.push('\n');
    }
    if status.manifest.generation.is_none() {
        return "No manifest is followed: nothing of Bulkhead is on this host to be drawn.\n".to_owned();
    }
    if status.segments.is_empty() {
        text += "The manifest has no segment.\n\n";
    }
    text + &allows(status, columns) + &drops(status) + &words::counted(status.counted_at_us, now)
}

/// Each trunk once, in the order in which segments name it.
fn trunks(status: &Status) -> Vec<&IfName> {
    let mut trunks: Vec<&IfName> = Vec::new();
    for name in status.trunks.iter().map(|t| &t.name).chain(status.segments.iter().map(|s| &s.trunk)) {
        if !trunks.contains(&name) {
            trunks.push(name);
        }
    }
    trunks
}

fn draw_trunk(status: &Status, name: &IfName, columns: usize) -> String {
    let known = status.trunks.iter().find(|trunk| trunk.name == *name);
    let sign = known.map_or('◌', |trunk| paint::state(trunk.state));
    let why = known.and_then(|trunk| trunk.why.as_deref()).map(|why| format!(": {why}")).unwrap_or_default();
    let mut text = format!("{}\n", cut(&format!("{sign} {name}{why}"), columns));
    let segments: Vec<_> = status.segments.iter().filter(|segment| segment.trunk == *name).collect();
    for (at, segment) in segments.iter().enumerate() {
        text += "║\n";
        text += &draw_segment(status, segment, columns - FRAME, at + 1 == segments.len());
    }
    text
}

/// A box with so many columns inside that hangs on the trunk's rail; the rail ends at the last.
fn draw_segment(status: &Status, segment: &Segment, inner: usize, last: bool) -> String {
    let (branch, rail) = if last { ('╚', ' ') } else { ('╠', '║') };
    let vlan = format!(" VLAN {} ", segment.vlan);
    let title = cut(&format!(" {} {} ", paint::state(segment.state), segment.name), inner - vlan.len() - 2);
    let line = "─".repeat(inner - title.chars().count() - vlan.len());
    let mut text = format!("║  ╭─{title}{line}{vlan}─╮\n");
    for (at, inside) in inside(status, segment, inner).iter().enumerate() {
        let (frame, rail) = if at == 0 { (format!("{branch}══╡"), "") } else { (format!("{rail}  │"), "") };
        let _ = writeln!(text, "{frame}{rail} {inside:<inner$} │");
    }
    let _ = writeln!(text, "{rail}  ╰{}╯", "─".repeat(inner + 2));
    text
}

/// The lines in a segment's box: its links and the host, then its guests as branches of the bridge.
fn inside(status: &Status, segment: &Segment, inner: usize) -> Vec<String> {
    let on = |guest: &'_ Guest| guest.nics.clone().into_iter().filter(|nic| nic.bridge == segment.bridge);
    let rows: Vec<_> = status.guests.iter().flat_map(|guest| on(guest).map(move |nic| (guest, nic))).collect();
    let mut left = format!("{} ── {}", segment.vlan_link, segment.bridge);
    let mut lines = Vec::new();
    for text in host(segment) {
        let mut width = inner.saturating_sub(left.chars().count());
        if width <= text.chars().count() {
            lines.push(cut(&left, inner));
            (left, width) = (String::new(), inner);
        }
        lines.push(format!("{left}{:>width$}", cut(&text, width)));
        left = if rows.is_empty() { String::new() } else { "│".to_owned() };
    }
    let why = segment.why.as_deref().filter(|_| segment.state != State::Ready).unwrap_or_default();
    lines.extend(wrap(why, inner - 2).into_iter().map(|line| format!("{left:<1} {line}")));
    let name = status.guests.iter().map(|guest| guest.name.as_str().len()).max().unwrap_or(0).min(NAME);
    for (at, (guest, nic)) in rows.iter().enumerate() {
        lines.extend(draw_nic(guest, nic, name, inner, at + 1 == rows.len()));
    }
    if rows.is_empty() {
        lines.push("no guests".to_owned());
    }
    lines
}

/// Never empty.
fn host(segment: &Segment) -> Vec<String> {
    let Some(addresses) = status::host(segment) else { return vec!["the host is invisible here".to_owned()] };
    let addresses = addresses.into_iter().map(|address| format!("host {address}"));
    let gateways = segment.gateways.iter().flatten().map(|gateway| format!("default route via {gateway}"));
    addresses.chain(gateways).collect()
}

/// One line where it fits; else the name alone, and below it what fits.
fn draw_nic(guest: &Guest, nic: &Nic, width: usize, inner: usize, last: bool) -> Vec<String> {
    let (branch, rail) = if last { ('╰', ' ') } else { ('├', '│') };
    let (sign, word) = paint::guest(guest);
    let dhcp = if nic.dhcp { "dhcp " } else { "" };
    let word = if guest.state == GuestState::Running && guest.why.is_none() { "" } else { word };
    let mut addresses: Vec<_> = nic.addresses.iter().map(ToString::to_string).collect();
    let fits = addresses.first().is_some_and(|address| address.len() <= ADDRESS);
    let first = if fits { addresses.remove(0) } else { String::new() };
    let name = cut(guest.name.as_str(), width);
    let row = format!("{branch}─ {sign} {name:<width$}  {first:<ADDRESS$}  {}  {dhcp}{word}", nic.mac);
    let indent = width + 7;
    if row.trim_end().chars().count() > inner || addresses.iter().any(|address| indent + address.len() > inner) {
        let all = nic.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let below = wrap(&format!("{all} {} {dhcp}{word}", nic.mac), inner - 5);
        let below = below.into_iter().map(|line| format!("{rail:<5}{line}"));
        return std::iter::once(format!("{branch}─ {sign} {name}")).chain(below).collect();
    }
    let rest = addresses.into_iter().map(|address| format!("{rail:<indent$}{address}"));
    std::iter::once(row.trim_end().to_owned()).chain(rest).collect()
}

fn allows(status: &Status, columns: usize) -> String {
    let allows = &status.allows;
    let mut text = hanging("", "Who may talk to whom; everything else is dropped", columns) + "\n";
    if allows.is_empty() {
        return text + "  nobody\n";
    }
    let used = |allow: &Allow| match (status.counted_at_us, allow.packets) {
        (None, _) => "not counted".to_owned(),
        (_, 0) => "unused".to_owned(),
        (_, packets) => traffic(packets, allow.bytes),
    };
    let widest = |of: fn(&Allow) -> usize| allows.iter().map(of).max().unwrap_or(0);
    let from = widest(|a| a.from.len()).min(22);
    let to = widest(|a| a.to.len()).min(22);
    let counted = allows.iter().map(|a| used(a).chars().count()).max().unwrap_or(0);
    // "  FROM ── WHAT ──▶ TO  COUNTED"
    let taken = from + to + counted + 14;
    if taken > columns {
        return text + &narrow(allows, used, columns);
    }
    let room = columns - taken;
    let what = allows.iter().map(|a| a.what.chars().count()).filter(|width| *width <= room).max().unwrap_or(0);
    for allow in allows {
        let inline = allow.what.chars().count() <= what;
        let label = if inline { format!(" {} ", allow.what) } else { String::new() };
        let arrow = format!("──{label:─<width$}──▶", width = what + 2);
        let ends = (cut(&allow.from, from), cut(&allow.to, to));
        let left = format!("  {:<from$} {arrow} {:<to$}", ends.0, ends.1);
        let width = (columns - 1).saturating_sub(left.chars().count());
        let _ = writeln!(text, "{left}{:>width$}", used(allow));
        if !inline {
            let indent = from + 6;
            for line in wrap(&allow.what, columns.saturating_sub(indent)) {
                let _ = writeln!(text, "{:indent$}{line}", "");
            }
        }
    }
    text
}

/// Allows where they have no place side by side with what they let through.
fn narrow(allows: &[Allow], used: impl Fn(&Allow) -> String, columns: usize) -> String {
    let mut text = String::new();
    for allow in allows {
        text += &hanging("  ", &format!("{} ──▶ {}", allow.from, allow.to), columns);
        text += &hanging("      ", &format!("{}, {}", allow.what, used(allow)), columns);
    }
    text
}

fn drops(status: &Status) -> String {
    let dropped = status.counters.iter().filter(|counter| counter.dropped);
    let (packets, octets) = dropped.fold((0, 0), |(p, b), counter| (p + counter.packets, b + counter.bytes));
    match packets {
        0 => String::new(),
        _ => format!("\n  ✗ dropped {}\n", traffic(packets, octets)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::COLUMNS;
    use crate::cli::tests::{NOW, compare, seed};

    #[test]
    fn the_seed_is_drawn_as_in_its_picture() {
        compare(&draw(&seed(), NOW, COLUMNS), "map.txt");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_whatever_the_names() {
        let mut status = seed();
        status.guests[0].name = "a-guest-with-a-name-of-exactly-48-characters-aaa".parse().unwrap();
        status.guests[0].state = GuestState::Stopping;
        status.guests[0].nics[0].addresses.push("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap());
        status.segments[0].name = "s".repeat(48).parse().unwrap();
        status.segments[0].state = State::Failed;
        status.segments[0].why = Some("w".repeat(200));
        status.segments[0].vlan_link = "vlan-of-15-char".parse().unwrap();
        status.trunks[0].why = Some("t".repeat(200));
        status.allows[0].from = format!("guest.{}", "f".repeat(48));
        status.allows[0].what =
            "tcp 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21".to_owned();
        status.allows[1].packets = 999_999_999_999;
        status.allows[1].bytes = u64::MAX;
        for status in [status, seed()] {
            for columns in [40, 60, 80, 100] {
                for line in draw(&status, NOW, columns).lines() {
                    let width = line.chars().count();
                    assert!(width <= columns, "{width} columns of {columns}: {line}");
                }
            }
        }
    }

    #[test]
    fn an_empty_host_has_a_map_too() {
        let manifest = bulkhead_api::Manifest { generation: Some(1), ..Default::default() };
        let text = draw(&Status { manifest, ..Status::default() }, NOW, COLUMNS);
        assert!(text.contains("no segment") && text.contains("nobody"), "{text}");
        let text = draw(&Status::default(), NOW, COLUMNS);
        assert!(text.contains("No manifest is followed") && !text.contains("dropped"), "{text}");
    }

    #[test]
    fn what_was_never_counted_is_not_called_unused() {
        let text = draw(&Status { counted_at_us: None, ..seed() }, NOW, COLUMNS);
        assert!(text.contains("not counted") && !text.contains("unused"), "{text}");
    }
}
