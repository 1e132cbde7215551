//! The sets that chains look things up in.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use bulkhead_types::{IfName, Mac};
use ipnet::{IpNet, Ipv4Net};

use super::Topology;
use crate::model::{BRIDGES, Bridge, Nic};
use crate::rule::Verdict;
use crate::table::{Set, Table};

/// Name of the set of every declared port, NICs' and uplinks', whatever bridge it stands on.
pub(super) const PORTS: &str = "ports";

pub(super) const NAME: &[&str] = &["ifname"];
const NAMES: &[&str] = &["ifname", "ifname"];
const NAME_MAC: &[&str] = &["ifname", "ether_addr"];
const NAME_IPV4: &[&str] = &["ifname", "ipv4_addr"];
const NAME_IPV6: &[&str] = &["ifname", "ipv6_addr"];

pub(super) fn add(topology: &Topology<'_>, table: &mut Table) {
    bridges(topology, table);
    port_sets(topology, table);
    pins(topology, table);
    reserved(topology, table);
    host(topology, table);
}

fn bridges(topology: &Topology<'_>, table: &mut Table) {
    let hosts = || topology.bridges().filter(|bridge| bridge.host);
    table.sets.insert(BRIDGES, Set::new(NAME, topology.names.iter().map(|name| row(&[name]))));
    table.sets.insert("host_bridges", Set::new(NAME, hosts().map(|bridge| row(&[&bridge.name]))));
    let own = hosts().map(|bridge| row(&[&bridge.name, &bridge.mac]));
    table.sets.insert("own_mac", Set::new(NAME_MAC, own));
}

/// The names of all declared ports. What somebody else made under the name of an uplink is none.
pub(super) fn ports(topology: &Topology<'_>) -> Vec<Vec<String>> {
    let foreign = &topology.desired.foreign;
    let uplinks = topology.bridges().map(|bridge| &bridge.outside).filter(|name| !foreign.contains(*name));
    uplinks.chain(topology.nics().map(|nic| &nic.tap)).map(|name| row(&[name])).collect()
}

fn port_sets(topology: &Topology<'_>, table: &mut Table) {
    let zoned = || topology.bridges().filter(|bridge| topology.zones.contains_key(&bridge.name));
    let outside = || zoned().map(|bridge| row(&[&bridge.outside, &bridge.name]));
    let nics = || topology.nics().map(|nic| row(&[&nic.tap, &nic.bridge]));
    let goto = |outside_to: &str, nics_to: &str| {
        let verdict = |chain: &str| Verdict::Goto(chain.to_owned());
        let outside = outside().map(|row| (row, verdict(outside_to)));
        let nics = nics().map(|row| (row, verdict(nics_to)));
        Set::map(NAMES, outside.chain(nics).collect::<Vec<_>>())
    };
    table.sets.insert("port", Set::new(NAMES, outside().chain(nics())));
    table.sets.insert("arriving_port", goto("from_outside", "from_guest"));
    table.sets.insert("to_host_port", goto("outside_to_host", "guest_to_host"));
    table.sets.insert("from_host_port", goto("host_to_outside", "host_to_guest"));
    let first = |rows: Vec<Vec<String>>| Set::new(NAME, rows.into_iter().map(|row| row.into_iter().take(1).collect()));
    table.sets.insert(PORTS, Set::new(NAME, self::ports(topology)));
    let groups = (0..16).map(|last| row(&[&format!("01:80:c2:00:00:{last:02x}")]));
    table.sets.insert("link_local", Set::new(&["ether_addr"], groups));
    table.sets.insert("outside", first(outside().collect()));
    table.sets.insert("nic", first(nics().collect()));
    table.sets.insert("nic6", Set::new(NAME, topology.nics6().map(|nic| row(&[&nic.tap]))));
    table.sets.insert("dhcp", Set::new(NAME, topology.nics().filter(|nic| nic.dhcp).map(|nic| row(&[&nic.tap]))));
}

