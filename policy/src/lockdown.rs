//! The file that closes our bridges before the daemon runs.

use crate::model::{Desired, LOCKDOWN_TABLE};

/// Before any other chain of ours: a drop in any table is final, so that the order matters only for what is counted.
const PRIORITY: i32 = -310;

/// The text of `lockdown.nft`, for `nft -f`. Loading it twice is loading it once; without bridges it only takes away what an
/// earlier one made.
#[must_use]
pub fn text(desired: &Desired) -> String {
    let mut text = format!(
        "# Closes the bridges of the last applied manifest until bulkheadd commits its policy and removes this table.\n\
         table bridge {LOCKDOWN_TABLE} {{}}\ndelete table bridge {LOCKDOWN_TABLE}\n"
    );
    let mut names: Vec<String> = desired.bridges.iter().map(|bridge| format!("\"{}\"", bridge.name)).collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return text;
    }
    text.push_str(&format!(
        "table bridge {LOCKDOWN_TABLE} {{\n\tset bridges {{\n\t\ttype ifname\n\t\telements = {{ {} }}\n\t}}\n",
        names.join(", ")
    ));
    for (hook, field) in
        [("prerouting", "ibrname"), ("forward", "ibrname"), ("input", "ibrname"), ("output", "obrname")]
    {
        text.push_str(&format!(
            "\tchain {hook} {{\n\t\ttype filter hook {hook} priority {PRIORITY}; policy accept;\n\t\tmeta {field} @bridges drop\n\t}}\n"
        ));
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Bridge;

    #[test]
    fn the_file_names_our_bridges_and_nothing_else() {
        let bridge = |name: &str| Bridge {
            segment: None,
            name: name.parse().unwrap(),
            outside: "vlan20".parse().unwrap(),
            mac: "52:54:00:00:00:20".parse().unwrap(),
            host: true,
            addresses: Vec::new(),
        };
        let desired = Desired { bridges: vec![bridge("br30"), bridge("br20")], ..Desired::default() };
        let text = text(&desired);
        assert!(text.contains("elements = { \"br20\", \"br30\" }"), "{text}");
        assert_eq!(text.matches("policy accept;").count(), 4);
        assert_eq!(text.matches("@bridges drop").count(), 4);
    }

    #[test]
    fn without_bridges_an_earlier_table_is_only_taken_away() {
        let text = text(&Desired::default());
        assert!(text.ends_with("table bridge bulkhead_lockdown {}\ndelete table bridge bulkhead_lockdown\n"), "{text}");
    }
}
