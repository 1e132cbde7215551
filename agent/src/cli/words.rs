//! Numbers and texts as people read them.

use std::time::SystemTime;

use bulkhead_api::{client, microseconds};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::Failure;

/// Microseconds. The daemon asks for counters for half a second, and they may be a quarter old.
const FRESH: u64 = 2_000_000;

/// Bytes with a binary unit: `512 MiB`, `1.5 KiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = (63 - bytes.max(1).leading_zeros() as usize) / 10;
    let size = 1u64 << (unit * 10);
    let (whole, tenth) = (bytes / size, (bytes % size) * 10 / size.max(1));
    match tenth {
        0 => format!("{whole} {}", UNITS[unit]),
        _ => format!("{whole}.{tenth} {}", UNITS[unit]),
    }
}

/// Microseconds as a duration: `850 µs`, `12.3 ms`, `2.14 s`, `3 min 4 s`, `2 h 5 min`, `3 d 4 h`.
pub(super) fn duration(us: u64) -> String {
    let seconds = us / 1_000_000;
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        1_000_000..60_000_000 => format!("{seconds}.{:02} s", us % 1_000_000 / 10_000),
        60_000_000..3_600_000_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600_000_000..86_400_000_000 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// The time, in microseconds since 1970. A clock before that makes every age "just now", which is as good as any other.
pub(super) fn now() -> u64 {
    microseconds(SystemTime::now())
}

/// How long before `now` something was, both in microseconds since 1970. Clocks are set, so it may be later than now.
pub(super) fn ago(now: u64, then: u64) -> String {
    match now.saturating_sub(then) / 1_000_000 {
        0 => "just now".to_owned(),
        seconds @ 1..60 => format!("{seconds} s ago"),
        seconds => format!("{} ago", duration(seconds * 1_000_000)),
    }
}

/// The age of counters that are older than a question takes; nothing when they are fresh, or were never read.
pub(super) fn counted(at: Option<u64>, now: u64) -> String {
    match at {
        Some(at) if now.saturating_sub(at) >= FRESH => {
            format!("  counted {}, the daemon was busy when it was asked\n", ago(now, at))
        }
        _ => String::new(),
    }
}

/// `1 step`, `3 steps`.
pub(super) fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Packets and bytes of a counter; from a million on the packets are rounded down.
pub(super) fn traffic(packets: u64, octets: u64) -> String {
    let s = if packets == 1 { "" } else { "s" };
    let number = match packets {
        0..1_000_000 => packets.to_string(),
        1_000_000..1_000_000_000 => format!("{} M", packets / 1_000_000),
        _ => format!("{} G", packets / 1_000_000_000),
    };
    format!("{number} packet{s} · {}", bytes(octets))
}

/// At most `width` characters, the last of them an ellipsis where something is missing.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// The words of a text in lines of at most `width` characters; a longer word stands alone and is cut.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(cut(word, width)),
        }
    }
    lines
}

/// A text in lines of at most `width` characters, all but the first under the text of the first: its sign stands out.
pub(super) fn hanging(sign: &str, text: &str, width: usize) -> String {
    let indent = sign.chars().count();
    let mut lines = String::new();
    for (number, line) in wrap(text, width.saturating_sub(indent)).iter().enumerate() {
        let before = if number == 0 { sign } else { "" };
        lines += &format!("{before:<indent$}{line}\n");
    }
    lines
}

/// Without control characters but the line feed: the names of foreign interfaces reach us, and the kernel lets them hold
/// bytes that a terminal obeys.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// A reply as its type, every text of it clean.
pub(super) fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    let mut value = value.clone();
    clean_all(&mut value);
    serde_json::from_value(value).map_err(|error| client::Error::Reply(error.to_string()).into())
}

fn clean_all(value: &mut Value) {
    match value {
        Value::String(text) => *text = clean(text),
        Value::Array(list) => list.iter_mut().for_each(clean_all),
        Value::Object(fields) => fields.values_mut().for_each(clean_all),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        let sizes = [0, 1023, 1024, 1536, 512 << 20, 768 << 20, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1 KiB", "1.5 KiB", "512 MiB", "768 MiB", "15.9 EiB"]);
        let times = [0, 999, 12_345, 2_149_999, 184_000_000, 7_500_000_000, 273_600_000_000].map(duration);
        assert_eq!(times, ["0 µs", "999 µs", "12.3 ms", "2.14 s", "3 min 4 s", "2 h 5 min", "3 d 4 h"]);
        assert_eq!([ago(5, 9), ago(61_000_000, 1), ago(9_000_000, 0)], ["just now", "1 min 0 s ago", "9 s ago"]);
    }

    #[test]
    fn many_packets_are_rounded() {
        assert_eq!(traffic(1, 60), "1 packet · 60 B");
        assert_eq!(traffic(2_900_000, 1 << 20), "2 M packets · 1 MiB");
    }

    #[test]
    fn a_text_is_wrapped_between_words_and_cut_within_one() {
        assert_eq!(wrap("one two three fourteenth", 8), ["one two", "three", "fourtee…"]);
        assert_eq!(wrap("", 8), Vec::<String>::new());
    }

    #[test]
    fn what_a_terminal_would_obey_is_replaced() {
        let value = serde_json::json!([{ "name": "eth\u{1b}[2J\u{9b}" }]);
        let clean: Value = typed(&value).unwrap();
        assert_eq!(clean[0]["name"], "eth\u{fffd}[2J\u{fffd}");
    }
}
