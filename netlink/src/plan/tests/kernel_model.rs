//! The kernel, as far as plans meet it: a step is done to an observed state, or refused as the kernel would refuse it.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

use crate::model::{Address, BridgeOptions, FdbEntry, Kind, LINK_GROUP, Link, Observed, PROTOCOL, PortFlags, Route};
use crate::step::{Change, Step};

/// What of a kernel differs from host to host.
#[derive(Debug, Clone, Copy)]
pub(super) struct KernelOptions {
    /// `net.ipv4.conf.*.promote_secondaries`.
    pub(super) promotes: bool,
    /// `disable_ipv6` of a new link is 0.
    pub(super) ipv6: bool,
}

pub(super) fn apply(observed: &mut Observed, options: KernelOptions, steps: &[Step]) -> Result<(), String> {
    steps.iter().try_for_each(|step| one(observed, options, step).map_err(|why| format!("{step}: {why}")))
}

fn one(observed: &mut Observed, options: KernelOptions, step: &Step) -> Result<(), String> {
    match step {
        Step::TrunkUp { index, .. } => {
            let carried = |link: &&Link| matches!(link.kind, Kind::Vlan { parent, .. } if parent == Some(*index));
            let vlans: Vec<u32> = observed.links.values().filter(carried).map(|link| link.index).collect();
            up(observed, *index)?;
            vlans.into_iter().try_for_each(|vlan| up(observed, vlan))
        }
        Step::LinkUp { index, by_group: false, .. } | Step::PortUp { index, .. } => up(observed, *index),
        Step::LinkUp { by_group: true, .. } => {
            let members: Vec<u32> =
                observed.links.values().filter(|l| l.group == LINK_GROUP).map(|l| l.index).collect();
            members.into_iter().try_for_each(|member| up(observed, member))
        }
        Step::LinkDown { index, .. } => {
            link(observed, *index)?.up = false;
            drop_routes(observed, |route| route.index == Some(*index));
            observed.addresses.retain(|a| a.index != *index || a.address.addr().is_ipv4());
            Ok(())
        }
        Step::DeleteLink { index, .. } => delete(observed, *index),
        Step::CreateBridge { bridge, index, mac, mtu } => {
            let kind = Kind::Bridge(BridgeOptions::default());
            let ipv6 = new_ipv6(observed, options, *mtu);
            let (name, mac) = (bridge.to_string(), Some(*mac));
            let (index, group, mtu) = (*index, LINK_GROUP, *mtu);
            create(observed, Link { index, name, kind, group, mtu, mac, ipv6, ..Link::default() })
        }
        Step::CreateVlan { link, index, parent, vlan, master, mtu, .. } => {
            let carrier = observed.links.get(*parent).ok_or("no such parent")?;
            let taken = |l: &Link| matches!(l.kind, Kind::Vlan { id, parent: p, dot1q: true } if id == vlan.get() && p == Some(*parent));
            if observed.links.values().any(taken) || *mtu > carrier.mtu || !is_bridge(observed, *master) {
                return Err("tag taken, MTU above the parent's or no bridge".to_owned());
            }
            let kind = Kind::Vlan { id: vlan.get(), parent: Some(*parent), dot1q: true };
            let ipv6 = new_ipv6(observed, options, *mtu);
            let (index, name, group, mtu) = (*index, link.to_string(), LINK_GROUP, *mtu);
            let (master, port) = (Some(*master), Some(PortFlags::new(true)));
            create(observed, Link { index, name, kind, group, mtu, master, port, ipv6, ..Link::default() })
        }
        Step::ChangeLink { index, changes, .. } => {
            changes.iter().try_for_each(|c| change(observed, options, *index, c))
        }
        Step::SetIpv6 { link, on, .. } => set_ipv6(observed, link.as_str(), *on),
        Step::AddAddress { index, address, .. } => add_address(observed, *index, *address),
        Step::DeleteAddress { index, address, .. } => delete_address(observed, options, *index, *address),
        Step::AddRoute { index, gateway, metric, on_link, .. } => {
            add_route(observed, *index, *gateway, *metric, *on_link)
        }
        Step::DeleteRoute { route, .. } => {
            let before = observed.routes.len();
            observed.routes.retain(|r| r != route);
            if observed.routes.len() == before { Err("no such route".to_owned()) } else { Ok(()) }
        }
        Step::ChangePort { index, flags, mtu, .. } => {
            let port = link(observed, *index)?;
            port.mtu = mtu.unwrap_or(port.mtu);
            set_flags(port, *flags)
        }
        Step::DeleteFdb { index, mac, .. } => {
            observed.fdb.retain(|entry| (entry.index, entry.mac) != (*index, *mac));
            Ok(())
        }
        Step::AddFdb { index, mac, .. } => {
            observed.fdb.retain(|entry| (entry.index, entry.mac) != (*index, *mac));
            observed.fdb.push(FdbEntry { index: *index, mac: *mac, sticky: true });
            Ok(())
        }
    }
}

