//! Limits: set, read back, put back, and what bounds a guest below its slice.

use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_sandbox::model::{Bound, Control};
use bulkhead_sandbox::plan::plan;
use bulkhead_sandbox::{Systemd, unit};
use bulkhead_types::{Cause, Known, Limit};

use crate::world::*;

#[tokio::test]
async fn a_guest_s_slice_gets_its_limits_and_a_second_apply_does_nothing() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-limits"));
    let desired = with_slice(&mut systemd, &guest).await;
    assert_eq!(file(&guest, "memory.max"), "67108864");
    assert_eq!(file(&guest, "cpu.max"), "50000 100000");
    assert_eq!(file(&guest, "pids.max"), "32");
    assert_eq!(converge(&mut systemd, &desired).await.steps, vec![], "the second plan");
    without(&mut systemd, desired, &guest).await;
}

#[tokio::test]
async fn limits_stand_before_anything_can_run_in_the_slice() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-before"));
    let desired = desired(&systemd.observe().await.unwrap(), &guest, limits());
    let mut plan = plan(&desired, &systemd.observe().await.unwrap());
    plan.steps.truncate(1);
    systemd.apply(&plan, &|| None, &mut |_, _| ()).await;
    assert_eq!(must("systemctl", &["show", "--value", "--property=ActiveState", &unit::slice(&guest)]), "inactive");
    // Whoever starts something in it now, libvirt say, finds the limits there.
    let inmate = Inmate::start(&guest);
    assert_eq!(bounds(&mut systemd, &guest).await, limits());
    drop(inmate);
    converge(&mut systemd, &desired).await;
    without(&mut systemd, desired, &guest).await;
}

#[tokio::test]
async fn daemon_reload_keeps_the_limits_and_plans_nothing() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-reload"));
    let desired = with_slice(&mut systemd, &guest).await;
    must("systemctl", &["daemon-reload"]);
    assert_eq!(file(&guest, "memory.max"), "67108864");
    assert_eq!(file(&guest, "cpu.max"), "50000 100000");
    assert_eq!(file(&guest, "pids.max"), "32");
    assert_eq!(converge(&mut systemd, &desired).await.steps, vec![]);
    without(&mut systemd, desired, &guest).await;
}

#[tokio::test]
async fn what_is_raised_below_the_slice_is_bounded_by_it() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-nested"));
    let desired = with_slice(&mut systemd, &guest).await;
    let inmate = Inmate::start(&guest);
    // What `virsh memtune --hard-limit` does: a raw write into the group that libvirt has below the scope.
    let nested = group(&guest).join(&inmate.scope);
    fs::write(nested.join("memory.max"), "1073741824").unwrap();
    fs::write(nested.join("pids.max"), "max").unwrap();
    assert_eq!(bounds(&mut systemd, &guest).await, limits());
    drop(inmate);
    without(&mut systemd, desired, &guest).await;
}

#[tokio::test]
async fn what_is_lowered_below_the_slice_is_named_with_its_group() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-lowered"));
    let desired = with_slice(&mut systemd, &guest).await;
    let inmate = Inmate::start(&guest);
    let nested = inmate.lowest(&guest);
    fs::write(nested.join("memory.max"), "33554432").unwrap();
    let path = nested.strip_prefix("/sys/fs/cgroup").unwrap().to_str().unwrap();
    let found = seen(&mut systemd, &guest).await;
    let bound = Bound { limit: Limit::At(32 << 20), group: format!("/{path}") };
    assert_eq!(found.bounds[Control::Memory], Known::Known(bound));
    assert_eq!(found.bounds[Control::Pids].known().unwrap().group, found.path);
    let plan = plan(&desired, &systemd.observe().await.unwrap());
    assert!(plan.is_empty(), "what is not ours is not written: {:?}", plan.steps);
    let said = plan.notices.iter().find(|notice| notice.cause == Cause::Held).expect("a notice");
    assert!(said.text.contains("32 MiB and not the manifest's 64 MiB") && said.text.contains(path), "{}", said.text);
    drop(inmate);
    without(&mut systemd, desired, &guest).await;
}

/// A file of the kernel's with another text laid over it, which nobody else sees; gone at the end.
struct Garbled(PathBuf);

impl Garbled {
    fn lay(over: PathBuf) -> Self {
        let text = Path::new("/run/bulkhead-t-garbled");
        fs::write(text, "many\n").unwrap();
        must("mount", &["--bind", text.to_str().unwrap(), over.to_str().unwrap()]);
        Self(over)
    }
}

impl Drop for Garbled {
    fn drop(&mut self) {
        run("umount", &[self.0.to_str().unwrap()]);
    }
}

#[tokio::test]
async fn a_slice_that_cannot_be_read_is_unknown_and_the_others_go_on() {
    let _guard = alone().await;
    let (mut systemd, bad, good) = (Systemd::new(), guest("t-garbled"), guest("t-readable"));
    with_slice(&mut systemd, &bad).await;
    let both = with_slice(&mut systemd, &good).await;
    let garbled = Garbled::lay(group(&bad).join("pids.max"));
    must("systemctl", &["set-property", "--runtime", &unit::slice(&good), "TasksMax=9"]);
    let observed = systemd.observe().await.unwrap();
    let why = observed.slices[&bad].cgroup.why().expect("it cannot be read");
    assert!(why.contains("pids.max") && why.contains("many"), "{why}");
    let first = plan(&both, &observed);
    assert!(first.notices.iter().any(|notice| notice.text.contains("not known")), "{:?}", first.notices);
    systemd.apply(&first, &|| None, &mut |_, _| ()).await;
    assert_eq!(file(&good, "pids.max"), "32");
    drop(garbled);
    assert_eq!(plan(&both, &systemd.observe().await.unwrap()).steps, vec![]);
    let left = without(&mut systemd, both, &bad).await;
    assert_eq!(left.steps.len(), 1);
    let rest = desired(&systemd.observe().await.unwrap(), &good, limits());
    without(&mut systemd, rest, &good).await;
}

#[tokio::test]
async fn a_limit_that_somebody_raised_on_the_slice_is_put_back() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-drift"));
    let desired = with_slice(&mut systemd, &guest).await;
    must("systemctl", &["set-property", "--runtime", &unit::slice(&guest), "MemoryMax=infinity"]);
    assert_eq!(converge(&mut systemd, &desired).await.steps.len(), 1);
    assert_eq!(file(&guest, "memory.max"), "67108864");
    // Behind systemd's back: systemd believes in its own value, the kernel is asked all the same.
    fs::write(group(&guest).join("pids.max"), "max").unwrap();
    assert_eq!(converge(&mut systemd, &desired).await.steps.len(), 1);
    assert_eq!(file(&guest, "pids.max"), "32");
    without(&mut systemd, desired, &guest).await;
}
