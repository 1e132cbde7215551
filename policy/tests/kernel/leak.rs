//! Changes under load: at no moment does a forbidden frame pass.

use std::time::{Duration, Instant};

use bulkhead_packet::{Ether, Flood, Tag, unknown};
use bulkhead_policy::model::*;
use bulkhead_policy::{Plan, plan};
use bulkhead_types::Outcome;

use crate::frame::*;
use crate::world::*;

const CHANGES: usize = 2000;

/// Guests 1 and 2 and outside; guest 1 may speak to port 80 outside and nobody to port 2000, to which guest 1 and outside flood.
struct Scene {
    lan: Lan,
    flood: Flood,
    receivers: Vec<Wire>,
}

impl Scene {
    async fn new() -> Self {
        let lan = Lan::new(2, false, vec![allow(guest(1), outside(), tcp(&[80]))]).await;
        let receivers = vec![lan.guests[1].wire(), lan.outside.wire(), lan.guests[0].wire()];
        let forbidden = |from, to| udp(from, to, (1000, 2000));
        let (one, two, far) = (mac(1), mac(2), mac(OUTSIDE_MAC));
        let inside = vec![
            forbidden("10.0.0.1", "10.0.0.9").frame(one, far),
            forbidden("10.0.0.1", "10.0.0.2").frame(one, two),
            forbidden("10.0.0.1", "10.0.0.2").frame(mac(0x66), two),
            forbidden("10.0.0.1", "10.0.0.9").frame(one, far).tagged(Tag::dot1q(30)),
            forbidden("2001:db8::1", "ff02::1").frame(one, Ether::BROADCAST),
        ];
        let out = vec![
            forbidden("10.0.0.9", "10.0.0.1").frame(far, one),
            forbidden("10.0.0.1", "10.0.0.2").frame(far, two),
            unknown(far.into(), Ether::BROADCAST, &MARK),
        ];
        let flood = Flood::start(vec![(lan.guests[0].sender(), inside), (lan.outside.sender(), out)]);
        Self { lan, flood, receivers }
    }

    fn leaked(&self) -> usize {
        self.receivers.iter().map(Wire::marked).sum()
    }

    /// How many frames arrived since the last look, and how many were sent.
    fn end(self) -> (usize, u64) {
        let sent = self.flood.finish().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        (self.receivers.iter().map(Wire::marked).sum(), sent)
    }
}

/// A plan that is right each time, since the one before it is undone.
async fn prepared(lan: &mut Lan, from: &Desired, to: &Desired) -> Plan {
    lan.world.settle(from).await;
    plan(to, &lan.world.observe().await)
}

#[test]
fn of_a_flood_of_forbidden_frames_none_passes_during_two_thousand_changes() {
    within(|| async {
        let mut scene = Scene::new().await;
        let start = scene.lan.desired.clone();
        // Mostly one allow and one address, which is what changes in a day; now and then everything.
        let mut little = start.clone();
        little.allows[0].what = tcp(&[443]);
        little.nics[1].ipv4 = vec!["10.0.0.22".parse().unwrap()];
        let mut much = little.clone();
        much.allows.push(allow(lan(), Endpoint::Segment(segment_of("br20")), ping()));
        much.nics.push(nic(7, "br20", &["10.0.0.7", "2001:db8::7"]));
        much.bridges.push(segment(30, true));
        let mut plans = Vec::new();
        for other in [&little, &much] {
            let there = prepared(&mut scene.lan, &start, other).await;
            let back = prepared(&mut scene.lan, other, &start).await;
            plans.push([there, back]);
        }
        scene.lan.world.settle(&start).await;
        let (mut leaked, begin) = (0, Instant::now());
        for i in 0..CHANGES {
            let plan = &plans[usize::from(i % 100 < 2)][i % 2];
            let report = scene.lan.world.ruleset.apply(plan, &mut |_, _| ()).await;
            assert!(report.steps.iter().all(|(_, outcome)| *outcome == Outcome::Done), "change {i}");
            if i % 10 == 0 {
                leaked += scene.leaked();
            }
        }
        let took = begin.elapsed();
        assert!(scene.lan.world.plan(&start).await.is_empty());
        let (late, sent) = scene.end();
        println!("{CHANGES} changes in {took:.1?}, {sent} frames sent, {} arrived", leaked + late);
        assert!(sent > CHANGES as u64, "there was a flood: {sent}");
        assert_eq!(leaked + late, 0);
    });
}

#[test]
fn none_passes_while_the_whole_table_is_made_anew() {
    within(|| async {
        let mut scene = Scene::new().await;
        let start = scene.lan.desired.clone();
        // As it is planned when a base chain or a set is not of the kind that it should be.
        let mut nothing = Observed::default();
        nothing.ownable = scene.lan.world.observe().await.ownable;
        let whole = plan(&start, &nothing);
        let empty = scene.lan.world.plan(&Desired::default()).await;
        let anew = Plan { steps: [empty.steps, whole.steps].concat(), notices: Vec::new() };
        let mut leaked = 0;
        for i in 0..50 {
            let report = scene.lan.world.ruleset.apply(&anew, &mut |_, _| ()).await;
            assert!(
                report.steps.iter().all(|(_, outcome)| *outcome == Outcome::Done),
                "change {i}: {:?}",
                report.steps[0]
            );
            leaked += scene.leaked();
        }
        assert!(scene.lan.world.plan(&start).await.is_empty());
        let (late, sent) = scene.end();
        println!("made anew 50 times, {sent} frames sent, {} arrived", leaked + late);
        assert_eq!(leaked + late, 0);
    });
}
