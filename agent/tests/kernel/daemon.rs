//! libvirtd comes and goes; guests stay.

use std::time::{Duration, Instant};

use crate::world::*;

#[tokio::test]
async fn libvirtd_restarted_is_connected_again_by_itself_and_no_guest_stopped() {
    let mut world = World::open().await;
    let desired = desired(guest("t-again"));
    world.settle(&desired).await;
    let pid = qemu("t-again");
    world.quiet().await;
    run("systemctl restart libvirtd.service");
    let seen = Instant::now();
    world.until(&desired, "the connection after the restart", |observed| observed.down.is_none()).await;
    world.quiet().await;
    let (steps, rest) = world.settle(&desired).await;
    assert_eq!((steps, told(&rest)), (vec![], vec![]));
    assert_eq!(qemu("t-again"), pid);
    println!("observed again after {:?}", seen.elapsed());
    // Events come on the new connection too.
    virsh("suspend t-again");
    tokio::time::timeout(PATIENCE, world.watch.wake()).await.expect("a wake").unwrap();
}

#[tokio::test]
async fn a_stopped_libvirtd_is_an_observation_that_wakes_and_its_return_wakes_again() {
    let mut world = World::open().await;
    let desired = desired(guest("t-away"));
    world.settle(&desired).await;
    let pid = qemu("t-away");
    world.quiet().await;
    // Its sockets would start it again.
    let sockets = "libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket";
    run(&format!("systemctl stop {sockets} libvirtd.service"));
    world.until(&desired, "its end", |observed| observed.down.is_some()).await;
    assert_eq!(run(&format!("ps -o comm= -p {pid}")).split('-').next(), Some("qemu"));
    run(&format!("systemctl start {sockets} libvirtd.service"));
    world.until(&desired, "its return", |observed| observed.down.is_none()).await;
    world.quiet().await;
    assert_eq!(world.settle(&desired).await.0, []);
    assert_eq!(qemu("t-away"), pid);
}

#[tokio::test]
async fn a_frozen_libvirtd_is_given_up_and_taken_up_again() {
    let mut world = World::open().await;
    let desired = desired(guest("t-frozen"));
    world.settle(&desired).await;
    world.quiet().await;
    let daemon = run("systemctl show --value --property=MainPID libvirtd.service");
    run(&format!("kill -STOP {daemon}"));
    let seen = Instant::now();
    let observed = world.libvirt.observe(&desired).await.unwrap();
    let asked = seen.elapsed();
    let wait = async {
        while world.libvirt.down().is_none() {
            world.watch.wake().await.unwrap();
        }
    };
    let given_up = tokio::time::timeout(Duration::from_secs(40), wait).await;
    run(&format!("kill -CONT {daemon}"));
    assert!(observed.down.is_some() && asked < Duration::from_secs(12), "{observed:?} after {asked:?}");
    given_up.expect("keepalive gives it up");
    world.until(&desired, "its return", |observed| observed.down.is_none()).await;
    world.quiet().await;
    assert_eq!(world.settle(&desired).await.0, []);
}
