//! Changes under load: at no moment does a forbidden frame pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bulkhead_policy::model::*;
use bulkhead_policy::{Plan, plan};
use bulkhead_types::Outcome;

use crate::frame::*;
use crate::sys::Wire;
use crate::world::*;

const CHANGES: usize = 2000;

/// Sends frames until it is told to stop, with a breath after each round: the changes need a processor, too.
fn flood(
    wire: Wire,
    frames: Vec<Vec<u8>>,
    stop: &Arc<AtomicBool>,
    sent: &Arc<AtomicU64>,
) -> std::thread::JoinHandle<()> {
    let (stop, sent) = (stop.clone(), sent.clone());
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            frames.iter().for_each(|frame| wire.send(frame));
            sent.fetch_add(frames.len() as u64, Ordering::Relaxed);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    })
}

/// Guests 1 and 2 and outside; guest 1 may speak to port 80 outside and nobody to port 2000.
struct Scene {
    lan: Lan,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    senders: Vec<std::thread::JoinHandle<()>>,
    receivers: Vec<Wire>,
}

impl Scene {
    async fn new() -> Self {
        let lan = Lan::new(2, false, vec![allow(guest(1), outside(), tcp(&[80]))]).await;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let receivers = vec![lan.guests[1].wire(), lan.outside.wire(), lan.guests[0].wire()];
        let forbidden = |to, from: u8, source: &str, target: &str| {
            ethernet(mac(to), mac(from), IPV4, &ipv4(source, target, 17, &udp(1000, 2000)))
        };
        let inside = vec![
            forbidden(OUTSIDE_MAC, 1, "10.0.0.1", "10.0.0.9"),
            forbidden(2, 1, "10.0.0.1", "10.0.0.2"),
            forbidden(2, 0x66, "10.0.0.1", "10.0.0.2"),
            tagged(&forbidden(OUTSIDE_MAC, 1, "10.0.0.1", "10.0.0.9"), 0x8100, 30),
            ethernet(BROADCAST, mac(1), IPV6, &ipv6("2001:db8::1", "ff02::1", 17, 64, &udp(1000, 2000))),
        ];
        let out = vec![
            forbidden(1, OUTSIDE_MAC, "10.0.0.9", "10.0.0.1"),
            forbidden(2, OUTSIDE_MAC, "10.0.0.1", "10.0.0.2"),
            ethernet(BROADCAST, mac(OUTSIDE_MAC), 0x88b5, MARK),
        ];
        let senders =
            vec![flood(lan.guests[0].wire(), inside, &stop, &sent), flood(lan.outside.wire(), out, &stop, &sent)];
        Self { lan, stop, sent, senders, receivers }
    }

    fn leaked(&self) -> usize {
        let frames = self.receivers.iter().flat_map(Wire::frames);
        frames.filter(|frame| frame.windows(MARK.len()).any(|part| part == MARK)).count()
    }

    fn end(self) -> (usize, u64) {
        self.stop.store(true, Ordering::Relaxed);
        for sender in self.senders {
            sender.join().unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        let frames = self.receivers.iter().flat_map(Wire::frames);
        let late = frames.filter(|frame| frame.windows(MARK.len()).any(|part| part == MARK)).count();
        (late, self.sent.load(Ordering::Relaxed))
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
