//! A table as a value: what the manifest wants of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::rule::{Rule, Verdict};

/// The families that we have a table in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Family {
    /// What bridges forward, and what they give to the host and take from it.
    Bridge,
    /// What the host routes, and what comes to it past the bridge.
    Inet,
    /// ARP that comes to the host past the bridge.
    Arp,
}

impl Family {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Bridge, Self::Inet, Self::Arp];

    /// `NFPROTO_BRIDGE`, `NFPROTO_INET`, `NFPROTO_ARP`.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Bridge => 7,
            Self::Inet => 1,
            Self::Arp => 3,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Inet => "inet",
            Self::Arp => "arp",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where on a packet's way a base chain is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HookPoint {
    Prerouting,
    Input,
    Forward,
    Output,
}

impl HookPoint {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
        }
    }
}

/// What calls a base chain, and when among the chains of that point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hook {
    pub(crate) point: HookPoint,
    pub(crate) priority: i32,
}

/// As nft(8) writes it.
impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type filter hook {} priority {}; policy accept;", self.point.as_str(), self.priority)
    }
}

/// A chain. A base chain accepts by policy, and the last rule of whatever it leads to decides explicitly: a policy is not
/// atomic when a base chain is made anew, a rule is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) hook: Option<Hook>,
    pub(crate) rules: Vec<Rule>,
}

/// The parts of a set's key, as nft's types.
pub(crate) type Key = &'static [&'static str];

/// A named set, or a verdict map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) key: Key,
    pub(crate) verdicts: bool,
    pub(crate) elements: BTreeMap<Vec<String>, Option<Verdict>>,
}

impl Set {
    pub(crate) fn new(key: Key, rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        Self { key, verdicts: false, elements: rows.into_iter().map(|row| (row, None)).collect() }
    }

    pub(crate) fn map(key: Key, rows: impl IntoIterator<Item = (Vec<String>, Verdict)>) -> Self {
        let elements = rows.into_iter().map(|(row, verdict)| (row, Some(verdict))).collect();
        Self { key, verdicts: true, elements }
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) family: Family,
    pub(crate) counters: BTreeSet<String>,
    pub(crate) sets: BTreeMap<&'static str, Set>,
    pub(crate) chains: BTreeMap<String, Chain>,
}

impl Table {
    pub(crate) fn new(family: Family) -> Self {
        Self { family, counters: BTreeSet::new(), sets: BTreeMap::new(), chains: BTreeMap::new() }
    }

    pub(crate) fn base(&mut self, name: &str, point: HookPoint, priority: i32, rules: Vec<Rule>) {
        self.chains.insert(name.to_owned(), Chain { hook: Some(Hook { point, priority }), rules });
    }

    pub(crate) fn chain(&mut self, name: &str, rules: Vec<Rule>) {
        self.chains.insert(name.to_owned(), Chain { hook: None, rules });
    }
}