/// A flag that is not spoken of stays.
fn set_flags(link: &mut Link, flags: PortFlags) -> Result<(), String> {
    let port = link.port.as_mut().ok_or("not a port")?;
    *port = PortFlags { locked: flags.locked.or(port.locked), ..flags };
    Ok(())
}

fn link(observed: &mut Observed, index: u32) -> Result<&mut Link, String> {
    observed.links.get_mut(index).ok_or_else(|| "no such device".to_owned())
}

fn is_bridge(observed: &Observed, index: u32) -> bool {
    observed.links.get(index).is_some_and(|link| matches!(link.kind, Kind::Bridge(_)))
}

fn create(observed: &mut Observed, new: Link) -> Result<(), String> {
    if observed.links.values().any(|link| link.name == new.name) || observed.links.get(new.index).is_some() {
        return Err("name or index exists".to_owned());
    }
    observed.links.insert(new);
    Ok(())
}

fn up(observed: &mut Observed, index: u32) -> Result<(), String> {
    if let Kind::Vlan { parent: Some(parent), .. } = link(observed, index)?.kind
        && !link(observed, parent)?.up
    {
        return Err("network is down".to_owned());
    }
    link(observed, index)?.up = true;
    speak(observed, index)
}

/// A link that is up with IPv6 has a link-local address, and with it frames of its own.
fn speak(observed: &mut Observed, index: u32) -> Result<(), String> {
    let link = link(observed, index)?;
    let has = |a: &Address| a.index == index && a.protocol == 3;
    if link.up && link.ipv6 == Some(true) && link.own().is_some() && !observed.addresses.iter().any(has) {
        let address = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, u16::try_from(index % 9999).unwrap());
        let address = IpNet::from(Ipv6Net::new(address, 64).unwrap());
        observed.addresses.push(Address { index, address, protocol: 3, secondary: false, duplicate: false });
    }
    Ok(())
}

fn set_ipv6(observed: &mut Observed, name: &str, on: bool) -> Result<(), String> {
    let found = observed.links.values().find(|link| link.name == name).map(|link| link.index);
    let index = found.ok_or("no such device")?;
    link(observed, index)?.ipv6.replace(on).ok_or("no such file")?;
    if !on {
        silence(observed, index);
    }
    speak(observed, index)
}

/// A link that loses its IPv6 loses what belongs to it.
fn silence(observed: &mut Observed, index: u32) {
    observed.addresses.retain(|a| a.index != index || a.address.addr().is_ipv4());
    drop_routes(observed, |route| route.index == Some(index) && route.destination.addr().is_ipv6());
}

/// `disable_ipv6` of a new link; none below an MTU of 1280, or in a kernel without IPv6.
fn new_ipv6(observed: &Observed, options: KernelOptions, mtu: u32) -> Option<bool> {
    (mtu >= 1280 && observed.has_ipv6()).then_some(options.ipv6)
}

fn drop_routes(observed: &mut Observed, gone: impl Fn(&Route) -> bool) {
    observed.routes.retain(|route| !gone(route));
}

fn delete(observed: &mut Observed, index: u32) -> Result<(), String> {
    observed.links.remove(index).ok_or("no such device")?;
    observed.addresses.retain(|a| a.index != index);
    observed.fdb.retain(|e| e.index != index);
    drop_routes(observed, |route| route.index == Some(index));
    let ports: Vec<u32> = observed.links.values().filter(|l| l.master == Some(index)).map(|l| l.index).collect();
    for port in ports {
        let port = link(observed, port)?;
        (port.master, port.port) = (None, None);
        let port = port.index;
        observed.fdb.retain(|e| e.index != port);
    }
    Ok(())
}

