//! What somebody else changes is mended, as soon as libvirt tells of it.

use std::time::Duration;

use bulkhead::guest::model::Timing;

use crate::world::*;

#[tokio::test]
async fn changes_of_somebody_else_wake_and_are_mended() {
    let mut world = World::open().await;
    let desired = desired(guest("t-drift"));
    world.settle(&desired).await;
    let definition = virsh("dumpxml --inactive t-drift");
    let edits = [
        definition.replace(BRIDGE, "virbr0"),
        definition.replace("196608", "131072"),
        definition.replace("<partition>", "<partition>/other"),
    ];
    for edit in edits {
        assert_ne!(edit, definition);
        world.quiet().await;
        define("define", &edit);
        tokio::time::timeout(PATIENCE, world.watch.wake()).await.expect("a wake").unwrap();
        let (steps, _) = world.settle(&desired).await;
        assert!(steps.len() == 1 && steps[0].to_string().starts_with("define t-drift anew"), "{steps:?}");
    }
    for (change, mended) in [
        ("autostart t-drift", &["autostart --disable t-drift"][..]),
        ("net-destroy t-lan", &["net-start t-lan"]),
        ("net-autostart --disable t-lan", &["net-autostart t-lan"]),
        ("net-undefine t-lan", &["net-define t-lan", "net-autostart t-lan"]),
        ("pool-destroy t-images", &["pool-start t-images"]),
        ("pool-autostart --disable t-images", &["pool-autostart t-images"]),
        ("undefine t-drift", &["define t-drift anew (undefined while it runs)"]),
    ] {
        virsh(change);
        let (steps, _) = world.settle(&desired).await;
        assert_eq!(steps.iter().map(ToString::to_string).collect::<Vec<_>>(), mended, "{change}");
    }
}

#[tokio::test]
async fn domains_networks_and_pools_that_change_are_events() {
    let mut world = World::open().await;
    let desired = desired(guest("t-event"));
    world.settle(&desired).await;
    for change in [
        "suspend t-event",
        "resume t-event",
        "net-destroy t-lan",
        "net-start t-lan",
        "pool-destroy t-images",
        "pool-start t-images",
        "destroy t-event",
    ] {
        world.quiet().await;
        virsh(change);
        tokio::time::timeout(PATIENCE, world.watch.wake()).await.unwrap_or_else(|_| panic!("{change}")).unwrap();
    }
    virsh("start t-event");
    world.quiet().await;
    define("attach-device t-event --live", "<input type='keyboard' bus='usb'/>");
    tokio::time::timeout(PATIENCE, world.watch.wake()).await.expect("a device that is plugged in wakes").unwrap();
}

#[tokio::test]
async fn a_guest_that_stops_soon_is_started_again_after_a_while_by_a_wake_of_its_own() {
    let start_interval = Duration::from_secs(15);
    let mut world = World::open_with(Timing { start_interval, ..Timing::default() }).await;
    let desired = desired(guest("t-soon"));
    world.settle(&desired).await;
    virsh("destroy t-soon");
    let mut waited = Vec::new();
    let again = async {
        loop {
            let plan = world.plan(&desired).await;
            if !plan.is_empty() {
                return plan;
            }
            waited.extend(told(&plan));
            world.watch.wake().await.unwrap();
        }
    };
    let plan = tokio::time::timeout(PATIENCE, again).await.expect("the end of the wait is a wake");
    assert_eq!(words(&plan), ["start t-soon"]);
    assert!(waited[0].contains("is started 15 s after its last start"), "{waited:?}");
}

#[tokio::test]
async fn a_paused_guest_is_named_and_left_so() {
    let mut world = World::open().await;
    let desired = desired(guest("t-pause"));
    world.settle(&desired).await;
    virsh("suspend t-pause");
    let plan = world.plan(&desired).await;
    assert!(plan.is_empty());
    assert!(told(&plan)[0].contains("is paused (by a user) and was left so"), "{plan:?}");
}
