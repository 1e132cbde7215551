//! The agent's own capabilities.

use std::fs;

use bulkhead_sandbox::capabilities;

#[test]
fn a_thread_keeps_the_required_capabilities_and_no_other() {
    // In a thread of its own: the rest of the tests need root's.
    let status = std::thread::spawn(|| {
        capabilities::drop_to_required().unwrap();
        fs::read_to_string("/proc/thread-self/status").unwrap()
    })
    .join()
    .unwrap();
    let sets: Vec<&str> = status.lines().filter(|line| line.starts_with("Cap")).collect();
    assert_eq!(sets.len(), 5);
    assert!(sets.iter().all(|line| line.ends_with("\t0000000000001000")), "{sets:?}");
    // The other threads still have all: the assertion is about every one.
    assert!(capabilities::assert_required().is_err());
}

#[test]
fn without_the_required_capabilities_the_unit_is_named() {
    let error = std::thread::spawn(|| {
        caps::clear(None, caps::CapSet::Effective).unwrap();
        caps::clear(None, caps::CapSet::Permitted).unwrap();
        capabilities::drop_to_required().unwrap_err().to_string()
    })
    .join()
    .unwrap();
    assert!(error.contains("cap_net_admin") || error.contains("CAP_NET_ADMIN"), "{error}");
    assert!(error.contains("systemctl start bulkheadd"), "{error}");
}
