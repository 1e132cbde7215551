//! Slices that leave, and keepers that are stopped.

use std::time::Duration;

use bulkhead_sandbox::plan::plan;
use bulkhead_sandbox::{Systemd, unit};
use bulkhead_types::Cause;

use crate::world::*;

#[tokio::test]
async fn a_slice_that_left_is_kept_while_something_runs_in_it_and_goes_afterwards() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-left"));
    let mut desired = with_slice(&mut systemd, &guest).await;
    desired.guests.remove(&guest);
    let inmate = Inmate::start(&guest);
    let held = plan(&desired, &systemd.observe().await.unwrap());
    assert!(held.steps.is_empty(), "{:?}", held.steps);
    assert!(held.notices.iter().any(|notice| notice.cause == Cause::Held && notice.text.contains("processes run")));
    drop(inmate);
    assert_eq!(converge(&mut systemd, &desired).await.steps.len(), 1);
    let gone = async {
        while group(&guest).exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the slice goes by itself");
}

#[tokio::test]
async fn a_running_guest_survives_that_its_keeper_is_stopped() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-keeper"));
    let desired = with_slice(&mut systemd, &guest).await;
    let inmate = Inmate::start(&guest);
    must("systemctl", &["stop", &unit::keeper(&guest)]);
    assert_eq!(bounds(&mut systemd, &guest).await, limits());
    assert_eq!(converge(&mut systemd, &desired).await.steps.len(), 1);
    assert_eq!(bounds(&mut systemd, &guest).await, limits());
    drop(inmate);
    without(&mut systemd, desired, &guest).await;
}
