//! An encrypted pool holds its guests until a dm-crypt mount is really there.

use crate::world::*;

const IMAGE: &str = "/var/tmp/t-sealed.img";
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A dm-crypt device with a filesystem, mounted at the pool's place; goes with its value.
struct Sealed(String);

impl Sealed {
    fn unlock() -> Self {
        run(&format!("truncate -s 64M {IMAGE}"));
        let device = run(&format!("losetup --find --show {IMAGE}"));
        let table = format!("0 131072 crypt aes-xts-plain64 {KEY} 0 {device} 0");
        let output = std::process::Command::new("dmsetup")
            .args(["create", "t-sealed", "--uuid", "CRYPT-PLAIN-t-sealed", "--table", &table])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        run("mkfs.ext4 -q /dev/mapper/t-sealed");
        run(&format!("mkdir -p {IMAGES}"));
        Self(device)
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        try_run("virsh destroy t-sealed");
        try_run(&format!("umount --lazy {IMAGES}"));
        try_run("dmsetup remove --retry t-sealed");
        try_run(&format!("losetup --detach {}", self.0));
        std::fs::remove_file(IMAGE).unwrap();
    }
}

#[tokio::test]
async fn guests_of_an_encrypted_pool_wait_until_it_is_mounted_and_then_start_by_its_event() {
    let mut world = World::open().await;
    let mut desired = desired(guest("t-sealed"));
    desired.pools[0].encrypted = true;
    let (steps, rest) = world.settle(&desired).await;
    let steps: Vec<_> = steps.iter().map(ToString::to_string).collect();
    assert_eq!(steps, ["net-define t-lan", "net-start t-lan", "net-autostart t-lan"]);
    let held = told(&rest);
    assert!(held.iter().any(|told| told.starts_with("pool t-images Held")), "{held:#?}");
    assert!(held.iter().any(|told| told.starts_with("guest t-sealed Held: is not started")), "{held:#?}");
    assert!(!std::path::Path::new(IMAGES).exists(), "nothing is made below it");
    let _sealed = Sealed::unlock();
    world.quiet().await;
    run(&format!("mount /dev/mapper/t-sealed {IMAGES}"));
    world.until(&desired, "the mount", |observed| observed.unencrypted.is_empty()).await;
    let (_, rest) = world.settle(&desired).await;
    assert_eq!(told(&rest), Vec::<String>::new());
    assert!(runs(&world.observe(&desired).await, "t-sealed"));
    assert!(virsh("pool-info t-images").contains("Autostart:      no"), "libvirtd would start it before its mount");
    virsh("destroy t-sealed");
    virsh("pool-destroy t-images");
}
