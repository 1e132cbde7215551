//! Written once, and then as it should be.

use bulkhead_policy::model::*;

use crate::world::*;

/// A manifest with every kind of thing in it.
pub(crate) fn everything() -> Desired {
    let net = |text: &str| text.parse().unwrap();
    let mut dhcp = nic(1, "br20", &["10.0.0.1", "10.0.0.11", "2001:db8::1"]);
    dhcp.dhcp = true;
    let narrow = |from: Endpoint, to: Endpoint, from_net: &[&str], to_net: &[&str], what: Traffic| Allow {
        from_net: from_net.iter().map(|text| net(text)).collect(),
        to_net: to_net.iter().map(|text| net(text)).collect(),
        ..allow(from, to, what)
    };
    let ports = Traffic {
        tcp: vec![80..=80, 443..=443, 8000..=8010, 8011..=8011],
        udp: vec![53..=53, 1024..=2047],
        ..Traffic::default()
    };
    let icmp = |types: &[IcmpType]| Traffic { icmp: types.to_vec(), ..Traffic::default() };
    let all_icmp = icmp(&IcmpType::ALL);
    Desired {
        bridges: vec![segment(20, true), segment(30, false)],
        nics: vec![
            dhcp,
            nic(2, "br20", &["10.0.0.2", "64:ff9b::2"]),
            nic(3, "br20", &["10.0.0.3"]),
            nic(4, "br30", &["10.0.0.1"]),
        ],
        allows: vec![
            allow(guest(1), outside(), ports.clone()),
            allow(guest(1), guest(2), tcp(&[22])),
            allow(guest(2), lan(), tcp(&[25])),
            allow(lan(), guest(3), Traffic { udp: vec![514..=514], ..Traffic::default() }),
            allow(lan(), lan(), icmp(&[IcmpType::EchoRequest])),
            allow(lan(), outside(), all_icmp.clone()),
            allow(outside(), lan(), icmp(&[IcmpType::EchoRequest])),
            allow(outside(), guest(1), any()),
            allow(Endpoint::Host, guest(1), tcp(&[22])),
            allow(guest(1), Endpoint::Host, ports),
            allow(lan(), Endpoint::Host, all_icmp),
            allow(Endpoint::Host, lan(), any()),
            allow(Endpoint::Host, outside(), any()),
            narrow(
                guest(2),
                outside(),
                &[],
                &["10.0.0.0/8", "10.1.0.0/16", "192.168.1.1/32", "2001:db8::/32"],
                tcp(&[443]),
            ),
            narrow(guest(2), outside(), &["0.0.0.0/0"], &["2001:db8::/32", "172.16.0.0/12"], any()),
            narrow(outside(), guest(3), &["::/0"], &[], icmp(&[IcmpType::EchoRequest, IcmpType::PacketTooBig])),
            narrow(
                outside(),
                guest(3),
                &["128.0.0.0/1"],
                &["10.0.0.3/32"],
                icmp(&[IcmpType::EchoRequest, IcmpType::TimeExceeded]),
            ),
        ],
        ..Desired::default()
    }
}

#[test]
fn a_manifest_with_everything_in_it_is_written_once_and_then_left_alone() {
    within(|| async {
        let mut world = World::open();
        let plan = world.settle(&everything()).await;
        println!("{} commands, notices {:#?}", plan.steps.len(), plan.notices);
        // In another order, and with everything twice, it says the same.
        let mut shuffled = everything();
        shuffled.allows.reverse();
        shuffled.nics.reverse();
        shuffled.bridges.reverse();
        shuffled.allows.extend(everything().allows);
        let rest = world.plan(&shuffled).await;
        assert!(rest.is_empty(), "{}", rest.steps.iter().map(|s| format!("{s}\n")).collect::<String>());
        world.settle(&Desired::default()).await;
        assert_eq!(run("nft list ruleset"), "");
    });
}

#[test]
fn from_any_part_of_the_manifest_to_any_other_it_converges() {
    within(|| async {
        let mut world = World::open();
        let whole = everything();
        for i in 0..whole.allows.len() {
            let mut part = whole.clone();
            part.allows.truncate(i);
            part.nics.remove(i % 4);
            if i % 5 == 4 {
                part.bridges.remove(i % 2);
            }
            world.settle(&part).await;
            if i % 3 == 0 {
                world.settle(&whole).await;
            }
        }
    });
}
