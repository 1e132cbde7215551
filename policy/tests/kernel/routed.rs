//! What the host routes, with and without br_netfilter.

use bulkhead_packet::Frame;
use bulkhead_policy::counters::{HOST, ROUTED};
use bulkhead_policy::model::*;
use bulkhead_types::Mac;

use crate::frame::*;
use crate::world::*;

const BRIDGE_MAC: u8 = 0x80 + 20;

/// The host routes, and has a further network, 10.9.0.0/24, with a station in it.
async fn routing() -> (Lan, Station) {
    let allows =
        vec![allow(lan(), Endpoint::Host, any()), allow(Endpoint::Host, lan(), any()), allow(lan(), lan(), any())];
    let lan = Lan::new(2, true, allows).await;
    run("ip address add 10.0.0.254/24 dev br20");
    let far = Station::on("ext", mac(0x77));
    run("ip link set ext up");
    run("ip address add 10.9.0.254/24 dev ext");
    far.address("10.9.0.2/24");
    far.run(|| run("ip route add 10.0.0.0/24 via 10.9.0.254"));
    sysctl("ipv4/ip_forward", "1");
    sysctl("ipv4/conf/all/rp_filter", "0");
    sysctl("ipv4/conf/all/send_redirects", "0");
    sysctl("ipv4/conf/br20/send_redirects", "0");
    run("ip neighbour replace 10.0.0.2 lladdr 52:54:00:00:00:02 dev br20 nud permanent");
    (lan, far)
}

async fn marked(from: &Wire, to: &Wire, frame: &Frame) -> usize {
    to.frames();
    from.send(frame);
    pause(100).await;
    to.marked()
}

async fn nothing_is_routed(lan: &mut Lan, far: &Station) {
    let (one, two, ext) = (lan.guests[0].wire(), lan.guests[1].wire(), far.wire());
    let before = [lan.world.counted(ROUTED).await, lan.world.counted(HOST).await];
    let packet = |from, to| udp(from, to, (1000, 2000));
    let out = packet("10.0.0.1", "10.9.0.2").frame(mac(1), mac(BRIDGE_MAC));
    assert_eq!(marked(&one, &ext, &out).await, 0, "out of the bridge");
    let ext_mac = run("ip -o link show dev ext");
    let ext_mac = ext_mac.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap();
    let ext_mac: Mac = ext_mac.parse().unwrap();
    let into = packet("10.9.0.2", "10.0.0.2").frame(mac(0x77), ext_mac);
    assert_eq!(marked(&ext, &two, &into).await, 0, "into it");
    let back = packet("10.0.0.1", "10.0.0.2");
    assert_eq!(marked(&one, &two, &back.frame(mac(1), mac(BRIDGE_MAC))).await, 0, "out and in again");
    // What is for somebody else does not even come to the host from a guest.
    let after = [before[0] + 1, before[1] + 2];
    assert_eq!([lan.world.counted(ROUTED).await, lan.world.counted(HOST).await], after);
    // Nor from outside, which comes to the host.
    let outside = lan.outside.wire();
    let out = packet("10.0.0.9", "10.9.0.2").frame(mac(OUTSIDE_MAC), mac(BRIDGE_MAC));
    assert_eq!(marked(&outside, &ext, &out).await, 0, "from outside");
    let back_in = packet("10.0.0.9", "10.0.0.2").frame(mac(OUTSIDE_MAC), mac(BRIDGE_MAC));
    assert_eq!(marked(&outside, &two, &back_in).await, 0, "from outside and in again");
    assert_eq!(marked(&one, &two, &back.frame(mac(1), mac(2))).await, 1, "what is bridged passes");
    let after = [after[0] + 2, after[1]];
    assert_eq!([lan.world.counted(ROUTED).await, lan.world.counted(HOST).await], after);
}

#[test]
fn nothing_is_routed_into_or_out_of_a_bridge_of_ours_nor_back_to_it() {
    within(|| async {
        let (mut lan, far) = routing().await;
        nothing_is_routed(&mut lan, &far).await;
    });
}

#[test]
fn with_br_netfilter_what_is_bridged_passes_and_what_is_routed_does_not() {
    within(|| async {
        run("modprobe br_netfilter");
        let (mut lan, far) = routing().await;
        for family in ["iptables", "ip6tables", "arptables"] {
            sysctl(&format!("bridge/bridge-nf-call-{family}"), "1");
        }
        // Somebody's forward chain sees the bridged frames: br_netfilter is at work.
        run("nft add table inet other");
        run("nft add chain inet other forward { type filter hook forward priority 0; policy accept; }");
        run("nft add rule inet other forward iifname br20 oifname br20 counter");
        nothing_is_routed(&mut lan, &far).await;
        assert!(!run("nft list table inet other").contains("packets 0"));
        let (one, two) = (lan.guests[0].wire(), lan.guests[1].wire());
        two.frames();
        for fragment in long_udp("2001:db8::1", "2001:db8::2", (1, 2)).fragments(7, 96) {
            one.send(&fragment.frame(mac(1), mac(2)));
        }
        pause(100).await;
        // br_netfilter puts the fragments together, and what fits goes on whole.
        assert!(two.marked() > 0, "in fragments, too");
        lan.outside.serves_tcp("0.0.0.0:80");
        lan.allow(vec![allow(guest(1), outside(), tcp(&[80]))]).await;
        assert!(lan.guests[0].connects("10.0.0.9:80").is_some());
        assert!(lan.guests[1].connects("10.0.0.9:80").is_none());
    });
}
