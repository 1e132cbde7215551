//! A guest from nothing to nothing.

use std::time::Duration;

use bulkhead::guest::model::{Format, State, Timing};
use bulkhead_sandbox::Systemd;
use bulkhead_sandbox::model::Limits;
use bulkhead_types::GuestName;

use crate::world::*;

#[tokio::test]
async fn a_manifest_becomes_a_guest_in_its_slice_on_its_bridge() {
    let mut world = World::open().await;
    let desired = desired(guest("t-life"));
    let (steps, rest) = world.settle(&desired).await;
    assert_eq!(
        steps.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "pool-define t-images",
            "pool-build t-images",
            "pool-start t-images",
            "pool-autostart t-images",
            "vol-create t-images t-life-vda.raw",
            "net-define t-lan",
            "net-start t-lan",
            "net-autostart t-lan",
            "define t-life",
            "start t-life",
        ]
    );
    assert_eq!(told(&rest), Vec::<String>::new());
    let observed = world.observe(&desired).await;
    let domain = &observed.domains["t-life"];
    assert!(domain.owned && domain.persistent && !domain.autostart && domain.state == State::Running);
    let (pid, name): (_, GuestName) = (qemu("t-life"), "t-life".parse().unwrap());
    let slice = Systemd::new().observe().await.unwrap().slices.remove(&name).unwrap();
    let bounds = slice.cgroup.known().unwrap().as_ref().unwrap().bounds.clone();
    assert_eq!(Limits::from_fn(|control| bounds[control].known().unwrap().limit), limits());
    let group = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let slice = r"0::/machine.slice/machine-bulkhead.slice/machine-bulkhead-t\x2dlife.slice/machine-qemu";
    assert!(group.starts_with(slice), "{group}");
    let tap = run("ip -o link show bh-000000000001");
    assert!(tap.contains(&format!("master {BRIDGE}")), "{tap}");
    assert!(virsh("domiflist t-life").contains("52:54:00:42:00:01"));
    assert_eq!(run(&format!("stat -c %a {IMAGES}")), "711");
    assert!(virsh(&format!("net-info {NETWORK}")).contains("Autostart:      yes"));
}

#[tokio::test]
async fn a_guest_with_more_of_everything_is_read_back_as_it_was_written() {
    let mut world = World::open().await;
    let mut guest = guest("t-more");
    guest.memory = 129 << 20;
    (guest.vcpus_now, guest.vcpus_max) = (2, 3);
    guest.disks = vec![disk("t-more", "vdb", Format::Qcow2), disk("t-more", "vda", Format::Raw)];
    guest.nics = vec![nic(2), nic(1), nic(3)];
    guest.start = false;
    let mut desired = desired(guest);
    assert_eq!(told(&world.settle(&desired).await.1), Vec::<String>::new(), "defined and not started");
    desired.guests[0].start = true;
    assert_eq!(told(&world.settle(&desired).await.1), Vec::<String>::new(), "running");
    virsh("setvcpus t-more 3 --live");
    assert_eq!(told(&world.settle(&desired).await.1), Vec::<String>::new(), "CPUs move within their bounds");
    // What virt-manager does: read the definition, change what is no wall, define it again.
    let xml = virsh("dumpxml --inactive --security-info t-more");
    define("define", &xml.replacen("<metadata>", "<description>of somebody</description><metadata>", 1));
    assert_eq!(told(&world.settle(&desired).await.1), Vec::<String>::new(), "a description");
}

#[tokio::test]
async fn a_guest_that_leaves_is_asked_kept_and_only_by_force_destroyed_and_its_volume_stays() {
    let timeout = Duration::from_secs(15);
    let mut world =
        World::open_with(Timing { shutdown_timeout: timeout, start_interval: Duration::from_secs(1) }).await;
    let desired = desired(guest("t-leave"));
    world.settle(&desired).await;
    let gone = without_guests(&desired);
    let (steps, rest) = world.settle(&gone).await;
    assert_eq!(steps.iter().map(ToString::to_string).collect::<Vec<_>>(), ["shutdown t-leave"]);
    assert!(told(&rest)[0].contains("has 15 s to shut down"), "{rest:?}");
    world.quiet().await;
    // iPXE does not hear its power button: the end of patience is a wake of its own. Others may come before.
    let end = async {
        loop {
            world.watch.wake().await.unwrap();
            let (steps, rest) = world.settle(&gone).await;
            assert_eq!(steps, []);
            if told(&rest)[0].contains("did not shut down in 15 s and was kept") {
                return;
            }
        }
    };
    tokio::time::timeout(timeout + PATIENCE, end).await.expect("the end of patience wakes");
    assert!(runs(&world.observe(&gone).await, "t-leave"));
    world.admission.force = true;
    let (steps, _) = world.settle(&gone).await;
    assert_eq!(steps.iter().map(ToString::to_string).collect::<Vec<_>>(), ["destroy t-leave", "undefine t-leave"]);
    assert!(std::path::Path::new(IMAGES).join("t-leave-vda.raw").exists());
    world.admission.force = false;
    let (steps, _) = world.settle(&desired).await;
    let steps: Vec<_> = steps.iter().map(ToString::to_string).collect();
    assert_eq!(steps, ["define t-leave", "start t-leave"], "its volume is used again");
}

#[tokio::test]
async fn a_guest_that_shuts_down_after_it_was_asked_is_forgotten_by_event() {
    let mut world = World::open().await;
    let desired = desired(guest("t-obey"));
    world.settle(&desired).await;
    let gone = without_guests(&desired);
    world.settle(&gone).await;
    virsh("destroy t-obey");
    world.until(&gone, "the guest's end", |observed| !runs(observed, "t-obey")).await;
    let (steps, _) = world.settle(&gone).await;
    assert_eq!(steps.iter().map(ToString::to_string).collect::<Vec<_>>(), ["undefine t-obey"]);
}
