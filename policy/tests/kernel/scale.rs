//! Hundreds of NICs and as many allows.

use std::time::Instant;

use bulkhead_policy::model::*;

use crate::frame::*;
use crate::world::*;

/// Not the thousand that the room is made for: what is not optimised and runs under emulation takes its time.
const MANY: u16 = 200;

#[test]
fn hundreds_of_nics_and_allows_are_one_transaction_and_one_less_is_a_small_one() {
    within(|| async {
        let mut lan = Lan::new(2, false, vec![allow(guest(1), guest(2), udp_ports(&[2000]))]).await;
        for i in 0..MANY {
            let [a, b] = i.to_be_bytes();
            let guest = format!("many{i}").parse().unwrap();
            let tap = name(&format!("bh-m{i}"));
            let mac = [0x52, 0x54, 1, 0, a, b].try_into().unwrap();
            let ipv4 = vec![[10, 1, a, b].into()];
            lan.desired.nics.push(Nic { guest, tap, bridge: name("br20"), mac, ipv4, ipv6: Vec::new(), dhcp: false });
            let from = Endpoint::Guest(format!("many{i}").parse().unwrap());
            lan.desired.allows.push(allow(from, outside(), tcp(&[443])));
        }
        let begin = Instant::now();
        let observed = lan.world.observe().await;
        let plan = bulkhead_policy::plan(&lan.desired, &observed);
        let planned = begin.elapsed();
        lan.world.apply(&plan).await;
        let applied = begin.elapsed();
        assert!(lan.world.plan(&lan.desired).await.is_empty());
        let verified = begin.elapsed();
        lan.desired.allows.pop();
        let fewer = lan.world.plan(&lan.desired).await;
        assert!(fewer.steps.len() < 12, "{}", fewer.steps.len());
        let again = Instant::now();
        lan.world.apply(&fewer).await;
        println!(
            "{MANY} NICs and allows, {} commands: planned after {planned:.1?}, committed after {applied:.1?}, verified after \
             {verified:.1?}; one allow less, {} commands: {:.1?}",
            plan.steps.len(),
            fewer.steps.len(),
            again.elapsed()
        );
        let (one, two) = (lan.guests[0].wire(), lan.guests[1].wire());
        one.send(&ethernet(mac(2), mac(1), IPV4, &ipv4("10.0.0.1", "10.0.0.2", 17, &udp(1000, 2000))));
        pause(100).await;
        assert_eq!(two.frames().len(), 1);
    });
}
