//! Slices of others.

use bulkhead_sandbox::Systemd;

use crate::world::*;

#[tokio::test]
async fn foreign_slices_stay_as_they_are() {
    let _guard = alone().await;
    let (mut systemd, guest) = (Systemd::new(), guest("t-foreign"));
    // A neighbour, and one whose name is like ours but nests deeper than a guest's.
    let foreign = ["machine-other.slice", "machine-bulkhead-a-b.slice"];
    for slice in foreign {
        must("systemctl", &["set-property", "--runtime", slice, "TasksMax=77"]);
        must("systemctl", &["start", slice]);
    }
    let show = || {
        let wanted = "--property=ActiveState,TasksMax,MemoryMax,CPUQuotaPerSecUSec,InvocationID";
        foreign.map(|slice| must("systemctl", &["show", wanted, slice]))
    };
    let before = show();
    let desired = with_slice(&mut systemd, &guest).await;
    without(&mut systemd, desired, &guest).await;
    assert_eq!(show(), before);
    for slice in foreign {
        must("systemctl", &["stop", slice]);
    }
}
