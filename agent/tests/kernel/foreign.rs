//! What is not ours stays as it is; a clash of names is told, and libvirt's own `default` goes when it must.

use std::process::Command;

use bulkhead::guest::model::Desired;

use crate::world::*;

const THEIR_NETWORK: &str = "<network><name>t-theirs</name><forward mode='nat'/><bridge name='bt-theirs'/>\
    <ip address='192.0.2.1' netmask='255.255.255.0'><dhcp><range start='192.0.2.2' end='192.0.2.9'/></dhcp></ip></network>";

fn their_domain(name: &str) -> String {
    format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><os><type>hvm</type></os>\
         <devices><interface type='bridge'><source bridge='{BRIDGE}'/></interface></devices></domain>"
    )
}

/// Somebody's running guest, network and pool.
fn neighbours() {
    define("net-define", THEIR_NETWORK);
    virsh("net-start t-theirs");
    virsh("net-autostart t-theirs");
    virsh("pool-define-as t-theirs dir --target /var/tmp");
    virsh("pool-start t-theirs");
    define("define", &their_domain("t-theirs"));
    virsh("autostart t-theirs");
    virsh("start t-theirs");
}

fn state() -> Vec<String> {
    let questions = [
        "dumpxml --security-info t-theirs",
        "dumpxml --inactive --security-info t-theirs",
        "dominfo t-theirs",
        "net-dumpxml t-theirs",
        "net-dumpxml --inactive t-theirs",
        "net-info t-theirs",
        "pool-dumpxml t-theirs",
        "pool-info t-theirs",
    ];
    // Time goes by in a running guest, and a disk fills up, whoever looks.
    let moves = ["CPU time", "Allocation", "Available", "<allocation", "<available"];
    let lasting = |text: String| {
        text.lines().filter(|line| !moves.iter().any(|word| line.contains(word))).map(str::to_owned).collect::<Vec<_>>()
    };
    questions.into_iter().flat_map(|question| lasting(virsh(question))).collect()
}

#[tokio::test]
async fn foreign_objects_are_equal_before_and_after_apply_drift_and_teardown() {
    let mut world = World::open().await;
    neighbours();
    let (before, pid) = (state(), qemu("t-theirs"));
    let desired = desired(guest("t-ours"));
    world.settle(&desired).await;
    assert_eq!(state(), before);
    virsh("destroy t-ours");
    virsh("undefine t-ours");
    virsh("net-destroy t-lan");
    world.restart().await;
    world.settle(&desired).await;
    world.admission.force = true;
    world.settle(&Desired::default()).await;
    virsh("destroy t-ours");
    world.settle(&Desired::default()).await;
    assert_eq!(virsh("list --all --name").lines().filter(|name| name.starts_with("t-")).count(), 1);
    assert_eq!((state(), qemu("t-theirs")), (before, pid));
}

#[tokio::test]
async fn a_clash_of_names_names_both_sides_and_touches_neither() {
    let mut world = World::open().await;
    define("net-define", &THEIR_NETWORK.replace("<name>t-theirs", "<name>t-lan"));
    virsh(&format!("pool-define-as {POOL} dir --target /var/tmp"));
    define("define", &their_domain("t-clash"));
    let questions = ["dumpxml t-clash", "net-dumpxml t-lan", "pool-dumpxml t-images"];
    let before = questions.map(virsh);
    let (steps, rest) = world.settle(&desired(guest("t-clash"))).await;
    assert_eq!(steps, []);
    let told = told(&rest);
    for text in [
        "pool t-images Clash: the manifest's pool t-images is /var/lib/libvirt/t-images, but libvirt's pool t-images is \
         /var/tmp",
        "network t-lan Clash: the manifest publishes bridge bt-lan as libvirt network t-lan, but a network t-lan that is \
         not ours is there and forwards by nat on bt-theirs",
        "guest t-clash Clash: the manifest declares guest t-clash, but a domain t-clash that is not ours is there",
    ] {
        assert!(told.iter().any(|told| told.starts_with(text)), "{text}\n{told:#?}");
    }
    assert_eq!(questions.map(virsh), before);
}