fn change(observed: &mut Observed, options: KernelOptions, index: u32, change: &Change) -> Result<(), String> {
    match change {
        Change::Mtu(mtu) => {
            let kind = link(observed, index)?.kind.clone();
            if let Kind::Vlan { parent: Some(parent), .. } = kind
                && link(observed, parent)?.mtu < *mtu
            {
                return Err("MTU above the parent's".to_owned());
            }
            let link = link(observed, index)?;
            link.mtu = *mtu;
            let before = link.ipv6;
            let ipv6 = if *mtu < 1280 { None } else { before.or(new_ipv6(observed, options, *mtu)) };
            self::link(observed, index)?.ipv6 = ipv6;
            if ipv6.is_none() {
                silence(observed, index);
            }
            speak(observed, index)
        }
        Change::Mac(mac) => {
            link(observed, index)?.mac = Some(*mac);
            Ok(())
        }
        Change::Alias(alias) => {
            link(observed, index)?.alias = Some(alias.clone());
            Ok(())
        }
        Change::Port(flags) => set_flags(link(observed, index)?, *flags),
        Change::Master(master) => {
            if master.is_some_and(|master| !is_bridge(observed, master)) {
                return Err("no bridge".to_owned());
            }
            let link = link(observed, index)?;
            (link.master, link.port) = (*master, master.map(|_| PortFlags::new(true)));
            Ok(())
        }
        Change::BridgeOptions { vlan_filtering } => {
            let Kind::Bridge(found) = &mut link(observed, index)?.kind else { return Err("no bridge".to_owned()) };
            let vlan_filtering = found.vlan_filtering && !vlan_filtering;
            let no_linklocal_learn = found.no_linklocal_learn.map(|_| true);
            *found = BridgeOptions { vlan_filtering, no_linklocal_learn, ..BridgeOptions::default() };
            Ok(())
        }
    }
}

fn add_address(observed: &mut Observed, index: u32, address: IpNet) -> Result<(), String> {
    let link = link(observed, index)?;
    if address.addr().is_ipv6() && link.ipv6 != Some(true) {
        return Err("IPv6 is disabled on this device".to_owned());
    }
    let on = || observed.addresses.iter().filter(|a| a.index == index);
    let v4 = address.addr().is_ipv4();
    if on().any(|a| a.address == address || !v4 && a.address.addr() == address.addr()) {
        return Err("exists".to_owned());
    }
    let secondary = v4 && on().any(|a| a.address.trunc() == address.trunc() && !a.secondary);
    observed.addresses.push(Address { index, address, protocol: PROTOCOL, secondary, duplicate: false });
    Ok(())
}

fn delete_address(observed: &mut Observed, options: KernelOptions, index: u32, address: IpNet) -> Result<(), String> {
    let at =
        observed.addresses.iter().position(|a| a.index == index && a.address == address).ok_or("no such address")?;
    let gone = observed.addresses.remove(at);
    let follows = |a: &Address| a.index == index && a.secondary && a.address.trunc() == address.trunc();
    if gone.address.addr().is_ipv4() && !gone.secondary {
        if !options.promotes {
            observed.addresses.retain(|a| !follows(a));
        } else if let Some(heir) = observed.addresses.iter_mut().find(|a| follows(a)) {
            heir.secondary = false;
        }
    }
    if address.addr().is_ipv4() && !observed.addresses.iter().any(|a| a.index == index && a.address.addr().is_ipv4()) {
        drop_routes(observed, |route| route.index == Some(index) && route.destination.addr().is_ipv4());
    }
    Ok(())
}

fn add_route(observed: &mut Observed, index: u32, gateway: IpAddr, metric: u32, on_link: bool) -> Result<(), String> {
    let v6 = gateway.is_ipv6();
    let destination: IpNet = if v6 { "::/0".parse().unwrap() } else { "0.0.0.0/0".parse().unwrap() };
    if observed.routes.iter().any(|r| r.table == 254 && r.destination == destination && r.metric == metric) {
        return Err("exists".to_owned());
    }
    let link_local = matches!(gateway, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let near =
        on_link || link_local || observed.addresses.iter().any(|a| a.index == index && a.address.contains(&gateway));
    if v6 && link(observed, index)?.ipv6 != Some(true) {
        return Err("permission denied: IPv6 is off on this device".to_owned());
    }
    if !near || !link(observed, index)?.up {
        return Err("gateway unreachable".to_owned());
    }
    let (gateway, index) = (Some(gateway), Some(index));
    observed.routes.push(Route { table: 254, destination, gateway, index, metric, protocol: PROTOCOL });
    Ok(())
}
