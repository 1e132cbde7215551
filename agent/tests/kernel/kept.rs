//! Nothing of the user's is lost: snapshots, jobs, saved memory, firmware variables and what somebody wrote into a definition.

use std::path::Path;

use bulkhead::guest::Plan;
use bulkhead::guest::model::{Desired, Format, Guest, Observed};

use crate::world::*;

const MIB: u64 = 1 << 20;

/// The example of a test, not started.
fn at_rest(name: &str) -> Guest {
    Guest { start: false, ..guest(name) }
}

/// The same manifest with more memory for its guest: a change that wants a definition.
fn larger(desired: &Desired) -> Desired {
    let mut larger = desired.clone();
    larger.guests[0].memory += 64 * MIB;
    larger
}

fn image(name: &str) -> String {
    format!("{IMAGES}/{name}")
}

/// The image of the next start.
fn next_image(name: &str) -> String {
    let line = virsh(&format!("domblklist {name} --inactive"));
    line.split_whitespace().last().unwrap().to_owned()
}

fn says(plan: &Plan, text: &str) {
    let told = told(plan);
    assert!(told.iter().any(|told| told.contains(text)), "{text}\n{told:#?}");
}

#[tokio::test]
async fn a_guest_on_a_snapshot_keeps_it_through_a_change_and_a_start_until_it_is_committed() {
    let mut world = World::open().await;
    let mut desired = desired(guest("t-snap"));
    world.settle(&desired).await;
    virsh("snapshot-create-as t-snap s1 --disk-only --atomic");
    let overlay = image("t-snap-vda.s1");
    assert_eq!(next_image("t-snap"), overlay);
    let (steps, rest) = world.settle(&desired).await;
    assert_eq!(steps, []);
    says(&rest, &format!("its disk vda is on {overlay}, an overlay of the declared volume t-snap-vda.raw"));
    desired = larger(&desired);
    let (steps, _) = world.settle(&desired).await;
    assert_eq!(steps.len(), 1, "{steps:?}");
    assert_eq!(next_image("t-snap"), overlay, "a change of the memory");
    virsh("destroy t-snap");
    // A daemon that has just come starts it at once.
    world.restart().await;
    let (steps, _) = world.settle(&desired).await;
    assert_eq!(steps.iter().map(ToString::to_string).collect::<Vec<_>>(), ["start t-snap"]);
    assert!(virsh("domblklist t-snap").contains(&overlay), "never from the base");
    virsh("blockcommit t-snap vda --active --pivot --wait");
    let (steps, rest) = world.settle(&desired).await;
    assert_eq!((steps, told(&rest)), (vec![], vec![]));
    assert_eq!(next_image("t-snap"), image("t-snap-vda.raw"));
}

#[tokio::test]
async fn a_guest_at_rest_keeps_its_snapshot_and_is_left_alone_where_its_image_is_in_no_pool() {
    const ELSEWHERE: &str = "/var/tmp/t-rest.s2";
    let mut world = World::open().await;
    let mut desired = desired(at_rest("t-rest"));
    world.settle(&desired).await;
    virsh("snapshot-create-as t-rest s1 --disk-only --atomic");
    let (steps, rest) = world.settle(&larger(&desired)).await;
    assert_eq!(steps.len(), 1, "{steps:?}");
    says(&rest, &format!("its disk vda is on {}, an overlay of the declared volume", image("t-rest-vda.s1")));
    assert_eq!(next_image("t-rest"), image("t-rest-vda.s1"));
    virsh(&format!("snapshot-create-as t-rest s2 --disk-only --atomic --diskspec vda,file={ELSEWHERE}"));
    desired.guests[0].start = true;
    let plan = world.plan(&desired).await;
    std::fs::remove_file(ELSEWHERE).unwrap();
    assert_eq!(words(&plan), Vec::<String>::new());
    says(&plan, &format!("is left alone: its disk vda is {ELSEWHERE}, and whether that is an overlay of"));
    assert_eq!(next_image("t-rest"), ELSEWHERE);
}

/// Whether the guest runs on that image, and nothing is below it.
fn runs_on(observed: &Observed, name: &str, image: &str) -> bool {
    observed.domains[name].running_chains.get("vda").is_some_and(|images| images[..] == [Path::new(image)])
}

/// Neither a change nor a start puts the declared volume into the place of that image.
async fn keeps(world: &mut World, desired: &Desired, name: &str, image: &str) {
    let (steps, rest) = world.settle(&larger(desired)).await;
    assert_eq!(steps, []);
    says(&rest, &format!("is left alone: its disk vda is {image}, and the manifest says"));
    assert_eq!(next_image(name), image);
}

