//! The ruleset as a text, in the form in which nft lists and loads one.

use std::collections::BTreeSet;
use std::fmt;

use crate::model::{Desired, Observed, TABLE};
use crate::rules;
use crate::table::{Chain, Set, Table};
use crate::zones;

/// The tables that are wanted where the kernel has none yet, as `nft list ruleset` orders them and `nft -f` takes them. The
/// tables' flags are left out, since the kernel decides about them. Empty where there is no bridge.
#[must_use]
pub fn text(desired: &Desired) -> String {
    let zones = zones::allot(&desired.bridges, &Observed::default());
    rules::tables(desired, &BTreeSet::new(), &zones).iter().map(ToString::to_string).collect()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {TABLE} {{", self.family)?;
        for counter in &self.counters {
            writeln!(f, "\tcounter {counter} {{\n\t}}\n")?;
        }
        for (name, set) in &self.sets {
            write_set(f, name, set)?;
        }
        for (name, chain) in &self.chains {
            write_chain(f, name, chain)?;
        }
        f.write_str("}\n")
    }
}

fn write_set(f: &mut fmt::Formatter<'_>, name: &str, set: &Set) -> fmt::Result {
    let (kind, verdict) = if set.verdicts { ("map", " : verdict") } else { ("set", "") };
    writeln!(f, "\t{kind} {name} {{\n\t\ttype {}{verdict}", set.key.join(" . "))?;
    for (at, (key, to)) in set.elements.iter().enumerate() {
        f.write_str(if at == 0 { "\t\telements = { " } else { ",\n\t\t\t     " })?;
        let parts: Vec<String> = set.key.iter().zip(key).map(|(kind, part)| element(kind, part)).collect();
        f.write_str(&parts.join(" . "))?;
        if let Some(to) = to {
            write!(f, " : {to}")?;
        }
    }
    f.write_str(if set.elements.is_empty() { "\t}\n\n" } else { " }\n\t}\n\n" })
}

/// A part of a key; names of interfaces stand in quotes, since some of them are words of nft's own.
fn element(kind: &str, part: &str) -> String {
    if kind == "ifname" { format!("\"{part}\"") } else { part.to_owned() }
}

fn write_chain(f: &mut fmt::Formatter<'_>, name: &str, chain: &Chain) -> fmt::Result {
    writeln!(f, "\tchain {name} {{")?;
    if let Some(hook) = &chain.hook {
        writeln!(f, "\t\t{hook}")?;
    }
    for rule in &chain.rules {
        writeln!(f, "\t\t{rule}")?;
    }
    f.write_str("\t}\n\n")
}
