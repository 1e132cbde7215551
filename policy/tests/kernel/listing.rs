//! What is read by other ways than a list of everything, and what is written for people, against nft's own lists.

use bulkhead_policy::model::Counter;
use bulkhead_policy::{counters, text};

use crate::frame::*;
use crate::steady::everything;
use crate::world::*;

/// The counters alone, those of everything, and what nft lists of the forbidden, with nothing counted meanwhile: the stations
/// have IPv6, and their kernel says something by itself now and then, which is dropped.
async fn at_one_moment(world: &mut World) -> (Vec<Counter>, Vec<Counter>, String) {
    for _ in 0..20 {
        let read = counters::read().unwrap();
        let observed = world.observe().await.counters;
        let listed = run("nft list counter bridge bulkhead forbidden");
        if counters::read().unwrap() == read {
            return (read, observed, listed);
        }
        pause(100).await;
    }
    panic!("something is counted all the time");
}

#[test]
fn the_counters_alone_are_those_that_nft_lists() {
    within(|| async {
        assert_eq!(counters::read().unwrap(), [], "there are no tables yet");
        let lan = Lan::new(1, false, vec![allow(guest(1), outside(), udp_ports(&[53]))]).await;
        let mut world = lan.world;
        // Others of the same names, which are not ours.
        for line in [
            "nft add table ip bulkhead",
            "nft add counter ip bulkhead forbidden { packets 9 bytes 900 }",
            "nft add table bridge other",
            "nft add counter bridge other forbidden { packets 7 bytes 700 }",
        ] {
            run(line);
        }
        let wire = lan.guests[0].wire();
        let frame = |port| udp("10.0.0.1", "10.0.0.9", (5000, port)).frame(mac(1), mac(OUTSIDE_MAC));
        for port in [53, 54, 54] {
            wire.send(&frame(port));
        }
        pause(200).await;
        let (read, observed, listed) = at_one_moment(&mut world).await;
        assert_eq!(read, observed);
        let forbidden = read.iter().find(|counter| counter.name == counters::FORBIDDEN).unwrap();
        assert!(forbidden.dropped && forbidden.packets >= 2, "{forbidden:?}");
        let line = format!("packets {} bytes {}", forbidden.packets, forbidden.bytes);
        assert!(listed.contains(&line), "{line} in {listed}");
    });
}

#[test]
fn the_ruleset_as_a_text_is_loaded_by_nft_and_leaves_nothing_to_plan() {
    within(|| async {
        let desired = everything();
        let path = std::env::temp_dir().join(format!("bulkhead-ruleset-{}.nft", std::process::id()));
        // Where tables can be held, one that is made without these flags is never to have them.
        let flags = if can_hold() { "\tflags owner,persist\n" } else { "" };
        let text = text(&desired).replace(" bulkhead {\n", &format!(" bulkhead {{\n{flags}"));
        std::fs::write(&path, text).unwrap();
        let loaded = attempt(&format!("nft -f {}", path.display()));
        std::fs::remove_file(&path).unwrap();
        loaded.unwrap();
        let mut world = World::open();
        let rest: Vec<String> = world.plan(&desired).await.steps.iter().map(ToString::to_string).collect();
        // Where tables can be held they are still to be claimed.
        let claims = rest.iter().filter(|step| step.starts_with("add table")).count();
        assert!(rest.len() == claims && claims == if can_hold() { 3 } else { 0 }, "{rest:#?}");
    });
}