/// Does what a notice says in its last quoted command.
fn run_quoted(notice: &str) {
    let command = notice.split('`').rev().nth(1).unwrap();
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn an_image_of_somebodys_domain_is_a_guests_once_what_is_said_was_done() {
    let mut world = World::open().await;
    let desired = desired(guest("t-mine"));
    world.settle(&without_guests(&desired)).await;
    virsh(&format!("vol-create-as {POOL} t-mine-vda.raw 64M --format raw"));
    let disk = format!(
        "<devices><disk type='volume'><source pool='{POOL}' volume='t-mine-vda.raw'/><target dev='vdb'/></disk>"
    );
    define("define", &their_domain("t-theirs").replace("<devices>", &disk));
    let (steps, rest) = world.settle(&desired).await;
    assert_eq!(steps, []);
    let told = told(&rest);
    assert!(told.len() == 1 && told[0].contains("which domain t-theirs has as disk vdb too"), "{told:#?}");
    run_quoted(&told[0]);
    let (steps, _) = world.settle(&desired).await;
    assert_eq!(steps.iter().map(ToString::to_string).collect::<Vec<_>>(), ["define t-mine", "start t-mine"]);
}

#[tokio::test]
async fn a_guest_whose_definition_lost_our_mark_is_ours_again_once_what_is_said_was_done() {
    let mut world = World::open().await;
    let desired = desired(guest("t-mark"));
    world.settle(&desired).await;
    let xml = virsh("dumpxml --inactive t-mark");
    let (before, rest) = xml.split_once("<metadata>").unwrap();
    define("define", &format!("{before}{}", rest.split_once("</metadata>").unwrap().1));
    let (steps, rest) = world.settle(&desired).await;
    assert_eq!(steps, []);
    let clash = told(&rest);
    assert!(clash.len() == 1 && clash[0].contains("a domain t-mark that is not ours is there"), "{clash:#?}");
    run_quoted(&clash[0]);
    let (steps, rest) = world.settle(&desired).await;
    assert_eq!((steps, told(&rest)), (vec![], vec![]));
}

#[tokio::test]
async fn a_copy_of_our_guest_under_another_name_is_not_ours() {
    let mut world = World::open().await;
    let desired = desired(guest("t-first"));
    world.settle(&desired).await;
    let xml = virsh("dumpxml --inactive t-first");
    let uuid = xml.lines().find(|line| line.contains("<uuid>")).unwrap();
    define("define", &xml.replace(uuid, "").replacen("<name>t-first<", "<name>t-copy<", 1));
    assert_eq!(world.settle(&desired).await.0, []);
    world.settle(&without_guests(&desired)).await;
    assert!(virsh("dominfo t-copy").contains("shut off"));
}

#[tokio::test]
async fn a_pool_at_the_same_path_under_another_name_is_used_and_never_redefined() {
    let mut world = World::open().await;
    std::fs::create_dir(IMAGES).unwrap();
    run(&format!("chmod 750 {IMAGES}"));
    virsh(&format!("pool-define-as t-other dir --target {IMAGES}"));
    let definition = || std::fs::read_to_string("/etc/libvirt/storage/t-other.xml").unwrap();
    let before = definition();
    let mut guest = guest("t-used");
    guest.start = false;
    let (steps, _) = world.settle(&desired(guest)).await;
    let steps: Vec<_> = steps.iter().map(ToString::to_string).take(2).collect();
    assert_eq!(steps, ["pool-start t-other", "vol-create t-other t-used-vda.raw"]);
    assert_eq!(definition(), before);
    assert_eq!(run(&format!("stat -c %a {IMAGES}")), "750", "a directory that is there keeps its mode");
}

#[tokio::test]
async fn libvirts_own_default_network_goes_when_absent_is_declared_and_a_foreign_one_on_virbr0_stays() {
    const DEFAULT: &str = "/usr/share/libvirt/networks/default.xml";
    let mut world = World::open().await;
    let there = virsh("net-list --all --name").lines().any(|name| name.trim() == "default");
    if !there {
        virsh(&format!("net-define {DEFAULT}"));
    }
    virsh("net-autostart default");
    let kept = Desired::default();
    assert_eq!(world.settle(&kept).await.0, [], "nobody said absent");
    let absent = Desired { default_network_absent: true, ..kept };
    world.settle(&absent).await;
    assert!(!virsh("net-list --all --name").contains("default"));
    // libvirt itself refuses two networks on one bridge.
    define("net-define", &THEIR_NETWORK.replace("bt-theirs", "virbr0"));
    virsh("net-start t-theirs");
    let (steps, rest) = world.settle(&absent).await;
    assert_eq!((steps, told(&rest)), (vec![], vec![]));
    assert!(virsh("net-info t-theirs").contains("Active:         yes"));
    assert!(run("ip -o -4 address show virbr0").contains("192.0.2.1/24"));
    if there {
        clean();
        virsh(&format!("net-define {DEFAULT}"));
    }
}