/// The source addresses that each NIC may use, and the addresses that ARP and neighbour discovery may ask it for.
fn pins(topology: &Topology<'_>, table: &mut Table) {
    let target = |nic: &Nic| {
        // Who has an IPv4 address probes for it with an empty sender (RFC 5227), and is answered with an empty target.
        let probe = (!nic.ipv4.is_empty()).then_some(Ipv4Addr::UNSPECIFIED);
        nic.ipv4.iter().copied().chain(probe).map(|ip| row(&[&nic.tap, &ip])).collect::<Vec<_>>()
    };
    let arp = |nic: &Nic| nic.ipv4.iter().map(|ip| row(&[&nic.tap, &nic.mac, ip])).collect::<Vec<_>>();
    let ipv4 = |nic: &Nic| nic.ipv4.iter().map(|ip| row(&[&nic.tap, ip])).collect::<Vec<_>>();
    let ipv6 = |nic: &Nic| addresses6(nic).iter().map(|ip| row(&[&nic.tap, ip])).collect::<Vec<_>>();
    let destinations = |nic: &Nic| {
        let own = addresses6(nic);
        own.iter().chain(&own.iter().map(solicited).collect::<Vec<_>>()).map(|ip| row(&[&nic.tap, ip])).collect()
    };
    table.sets.insert("nic_mac", Set::new(NAME_MAC, topology.nics().map(|nic| row(&[&nic.tap, &nic.mac]))));
    table.sets.insert("nic_arp", Set::new(&["ifname", "ether_addr", "ipv4_addr"], topology.nics().flat_map(arp)));
    table.sets.insert("arp_target", Set::new(NAME_IPV4, topology.nics().flat_map(target)));
    table.sets.insert("nic_ipv4", Set::new(NAME_IPV4, topology.nics().flat_map(ipv4)));
    table.sets.insert("nic_ipv6", Set::new(NAME_IPV6, topology.nics6().flat_map(ipv6)));
    table.sets.insert(
        "nd_destination",
        Set::new(NAME_IPV6, topology.nics6().flat_map(|nic| -> Vec<_> { destinations(nic) })),
    );
}

/// The addresses of guests and of the host, by bridge: nobody outside may use one as its own.
fn reserved(topology: &Topology<'_>, table: &mut Table) {
    let macs = topology.nics().map(|nic| row(&[&nic.bridge, &nic.mac]));
    let own = topology.bridges().map(|bridge| row(&[&bridge.name, &bridge.mac]));
    let ipv4 = |nic: &Nic| nic.ipv4.iter().map(|ip| row(&[&nic.bridge, ip])).collect::<Vec<_>>();
    let of_host = |bridge: &Bridge| host4(bridge).map(|net| row(&[&bridge.name, &net.addr()])).collect::<Vec<_>>();
    table.sets.insert("reserved_mac", Set::new(NAME_MAC, macs.chain(own)));
    let ipv4 = topology.nics().flat_map(ipv4).chain(topology.bridges().flat_map(of_host));
    table.sets.insert("reserved_ipv4", Set::new(NAME_IPV4, ipv4));
    let ipv6 = reserved6(topology).map(|(bridge, ip)| row(&[bridge, &ip]));
    table.sets.insert("reserved_ipv6", Set::new(NAME_IPV6, ipv6.collect::<Vec<_>>()));
}

/// Every IPv6 address that somebody of the manifest has on a bridge.
fn reserved6<'a>(topology: &Topology<'a>) -> impl Iterator<Item = (&'a IfName, Ipv6Addr)> {
    let nics = topology.nics6().flat_map(|nic| addresses6(nic).into_iter().map(|ip| (&nic.bridge, ip)));
    let host = topology.bridges().flat_map(|bridge| host6(bridge).into_iter().map(|ip| (&bridge.name, ip)));
    nics.chain(host)
}

