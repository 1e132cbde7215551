//! What wakes.

use std::fs;
use std::process::Command;
use std::time::Duration;

use bulkhead_sandbox::watch::Watch;
use bulkhead_sandbox::{Systemd, unit};

use crate::world::*;

#[tokio::test]
async fn a_machine_that_starts_or_ends_in_a_slice_wakes() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-machine"));
    let mut watch = Watch::open().await.unwrap();
    let desired = with_slice(&mut systemd, &guest).await;
    while tokio::time::timeout(Duration::from_secs(2), watch.wake()).await.is_ok() {}
    // As systemd-machined names what libvirt starts.
    let scope = r"machine-qemu\x2d1\x2dt\x2dmachine.scope";
    let slice = format!("--slice={}", unit::slice(&guest));
    let arguments = ["--scope", &slice, "--unit", scope, "sleep", "1000"];
    let mut machine = Command::new("systemd-run").args(arguments).spawn().unwrap();
    tokio::time::timeout(Duration::from_secs(10), watch.wake()).await.expect("a wake").unwrap();
    assert!(seen(&mut systemd, &guest).await.populated);
    while tokio::time::timeout(Duration::from_secs(2), watch.wake()).await.is_ok() {}
    must("systemctl", &["stop", scope]);
    machine.wait().unwrap();
    tokio::time::timeout(Duration::from_secs(10), watch.wake()).await.expect("a wake").unwrap();
    without(&mut systemd, desired, &guest).await;
}

#[tokio::test]
async fn a_stopped_keeper_wakes() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-wake"));
    let mut watch = Watch::open().await.unwrap();
    let desired = with_slice(&mut systemd, &guest).await;
    // Our own writes wake too: wait until it is quiet.
    while tokio::time::timeout(Duration::from_secs(2), watch.wake()).await.is_ok() {}
    must("systemctl", &["stop", &unit::keeper(&guest)]);
    tokio::time::timeout(Duration::from_secs(10), watch.wake()).await.expect("a wake").unwrap();
    converge(&mut systemd, &desired).await;
    without(&mut systemd, desired, &guest).await;
}

#[tokio::test]
async fn a_limit_that_somebody_sets_on_the_slice_or_below_it_wakes() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-written"));
    let mut watch = Watch::open().await.unwrap();
    let desired = with_slice(&mut systemd, &guest).await;
    let inmate = Inmate::start(&guest);
    let lowest = inmate.lowest(&guest);
    for set in [
        &|| _ = must("systemctl", &["set-property", "--runtime", &unit::slice(&guest), "MemoryMax=128M"]),
        &|| fs::write(group(&guest).join("pids.max"), "max").unwrap(),
        &|| fs::write(lowest.join("memory.max"), "33554432").unwrap(),
    ] as [&dyn Fn(); 3]
    {
        while tokio::time::timeout(Duration::from_secs(2), watch.wake()).await.is_ok() {}
        set();
        tokio::time::timeout(Duration::from_secs(10), watch.wake()).await.expect("a wake").unwrap();
    }
    drop(inmate);
    converge(&mut systemd, &desired).await;
    without(&mut systemd, desired, &guest).await;
}
