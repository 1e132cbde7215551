//! The links of a host.

use std::collections::BTreeMap;
use std::mem;

use bulkhead_netlink::model::{Address, BridgeOptions, Kind, Link, Observed, PortFlags};

use super::{Host, text};

/// Every link that is made of the manifest that was applied, the trunks of both, and the taps of guests that run; then what became
/// of them.
pub(crate) fn observed(host: &mut Host<'_>) -> Result<Observed, String> {
    let trunks = host.planned.trunks.iter().chain(&host.base.trunks);
    let running = host.base.guest.guests.iter().filter(|guest| guest.start).flat_map(|guest| &guest.nics);
    let mut observed = Observed::applied(&host.base.netlink, trunks, running.map(|nic| &nic.tap));
    change(&mut observed, mem::take(&mut host.text.link))?;
    Ok(observed)
}

/// Changes links, and adds foreign ones. Names are those from before any change.
fn change(observed: &mut Observed, links: BTreeMap<String, text::Link>) -> Result<(), String> {
    let mut indices: BTreeMap<String, u32> =
        observed.links.values().map(|link| (link.name.clone(), link.index)).collect();
    for (name, link) in links.iter().filter(|(_, link)| !link.absent) {
        if !indices.contains_key(name) {
            let kind = Kind::Other(link.kind.clone().unwrap_or_default());
            indices.insert(name.clone(), observed.add_link(Link { kind, ..Link::foreign(name) }));
        }
    }
    let index = |name: &String| indices.get(name).copied().ok_or_else(|| format!("there is no link {name}"));
    for (name, link) in links {
        change_one(observed, index(&name)?, link, index)?;
    }
    Ok(())
}

fn change_one(
    observed: &mut Observed,
    index: u32,
    text: text::Link,
    named: impl Fn(&String) -> Result<u32, String>,
) -> Result<(), String> {
    let text::Link { absent, name, altnames, kind, vlan, parent, master, up, mtu, mac, group, addresses } = text;
    if absent {
        observed.remove_link(index);
        return Ok(());
    }
    let Some(mut link) = observed.links.remove(index) else {
        return Err("a link is changed that went with the one it was on".to_owned());
    };
    link.name = name.unwrap_or(link.name);
    link.altnames = altnames.unwrap_or(link.altnames);
    link.kind = match (kind.as_deref(), vlan) {
        (_, Some(id)) => Kind::Vlan { id, parent: parent.as_ref().map(&named).transpose()?, dot1q: true },
        (Some("bridge"), None) => Kind::Bridge(BridgeOptions::default()),
        (Some(kind), None) => Kind::Other(kind.to_owned()),
        (None, None) => link.kind,
    };
    if let Some(master) = &master {
        (link.master, link.port) = (Some(named(master)?), Some(PortFlags::uplink(true)));
        observed.fdb.retain(|entry| entry.index != index);
    }
    link.up = up.unwrap_or(link.up);
    link.mtu = mtu.unwrap_or(link.mtu);
    link.mac = mac.or(link.mac);
    link.group = group.unwrap_or(link.group);
    observed.links.insert(link);
    let add = |address| Address { index, address, protocol: 0, secondary: false, duplicate: false };
    observed.addresses.extend(addresses.into_iter().map(add));
    Ok(())
}
