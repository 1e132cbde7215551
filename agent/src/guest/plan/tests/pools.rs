//! Pools: their directories, and the mounts of encrypted ones.

use super::*;

#[test]
fn guests_of_an_encrypted_pool_wait_for_its_mount_and_nothing_is_made_below_it() {
    let mut desired = samples::desired();
    desired.pools[0].encrypted = true;
    let mut world = empty_world();
    world.unencrypted.insert("default".to_owned(), "/var/lib/libvirt/images is on /dev/sda1".to_owned());
    let plan = plan(&desired, &world, &Admission::default());
    assert_eq!(words(&plan), ["net-define LANBridge", "net-start LANBridge", "net-autostart LANBridge"]);
    assert!(texts(&plan).contains(
        "guest example Held: is not started: its pool default is declared encrypted, and /var/lib/libvirt/images is on"
    ));
}

#[test]
fn a_directory_that_the_daemon_cannot_see_is_never_made() {
    let mut world = empty_world();
    world.hidden.insert("default".to_owned(), "the agent does not see what is in /home".to_owned());
    let plan = plan(&samples::desired(), &world, &Admission::default());
    assert!(!words(&plan).iter().any(|step| step.starts_with("pool-build")), "{:?}", words(&plan));
    assert!(texts(&plan).contains("pool default Held: its directory /var/lib/libvirt/images is not made"));
}