#[tokio::test]
async fn a_guest_on_a_pulled_or_copied_image_is_left_alone_until_that_image_is_declared() {
    let mut world = World::open().await;
    let mut desired = desired(guest("t-pull"));
    world.settle(&desired).await;
    virsh("snapshot-create-as t-pull s1 --disk-only --atomic --no-metadata");
    world.quiet().await;
    let pulled = image("t-pull-vda.s1");
    virsh("blockpull t-pull vda");
    world.until(&desired, "the end of the pull", |observed| runs_on(observed, "t-pull", &pulled)).await;
    keeps(&mut world, &desired, "t-pull", &pulled).await;
    let disk = &mut desired.guests[0].disks[0];
    (disk.volume, disk.format) = ("t-pull-vda.s1".to_owned(), Format::Qcow2);
    let (steps, rest) = world.settle(&desired).await;
    assert_eq!((steps, told(&rest)), (vec![], vec![]), "what was pulled is declared");
    let copy = image("t-pull.copy");
    virsh(&format!("blockcopy t-pull vda {copy} --transient-job --wait --pivot"));
    world.until(&desired, "the end of the copy", |observed| runs_on(observed, "t-pull", &copy)).await;
    keeps(&mut world, &desired, "t-pull", &copy).await;
    virsh("destroy t-pull");
    world.restart().await;
    keeps(&mut world, &desired, "t-pull", &copy).await;
    assert!(!runs(&world.observe(&desired).await, "t-pull"), "never from what is older");
    "t-pull.copy".clone_into(&mut desired.guests[0].disks[0].volume);
    let (steps, _) = world.settle(&desired).await;
    assert_eq!(steps.iter().map(ToString::to_string).collect::<Vec<_>>(), ["start t-pull"]);
}

