//! Colour, and the signs that carry it. Text is laid out without colour and painted afterwards, so that no width counts it.

use bulkhead_api::{Ended, Guest, GuestState, State};
use bulkhead_types::Cause;

const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const CYAN: &str = "\x1b[36m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// The signs and their colours.
const SIGNS: &[(char, &str)] = &[
    ('●', GREEN),
    ('✓', GREEN),
    ('◐', YELLOW),
    ('▲', YELLOW),
    ('✗', RED),
    ('■', RED),
    ('○', DIM),
    ('◌', DIM),
    ('–', DIM),
    ('▶', CYAN),
];

/// Paints, or does not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint(bool);

impl Paint {
    pub(super) const fn new(color: bool) -> Self {
        Self(color)
    }

    /// For those who paint by themselves.
    pub(super) const fn colors(self) -> bool {
        self.0
    }

    /// Gives every sign its colour.
    pub(super) fn glyphs(self, text: &str) -> String {
        if !self.0 {
            return text.to_owned();
        }
        let mut painted = String::with_capacity(text.len() * 2);
        for c in text.chars() {
            match SIGNS.iter().find(|(sign, _)| *sign == c) {
                Some((_, color)) => {
                    painted.push_str(color);
                    painted.push(c);
                    painted.push_str(RESET);
                }
                None => painted.push(c),
            }
        }
        painted
    }
}

/// The sign of a link's state.
pub(super) const fn state(state: State) -> char {
    match state {
        State::Ready => '●',
        State::Pending => '◐',
        State::Failed => '✗',
    }
}

/// The sign of a guest's state, and its word. One that runs and says why it should not breaks its walls.
pub(super) const fn guest(guest: &Guest) -> (char, &'static str) {
    match guest.state {
        GuestState::Running if guest.why.is_some() => ('✗', "running past its walls"),
        GuestState::Running => ('●', "running"),
        GuestState::Paused => ('◐', "paused"),
        GuestState::Stopped => ('○', "stopped"),
        GuestState::Held => ('◐', "held"),
        GuestState::Stopping => ('◐', "stopping"),
        GuestState::Unknown => ('◌', "unknown"),
    }
}

/// The sign of a step's end.
pub(super) const fn ended(ended: Ended) -> char {
    match ended {
        Ended::Done => '✓',
        Ended::Failed => '✗',
        Ended::Skipped => '–',
    }
}

/// The sign of a notice, and its word.
pub(super) const fn cause(cause: Cause) -> (char, &'static str) {
    match cause {
        Cause::Pending => ('◐', "pending"),
        Cause::Clash => ('✗', "clash"),
        Cause::Foreign => ('▲', "foreign"),
        Cause::Unsupported => ('▲', "unsupported"),
        Cause::Held => ('■', "held"),
        Cause::Violation => ('✗', "violation"),
        Cause::Unknown => ('◐', "unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_signs_are_painted_and_only_if_asked() {
        assert_eq!(Paint::new(false).glyphs("● lan"), "● lan");
        assert_eq!(Paint::new(true).glyphs("● lan"), "\x1b[32m●\x1b[0m lan");
    }
}
