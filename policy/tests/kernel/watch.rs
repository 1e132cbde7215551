//! Being told of changes.

use std::time::Duration;

use bulkhead_policy::Watch;
use bulkhead_policy::model::*;
use tokio::time::timeout;

use crate::steady::everything;
use crate::world::*;

async fn wakes(watch: &mut Watch) -> bool {
    timeout(Duration::from_millis(500), watch.wake()).await.map(Result::unwrap).is_ok()
}

#[test]
fn what_somebody_else_does_to_our_tables_wakes_and_nothing_else_does() {
    within(|| async {
        let mut watch = Watch::open().unwrap();
        let mut world = World::open();
        world.settle(&everything()).await;
        world.settle(&Desired::default()).await;
        world.settle(&everything()).await;
        assert!(!wakes(&mut watch).await, "our own changes wake nobody");
        world.close().await;
        run("nft add table inet docker");
        run("nft add chain inet docker bulkhead");
        run("nft delete table inet docker");
        assert!(!wakes(&mut watch).await, "nor do other tables");
        for line in [
            "nft flush chain bridge bulkhead forward",
            "nft delete element bridge bulkhead nic { bh-1 }",
            "nft add counter inet bulkhead x",
            "nft add table bridge bulkhead_lockdown",
            "nft flush ruleset",
        ] {
            run(line);
            assert!(wakes(&mut watch).await, "{line}");
            assert!(!wakes(&mut watch).await, "once is enough: {line}");
        }
    });
}

#[test]
fn a_burst_that_overflows_the_buffer_wakes_and_so_does_the_next_change() {
    within(|| async {
        let mut watch = Watch::open().unwrap();
        run("nft add table inet bulkhead");
        for i in 0..40 {
            let elements: Vec<String> = (0..250).map(|j| format!("10.{i}.{j}.1")).collect();
            run(&format!(
                "nft add set inet bulkhead s{i} {{ type ipv4_addr ; elements = {{ {} }} ; }}",
                elements.join(", ")
            ));
        }
        assert!(wakes(&mut watch).await);
        while wakes(&mut watch).await {}
        run("nft add counter inet bulkhead x");
        assert!(wakes(&mut watch).await);
    });
}
