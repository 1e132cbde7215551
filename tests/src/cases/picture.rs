//! Everything that is somebody else's, as one text, to be compared with itself.

use serde_json::Value;

use crate::inside::Lab;

/// Numbers of ip(8) that count time or traffic, not state.
const CLOCKS: [&str; 8] = [
    "fdb_n_learned",
    "hello_timer",
    "tcn_timer",
    "topology_change_timer",
    "gc_timer",
    "message_age_timer",
    "forward_delay_timer",
    "hold_timer",
];
/// Lines about a pool that follow the file system under it.
const SPACE: [&str; 6] = ["<capacity", "<allocation", "<available", "Capacity:", "Allocation:", "Available:"];

/// What to look at.
pub(super) struct Foreign {
    /// Links.
    pub(super) links: &'static [&'static str],
    /// Tables of nftables, with their families.
    pub(super) tables: &'static [&'static str],
    /// libvirt's objects, by the words of virsh that describe them.
    pub(super) libvirt: &'static [&'static str],
}

impl Foreign {
    /// The picture: a line for each thing, its name first.
    pub(super) fn picture(&self, lab: &Lab) -> Result<Vec<String>, String> {
        let mut lines = Vec::new();
        for link in self.links {
            for look in ["link show dev", "address show dev", "route show table all dev"] {
                lines.push(json(lab, &format!("ip -j -d {look} {link}"))?);
            }
            for look in ["link show dev", "fdb show dev", "vlan show dev"] {
                lines.push(json(lab, &format!("bridge -j -d {look} {link}"))?);
            }
        }
        lines.push(json(lab, "ip -j rule show")?);
        for table in self.tables {
            lines.push(json(lab, &format!("nft -j -a list table {table}"))?);
        }
        for words in self.libvirt {
            let text = lab.run(&format!("virsh {words}"))?;
            let kept = text.lines().filter(|line| !SPACE.iter().any(|tag| line.trim_start().starts_with(tag)));
            lines.push(format!("virsh {words}: {}", kept.collect::<Vec<_>>().join(" ")));
        }
        Ok(lines)
    }

    /// Compares with an earlier picture.
    pub(super) fn unchanged(&self, lab: &Lab, before: &[String], after_what: &str) -> Result<(), String> {
        let now = self.picture(lab)?;
        let pairs = before.iter().zip(&now).filter(|(before, now)| before != now);
        let changed: Vec<String> = pairs.map(|(before, now)| format!("was: {before}\nis:  {now}")).collect();
        if changed.is_empty() && before.len() == now.len() {
            Ok(())
        } else {
            Err(format!("after {after_what} foreign things differ:\n{}", changed.join("\n")))
        }
    }
}

/// The output of a command as JSON without its clocks. Nothing at all is what some commands say for an empty list.
fn json(lab: &Lab, line: &str) -> Result<String, String> {
    let text = lab.run(line)?;
    let text = if text.trim().is_empty() { "[]" } else { text.trim() };
    let mut value: Value = serde_json::from_str(text).map_err(|error| format!("`{line}`: {error}: {text}"))?;
    prune(&mut value);
    Ok(format!("{line}: {value}"))
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !CLOCKS.contains(&name.as_str()));
            fields.values_mut().for_each(prune);
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_left_out_however_deep_they_stand() {
        let mut value =
            serde_json::json!([{"ifname": "other0", "linkinfo": {"info_data": {"gc_timer": 17.2, "mtu": 1}}}]);
        prune(&mut value);
        assert_eq!(value.to_string(), r#"[{"ifname":"other0","linkinfo":{"info_data":{"mtu":1}}}]"#);
    }
}