/// Where a guest reaches the host: its addresses on that bridge, and what its networks are called as a whole.
fn host(topology: &Topology<'_>, table: &mut Table) {
    let ipv4 = |bridge: &Bridge| {
        let rows = host4(bridge).flat_map(|net| [net.addr(), net.broadcast()]).map(|ip| row(&[&bridge.name, &ip]));
        rows.collect::<Vec<_>>()
    };
    let ipv6 = |bridge: &Bridge| host6(bridge).into_iter().map(|ip| row(&[&bridge.name, &ip])).collect::<Vec<_>>();
    table.sets.insert("host_ipv4", Set::new(NAME_IPV4, topology.bridges().flat_map(ipv4)));
    table.sets.insert("host_ipv6", Set::new(NAME_IPV6, topology.bridges().flat_map(ipv6)));
}

fn host4(bridge: &Bridge) -> impl Iterator<Item = Ipv4Net> {
    bridge.addresses.iter().filter_map(|net| if let IpNet::V4(net) = net { Some(*net) } else { None })
}

/// The host's IPv6 addresses on a bridge, with the link-local one that the bridge's MAC gives it; none where it has no other, since
/// IPv6 is off there.
fn host6(bridge: &Bridge) -> Vec<Ipv6Addr> {
    let own = bridge.addresses.iter().filter_map(|net| if let IpNet::V6(net) = net { Some(net.addr()) } else { None });
    let own: Vec<Ipv6Addr> = own.collect();
    let link_local = (!own.is_empty()).then(|| link_local(bridge.mac));
    own.into_iter().chain(link_local).collect()
}

/// The targets that a NIC may advertise and probe for, by its port, as nft writes them in a set of raw values.
pub(super) fn targets(topology: &Topology<'_>) -> Vec<Vec<String>> {
    raw(topology.nics6().flat_map(|nic| addresses6(nic).into_iter().map(|ip| (&nic.tap, ip))))
}

/// The targets that nobody outside may advertise or probe for, by bridge.
pub(super) fn reserved_targets(topology: &Topology<'_>) -> Vec<Vec<String>> {
    raw(reserved6(topology))
}

fn raw<'a>(targets: impl Iterator<Item = (&'a IfName, Ipv6Addr)>) -> Vec<Vec<String>> {
    let rows: BTreeSet<_> = targets.map(|(name, ip)| row(&[name, &format!("{:#x}", ip.to_bits())])).collect();
    rows.into_iter().collect()
}

/// The client's address in messages of DHCP, by the NIC's port.
pub(super) fn clients(topology: &Topology<'_>) -> Vec<Vec<String>> {
    let bits = |mac: Mac| mac.octets().iter().fold(0_u64, |bits, octet| bits << 8 | u64::from(*octet));
    let nics = topology.nics().filter(|nic| nic.dhcp);
    nics.map(|nic| row(&[&nic.tap, &format!("{:#x}", bits(nic.mac))])).collect()
}

/// A NIC's IPv6 addresses with the link-local one that its MAC gives it.
fn addresses6(nic: &Nic) -> Vec<Ipv6Addr> {
    nic.ipv6.iter().copied().chain([link_local(nic.mac)]).collect()
}

/// fe80::/64 and the modified EUI-64 of the MAC (RFC 4291, appendix A).
fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.octets();
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// The group that an address is asked for in (RFC 4291, 2.7.1).
fn solicited(ip: &Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = ip.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

fn row(parts: &[&dyn ToString]) -> Vec<String> {
    parts.iter().map(|part| part.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_local_address_and_the_group_are_those_that_linux_makes() {
        let mac: Mac = "52:54:00:12:34:56".parse().unwrap();
        assert_eq!(link_local(mac).to_string(), "fe80::5054:ff:fe12:3456");
        assert_eq!(solicited(&link_local(mac)).to_string(), "ff02::1:ff12:3456");
    }
}
