//! Bridges that are closed: by the lockdown, before the policy is there, and where nobody knows which of ours there are.

use bulkhead_packet::Ether;
use bulkhead_policy::lockdown;
use bulkhead_policy::model::*;

use crate::frame::*;
use crate::world::*;

#[test]
fn our_bridges_are_closed_until_the_policy_is_committed_and_others_are_not_touched() {
    within(|| async {
        let mut lan = Lan::new(1, true, vec![allow(guest(1), outside(), tcp(&[80]))]).await;
        lan.world.settle(&Desired::default()).await;
        run("ip address add 10.0.0.254/24 dev br20");
        make_bridge(&Bridge { name: name("virbr0"), ..segment(77, true) });
        let (a, b) = (Station::behind("vnet0", "virbr0", mac(7)), Station::behind("vnet1", "virbr0", mac(8)));
        let (inside, outside, a, b) = (lan.guests[0].wire(), lan.outside.wire(), a.wire(), b.wire());
        let frame = |from| udp("10.0.0.1", "10.0.0.255", (1, 2)).frame(mac(from), Ether::BROADCAST);
        inside.send(&frame(1));
        pause(100).await;
        assert!(outside.frames().contains(&frame(1)), "open without any table");
        let file = std::env::temp_dir().join(format!("lockdown-{}.nft", std::process::id()));
        std::fs::write(&file, lockdown::text(&lan.desired)).unwrap();
        let load = format!("nft -f {}", file.display());
        run(&load);
        let once = run("nft list ruleset");
        run(&load);
        assert_eq!(run("nft list ruleset"), once, "twice is once");
        let observed = lan.world.observe().await;
        assert!(observed.lockdown);
        inside.frames();
        inside.send(&frame(1));
        outside.send(&frame(0x50));
        a.send(&frame(7));
        lan.guests[0].neighbour("10.0.0.254", mac(0x94));
        assert!(lan.guests[0].connects("10.0.0.254:22").is_none());
        let _ = attempt("ping -c 1 -W 1 10.0.0.9");
        pause(100).await;
        assert!(outside.frames().iter().all(|frame| !MARK.marks(frame) && frame.source != mac(0x94).into()));
        assert!(inside.frames().is_empty());
        assert!(b.frames().contains(&frame(7)));
        let plan = lan.world.settle(&lan.desired).await;
        assert_eq!(plan.steps.last().unwrap().to_string(), "delete table bridge bulkhead_lockdown");
        assert!(!run("nft list tables").contains("lockdown"));
        lan.outside.serves_tcp("0.0.0.0:80");
        assert!(lan.guests[0].connects("10.0.0.9:80").is_some());
        std::fs::write(&file, lockdown::text(&Desired::default())).unwrap();
        run(&load);
        std::fs::remove_file(&file).unwrap();
    });
}

#[test]
fn a_bridge_of_the_present_ruleset_stays_closed_while_nobody_knows_which_bridges_there_are() {
    within(|| async {
        let mut lan = Lan::new(1, true, vec![allow(guest(1), outside(), tcp(&[80]))]).await;
        lan.outside.serves_tcp("0.0.0.0:80");
        assert!(lan.guests[0].connects("10.0.0.9:80").is_some());
        let unread = Desired { keep_closed: true, ..Desired::default() };
        lan.world.settle(&unread).await;
        assert!(lan.guests[0].connects("10.0.0.9:80").is_none());
        lan.world.settle(&Desired::default()).await;
        assert!(lan.guests[0].connects("10.0.0.9:80").is_some(), "it was the ruleset that closed it");
    });
}
