//! The sets that chains look things up in.

use std::net::{Ipv4Addr, Ipv6Addr};

use bulkhead_types::{IfName, Mac};

use super::{Ports, Topology};
use crate::model::{BRIDGES, Nic};
use crate::rule::Verdict;
use crate::table::{Set, Table};

const NAME: &[&str] = &["ifname"];
const NAMES: &[&str] = &["ifname", "ifname"];
const NAME_MAC: &[&str] = &["ifname", "ether_addr"];
const NAME_IPV4: &[&str] = &["ifname", "ipv4_addr"];
const NAME_IPV6: &[&str] = &["ifname", "ipv6_addr"];

pub(super) fn add(topology: &Topology<'_>, speaks_host: &Ports, table: &mut Table) {
    bridges(topology, table);
    ports(topology, table);
    pins(topology, table);
    reserved(topology, table);
    let speakers = speaks_host.iter().map(|tap| row(&[tap]));
    table.sets.insert("speaks_host", Set::new(NAME, speakers));
}

fn bridges(topology: &Topology<'_>, table: &mut Table) {
    let hosts = || topology.bridges().filter(|bridge| bridge.host);
    table.sets.insert(BRIDGES, Set::new(NAME, topology.names.iter().map(|name| row(&[name]))));
    table.sets.insert("host_bridges", Set::new(NAME, hosts().map(|bridge| row(&[&bridge.name]))));
    let own = hosts().map(|bridge| row(&[&bridge.name, &bridge.mac]));
    table.sets.insert("own_mac", Set::new(NAME_MAC, own));
}

fn ports(topology: &Topology<'_>, table: &mut Table) {
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
    table.sets.insert("outside", first(outside().collect()));
    table.sets.insert("nic", first(nics().collect()));
    table.sets.insert("nic6", Set::new(NAME, topology.nics6().map(|nic| row(&[&nic.tap]))));
    table.sets.insert("dhcp", Set::new(NAME, topology.nics().filter(|nic| nic.dhcp).map(|nic| row(&[&nic.tap]))));
}

/// The source addresses that each NIC may use, and the addresses that ARP and neighbour discovery may ask it for.
fn pins(topology: &Topology<'_>, table: &mut Table) {
    let probe = Ipv4Addr::UNSPECIFIED;
    let with_probe = |nic: &Nic| {
        // Who has an IPv4 address probes for it with an empty sender (RFC 5227), and is answered with an empty target.
        let probe = (!nic.ipv4.is_empty()).then_some(probe);
        nic.ipv4.iter().copied().chain(probe).collect::<Vec<_>>()
    };
    let arp = |nic: &Nic| with_probe(nic).into_iter().map(|ip| row(&[&nic.tap, &nic.mac, &ip])).collect::<Vec<_>>();
    let target = |nic: &Nic| with_probe(nic).into_iter().map(|ip| row(&[&nic.tap, &ip])).collect::<Vec<_>>();
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

/// The addresses of guests and of the bridge, by bridge: nobody outside may use one as its own.
fn reserved(topology: &Topology<'_>, table: &mut Table) {
    let macs = topology.nics().map(|nic| row(&[&nic.bridge, &nic.mac]));
    let own = topology.bridges().map(|bridge| row(&[&bridge.name, &bridge.mac]));
    let ipv4 = |nic: &Nic| nic.ipv4.iter().map(|ip| row(&[&nic.bridge, ip])).collect::<Vec<_>>();
    let ipv6 = |nic: &Nic| addresses6(nic).iter().map(|ip| row(&[&nic.bridge, ip])).collect::<Vec<_>>();
    table.sets.insert("reserved_mac", Set::new(NAME_MAC, macs.chain(own)));
    table.sets.insert("reserved_ipv4", Set::new(NAME_IPV4, topology.nics().flat_map(ipv4)));
    table.sets.insert("reserved_ipv6", Set::new(NAME_IPV6, topology.nics6().flat_map(ipv6)));
}

/// The targets that a NIC may advertise, as nft writes them in a set of raw values.
pub(super) fn targets(name: impl Fn(&Nic) -> IfName, topology: &Topology<'_>) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = topology
        .nics6()
        .flat_map(|nic| {
            let name = name(nic);
            addresses6(nic).into_iter().map(move |ip| vec![name.to_string(), format!("{:#x}", ip.to_bits())])
        })
        .collect();
    rows.sort();
    rows.dedup();
    rows
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
