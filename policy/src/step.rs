//! The writes that a plan is made of.

use std::fmt;

use bulkhead_types::Object;
use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::rule::{Rule, Verdict, list};
use crate::table::{Family, Hook, Key};

/// One command of a transaction. Shown in the words of nft(8), so that a reader can say the same by hand.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub(crate) family: Family,
    pub(crate) table: &'static str,
    pub(crate) change: Change,
}

/// What a step does to its table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// Makes it, or claims it if it is there without an owner.
    AddTable {
        owned: bool,
    },
    DeleteTable,
    AddCounter {
        name: String,
    },
    DeleteCounter {
        name: String,
    },
    AddSet {
        name: String,
        key: Key,
        verdicts: bool,
    },
    AddElements {
        name: String,
        elements: Vec<(Vec<String>, Option<Verdict>)>,
    },
    DeleteElements {
        name: String,
        elements: Vec<Vec<String>>,
    },
    AddChain {
        name: String,
        hook: Option<Hook>,
    },
    FlushChain {
        name: String,
    },
    DeleteChain {
        name: String,
    },
    AddRule {
        chain: String,
        rule: Rule,
    },
    /// Something that we never make, of any kind.
    DeleteObject {
        kind: String,
        name: String,
    },
}

impl Change {
    const fn verb(&self) -> &'static str {
        match self {
            Self::AddTable { .. } => "add table",
            Self::DeleteTable => "delete table",
            Self::AddCounter { .. } => "add counter",
            Self::DeleteCounter { .. } => "delete counter",
            Self::AddSet { verdicts: false, .. } => "add set",
            Self::AddSet { verdicts: true, .. } => "add map",
            Self::AddElements { .. } => "add element",
            Self::DeleteElements { .. } => "delete element",
            Self::AddChain { .. } => "add chain",
            Self::FlushChain { .. } => "flush chain",
            Self::DeleteChain { .. } => "delete chain",
            Self::AddRule { .. } => "add rule",
            Self::DeleteObject { .. } => "delete",
        }
    }
}

/// All steps are the policy's: they stand or fall together, and nothing starts before they stand.
impl bulkhead_types::Step for Step {
    fn object(&self) -> Object {
        Object::Policy
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, table, change } = self;
        if let Change::DeleteObject { kind, name } = change {
            return write!(f, "delete {kind} {family} {table} {name}");
        }
        write!(f, "{} {family} {table}", change.verb())?;
        match change {
            Change::AddTable { owned: true } => f.write_str(" { flags owner,persist; }"),
            Change::AddTable { owned: false } | Change::DeleteTable | Change::DeleteObject { .. } => Ok(()),
            Change::AddCounter { name }
            | Change::DeleteCounter { name }
            | Change::FlushChain { name }
            | Change::DeleteChain { name }
            | Change::AddChain { name, hook: None } => write!(f, " {name}"),
            Change::AddSet { name, key, verdicts } => {
                let verdict = if *verdicts { " : verdict" } else { "" };
                write!(f, " {name} {{ type {}{verdict}; }}", key.join(" . "))
            }
            Change::AddElements { name, elements } => {
                let row = |(key, verdict): &(Vec<String>, Option<Verdict>)| match verdict {
                    Some(verdict) => format!("{} : {verdict}", key.join(" . ")),
                    None => key.join(" . "),
                };
                write!(f, " {name} {{ {} }}", list(&elements.iter().map(row).collect::<Vec<_>>(), ", "))
            }
            Change::DeleteElements { name, elements } => {
                let rows: Vec<String> = elements.iter().map(|key| key.join(" . ")).collect();
                write!(f, " {name} {{ {} }}", rows.join(", "))
            }
            Change::AddChain { name, hook: Some(hook) } => write!(f, " {name} {{ {hook} }}"),
            Change::AddRule { chain, rule } => write!(f, " {chain} {rule}"),
        }
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut step = serializer.serialize_struct("Step", 2)?;
        step.serialize_field("step", &self.change.verb().replace(' ', "-"))?;
        step.serialize_field("command", &self.to_string())?;
        step.end()
    }
}
