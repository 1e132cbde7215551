//! The daemon is not root: what it asks of libvirt it may ask by polkit.

use std::process::Command;

use bulkhead::guest::model::Timing;
use bulkhead::guest::{Admission, Libvirt, SYSTEM, plan};
use bulkhead_types::Outcome;

use crate::world::*;

/// Set in the process of this test that runs as the daemon's user.
const INSIDE: &str = "BULKHEAD_TEST_AS_DAEMON";

#[tokio::test]
async fn the_daemons_user_may_do_what_a_plan_does() {
    let desired = desired(guest("t-user"));
    if std::env::var_os(INSIDE).is_some() {
        let libvirt = Libvirt::open(SYSTEM, Timing::default()).unwrap();
        let mut watch = libvirt.watch().unwrap();
        while libvirt.down().is_some() {
            tokio::time::timeout(PATIENCE, watch.wake()).await.expect("libvirtd answers").unwrap();
        }
        let observed = libvirt.observe(&desired).await.unwrap();
        let mut plan = plan(&desired, &observed, &Admission::default());
        plan.steps.retain(|step| step.to_string().contains("t-"));
        let report = libvirt.apply(&plan, &|| None, &mut |_, _| {}).await;
        assert!(report.steps.iter().all(|(_, outcome)| *outcome == Outcome::Done), "{report:#?}");
        return;
    }
    let mut world = World::open().await;
    world.prepare(&desired).await;
    let program = std::env::current_exe().unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=bulkhead", "--regid=bulkhead", "--clear-groups", "--"])
        .arg(program)
        .args(["--exact", "user::the_daemons_user_may_do_what_a_plan_does"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert_eq!(world.settle(&desired).await.0, []);
    assert!(runs(&world.observe(&desired).await, "t-user"));
}