#[tokio::test]
async fn a_guest_that_is_copied_or_backed_up_is_left_alone_until_that_ends() {
    const BACKUP: &str = "<domainbackup mode='pull'><server transport='tcp' name='localhost' port='10899'/>\
        <disks><disk name='vda' backup='yes' type='file'/></disks></domainbackup>";
    let mut world = World::open().await;
    let mut desired = desired(guest("t-job"));
    world.settle(&desired).await;
    let copy = image("t-job.copy");
    for (begin, end, text) in [
        (
            format!("blockcopy t-job vda {copy} --transient-job --format raw"),
            "blockjob t-job vda --abort",
            "a block job is running on its disk vda",
        ),
        (String::new(), "domjobabort t-job", "libvirt is at work on it"),
    ] {
        match begin.as_str() {
            "" => define("backup-begin t-job", BACKUP),
            begin => _ = virsh(begin),
        }
        desired = larger(&desired);
        let plan = world.plan(&desired).await;
        assert_eq!(words(&plan), Vec::<String>::new());
        says(&plan, text);
        virsh(end);
        // libvirt ends it in its own time, and its end is an event.
        let ended = async {
            while world.plan(&desired).await.is_empty() {
                world.watch.wake().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("the job ends");
        let (steps, _) = world.settle(&desired).await;
        assert!(steps.len() == 1 && steps[0].to_string().starts_with("define t-job anew (memory"), "{steps:?}");
    }
}

#[tokio::test]
async fn what_somebody_wrote_into_a_definition_is_there_to_the_letter_after_a_change_of_the_memory() {
    let mut world = World::open().await;
    let desired = desired(at_rest("t-hand"));
    world.settle(&desired).await;
    let by_hand = virsh("dumpxml --inactive --security-info t-hand")
        .replacen(
            "<metadata>",
            "<title>Shop</title><description>a &amp; b</description><metadata><r:r xmlns:r='urn:r'/>",
            1,
        )
        .replacen(
            "<clock offset='utc'/>",
            "<clock offset='localtime'><timer name='rtc' tickpolicy='catchup'/></clock>",
            1,
        )
        .replacen(
            "<devices>",
            "<devices><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>\
             <graphics type='vnc' port='-1' autoport='yes' passwd='secret'/>\
             <disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>",
            1,
        );
    define("define", &by_hand);
    let before = virsh("dumpxml --inactive --security-info t-hand");
    assert!(before.contains("passwd='secret'") && before.contains("urn:r"), "{before}");
    let (steps, rest) = world.settle(&desired).await;
    assert_eq!(steps, []);
    says(&rest, "keeps it: disk sda without an image, channel unix org.qemu.guest_agent.0, graphics vnc");
    let (steps, _) = world.settle(&larger(&desired)).await;
    assert_eq!(steps.len(), 1, "{steps:?}");
    let after = virsh("dumpxml --inactive --security-info t-hand");
    assert_eq!(
        after,
        before
            .replace("196608</memory>", "262144</memory>")
            .replace("196608</currentMemory>", "262144</currentMemory>")
    );
}

#[tokio::test]
async fn a_guest_with_firmware_a_snapshot_and_saved_memory_leaves_and_comes_back_whole() {
    const CODE: &str = "/var/tmp/t-code.fd";
    const VARIABLES: &str = "/var/tmp/t-vars.fd";
    const NVRAM: &str = "/var/lib/libvirt/qemu/nvram/t-firm_VARS.fd";
    let mut world = World::open().await;
    let mut desired = desired(at_rest("t-firm"));
    world.settle(&desired).await;
    // Firmware that stops the processor at its first instruction; the variables are what matters.
    let mut code = vec![0xff; 4 << 20];
    let reset = code.len() - 16;
    code[reset..reset + 4].copy_from_slice(&[0xfa, 0xf4, 0xeb, 0xfc]);
    std::fs::write(CODE, code).unwrap();
    std::fs::write(VARIABLES, vec![0xff; 64 << 10]).unwrap();
    let os = format!(
        "<loader readonly='yes' type='pflash'>{CODE}</loader><nvram template='{VARIABLES}'>{NVRAM}</nvram></os>"
    );
    define("define", &virsh("dumpxml --inactive t-firm").replacen("</os>", &os, 1));
    desired.guests[0].start = true;
    world.settle(&desired).await;
    assert!(Path::new(NVRAM).exists());
    virsh("snapshot-create-as t-firm s1 --disk-only --atomic");
    virsh("managedsave t-firm");
    let whole = virsh("dumpxml --inactive t-firm");
    world.admission.force = true;
    let (steps, rest) = world.settle(&without_guests(&desired)).await;
    assert_eq!(steps, []);
    says(
        &rest,
        "is to go, is shut off and stays defined, because libvirt could not give back what somebody changed in its definition, 1 snapshot, saved memory",
    );
    assert!(Path::new(NVRAM).exists());
    // A daemon that has just come starts it at once.
    world.restart().await;
    let (steps, rest) = world.settle(&desired).await;
    let steps = steps.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(steps, ["start t-firm"], "{:?}", told(&rest));
    assert_eq!(virsh("dumpxml --inactive t-firm"), whole);
    assert!(virsh("snapshot-list t-firm --name").contains("s1"));
    for file in [CODE, VARIABLES] {
        std::fs::remove_file(file).unwrap();
    }
}

#[tokio::test]
async fn saved_memory_goes_on_first_and_a_file_of_saved_memory_keeps_its_guest_from_a_start() {
    const FILE: &str = "/var/tmp/t-save.state";
    let mut world = World::open().await;
    let mut desired = desired(guest("t-save"));
    world.settle(&desired).await;
    virsh("managedsave t-save");
    world.restart().await;
    desired = larger(&desired);
    let plan = world.plan(&desired).await;
    assert_eq!(words(&plan), ["start t-save"]);
    world.apply(&plan).await;
    let (steps, _) = world.settle(&desired).await;
    assert!(steps.len() == 1 && steps[0].to_string().starts_with("define t-save anew (memory"), "{steps:?}");
    virsh(&format!("save t-save {FILE}"));
    world.restart().await;
    let (steps, rest) = world.settle(&desired).await;
    assert_eq!(steps.iter().map(ToString::to_string).collect::<Vec<_>>(), ["metadata t-save (saved)"]);
    says(&rest, "is left alone: its memory was saved to a file; `virsh restore FILE` goes on with it");
    // A libvirtd that was restarted does not know why a domain is shut off.
    run("systemctl restart libvirtd.service");
    world.restart().await;
    let (steps, rest) = world.settle(&desired).await;
    assert_eq!(steps, []);
    says(&rest, "is left alone: its memory was saved to a file");
    virsh(&format!("restore {FILE}"));
    std::fs::remove_file(FILE).unwrap();
    let (steps, _) = world.settle(&desired).await;
    assert_eq!(steps.iter().map(ToString::to_string).collect::<Vec<_>>(), ["metadata t-save (here again)"]);
    assert!(runs(&world.observe(&desired).await, "t-save"));
}

#[tokio::test]
async fn a_volume_of_another_format_than_the_manifest_says_holds_its_guest() {
    let mut world = World::open().await;
    let desired = desired(guest("t-form"));
    world.settle(&without_guests(&desired)).await;
    run(&format!("qemu-img create -q -f qcow2 {} 64M", image("t-form-vda.raw")));
    let (steps, rest) = world.settle(&desired).await;
    assert_eq!(steps, []);
    says(&rest, "is left alone: its volume t-form-vda.raw is qcow2, the manifest says raw");
}

#[tokio::test]
async fn a_nic_that_nobody_declared_is_a_violation_of_a_running_guest_and_keeps_one_at_rest_from_its_start() {
    let mut world = World::open().await;
    let desired = desired(guest("t-nic"));
    world.settle(&desired).await;
    const MAC: &str = "52:54:00:99:00:01";
    virsh(&format!("attach-interface t-nic bridge {BRIDGE} --mac {MAC} --config"));
    let (steps, rest) = world.settle(&desired).await;
    assert_eq!(steps, []);
    says(&rest, "Held: runs, although its definition leads past its walls");
    virsh("destroy t-nic");
    virsh("start t-nic");
    let (steps, rest) = world.settle(&desired).await;
    assert_eq!(steps, []);
    says(&rest, "Violation: runs with what leads past its walls (undeclared NIC vnet");
    virsh("destroy t-nic");
    world.restart().await;
    let plan = world.plan(&desired).await;
    assert_eq!(words(&plan), Vec::<String>::new());
    let held = "Held: is not started: its definition leads past its walls (undeclared NIC none";
    says(&plan, &format!("{held} {MAC} on {BRIDGE})"));
    virsh(&format!("detach-interface t-nic bridge --mac {MAC} --config"));
    let (steps, _) = world.settle(&desired).await;
    assert_eq!(steps.iter().map(ToString::to_string).collect::<Vec<_>>(), ["start t-nic"]);
}
