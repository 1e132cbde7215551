//! Disks: volumes that are there, gone, of another size or format, and images that are not the declared volume.

use super::*;
use crate::guest::model::{PoolFound, VolumeFound};

#[test]
fn a_lost_volume_is_not_replaced_by_an_empty_one() {
    let mut world = settled();
    world.volumes.get_mut("default").unwrap().clear();
    let domain = world.domains.get_mut("example").unwrap();
    (domain.state, domain.running) = (State::ShutOff, None);
    let plan = plan(&samples::desired(), &world, &Admission::default());
    assert!(plan.is_empty(), "{:?}", words(&plan));
    assert!(texts(&plan).contains("is not started: its volume example-vda.raw is gone from pool default"));
}

/// The example, shut off or running, whose disk is on another image, and what libvirt says of that image.
fn on_image(path: &str, chain: Result<Vec<&str>, &str>, state: State) -> Observed {
    let mut world = settled();
    let domain = world.domains.get_mut("example").unwrap();
    domain.definition.disks[0].path = Some(path.into());
    domain.definition.disks[0].format = Some("qcow2".to_owned());
    domain.running = (state != State::ShutOff).then(|| domain.definition.clone());
    domain.state = state;
    let chain = chain.map(|images| images.into_iter().map(Into::into).collect()).map_err(str::to_owned);
    domain.chains.insert("vda".to_owned(), chain);
    world
}

const BASE: &str = "/var/lib/libvirt/images/example-vda.raw";

#[test]
fn a_guest_on_an_overlay_of_its_volume_keeps_it_and_is_started_from_it() {
    let chain = Ok(vec!["/x/s1", BASE]);
    let running = plan(&samples::desired(), &on_image("/x/s1", chain.clone(), State::Running), &Admission::default());
    assert!(running.is_empty(), "{:?}", words(&running));
    assert!(
        texts(&running).contains("Held: its disk vda is on /x/s1, an overlay of the declared volume example-vda.raw")
    );
    let mut desired = samples::desired();
    desired.guests[0].memory *= 2;
    let bigger = plan(&desired, &on_image("/x/s1", chain, State::ShutOff), &Admission::default());
    let [Step::DefineDomain { wanted, differences, .. }, Step::Start { .. }] = &bigger.steps[..] else {
        panic!("{:?}", words(&bigger))
    };
    assert_eq!(differences[..], ["memory 512 MiB instead of 1024 MiB", "current memory 512 MiB instead of 1024 MiB"]);
    assert_eq!(wanted.disks[0].path.as_deref(), Some(std::path::Path::new("/x/s1")));
}

#[test]
fn a_guest_on_an_image_of_which_nothing_is_known_is_left_alone() {
    let mut world = on_image("/x/s1", Err("no active pool of libvirt's holds /x/s1"), State::ShutOff);
    // No empty volume takes the place of a base that is not listed.
    world.volumes.get_mut("default").unwrap().clear();
    let plan = plan(&samples::desired(), &world, &Admission::default());
    assert!(plan.is_empty(), "{:?}", words(&plan));
    assert!(texts(&plan).contains("Held: is left alone: its disk vda is /x/s1, and whether that is an overlay of"));
}

#[test]
fn an_overlay_outside_its_encrypted_pool_holds_its_guest() {
    let mut desired = samples::desired();
    desired.pools[0].encrypted = true;
    let within = "/var/lib/libvirt/images/example-vda.s1";
    for (image, held) in [("/var/tmp/example-vda.s1", true), (within, false)] {
        let mut world = on_image(image, Ok(vec![image, BASE]), State::ShutOff);
        world.pools[0].autostart = false;
        let plan = plan(&desired, &world, &Admission::default());
        assert_eq!(!words(&plan).contains(&"start example".to_owned()), held, "{:?}", words(&plan));
        assert_eq!(texts(&plan).contains("outside its encrypted pool default"), held, "{}", texts(&plan));
    }
}

#[test]
fn a_disk_whose_image_is_no_overlay_of_the_volume_is_not_put_back() {
    // As `virsh blockpull` and `virsh blockcopy --pivot` leave it: what was written last is not in the volume.
    for state in [State::ShutOff, State::Running] {
        let world = on_image("/x/other", Ok(vec!["/x/other", "/x/golden"]), state);
        let plan = plan(&samples::desired(), &world, &Admission::default());
        assert!(plan.is_empty(), "{:?}", words(&plan));
        let said = texts(&plan);
        assert!(
            said.contains("of which it is no overlay") && said.contains("virsh detach-disk example vda --config"),
            "{said}"
        );
    }
}

#[test]
fn a_guest_that_runs_on_an_overlay_which_its_definition_does_not_name_is_told_what_it_would_lose() {
    let mut world = settled();
    let domain = world.domains.get_mut("example").unwrap();
    domain.running.as_mut().unwrap().disks[0].path = Some("/x/s1".into());
    domain.running_chains.insert("vda".to_owned(), vec!["/x/s1".into(), BASE.into()]);
    let plan = plan(&samples::desired(), &world, &Admission::default());
    assert!(plan.is_empty());
    assert!(
        texts(&plan).contains("what was written since would be lost at the next start; `virsh blockcommit example vda")
    );
}

#[test]
fn a_volume_of_another_format_holds_its_guest_and_both_are_named() {
    for (found, text) in [
        (
            Some("qcow2"),
            "its volume example-vda.raw is qcow2, the manifest says raw; write `format = \"qcow2\", volume = \"example-vda.raw\"`",
        ),
        (None, "libvirt does not say whether its volume example-vda.raw is raw"),
    ] {
        let mut world = empty_world();
        let volume = VolumeFound { capacity: 20 << 30, format: found.map(str::to_owned) };
        let pool =
            PoolFound { name: "default".into(), path: Some(samples::pool().path), active: true, autostart: true };
        world.pools.push(pool);
        world.volumes.insert("default".to_owned(), [("example-vda.raw".to_owned(), volume)].into());
        let plan = plan(&samples::desired(), &world, &Admission::default());
        assert!(words(&plan).iter().all(|step| !step.contains("example")), "{:?}", words(&plan));
        assert!(texts(&plan).contains(text), "{}", texts(&plan));
    }
}

#[test]
fn no_empty_volume_is_made_beside_the_one_of_the_other_format() {
    // The manifest said qcow2, the file is raw, and whoever corrects the format changes the name of the volume with it.
    let mut world = settled();
    world.domains.clear();
    let volumes = world.volumes.get_mut("default").unwrap();
    let volume = volumes.remove("example-vda.raw").unwrap();
    volumes.insert("example-vda.qcow2".to_owned(), volume);
    let held = plan(&samples::desired(), &world, &Admission::default());
    assert!(held.is_empty(), "{:?}", words(&held));
    assert!(
        texts(&held).contains("write `format = \"raw\", volume = \"example-vda.qcow2\"` for that one"),
        "{}",
        texts(&held)
    );
    let mut desired = samples::desired();
    desired.guests[0].disks[0].volume = "example-vda.qcow2".to_owned();
    assert_eq!(words(&plan(&desired, &world, &Admission::default())), ["define example", "start example"]);
    // An empty one of another name was asked for in so many words.
    desired.guests[0].disks[0].volume = "empty.raw".to_owned();
    assert_eq!(words(&plan(&desired, &world, &Admission::default()))[0], "vol-create default empty.raw");
}

#[test]
fn a_definition_on_another_volume_is_not_moved_to_an_empty_one_and_both_are_named() {
    let mut desired = samples::desired();
    desired.guests[0].disks[0].volume = "new.raw".to_owned();
    for state in [State::ShutOff, State::Running] {
        let world = on_image(BASE, Ok(vec![BASE]), state);
        let held = plan(&desired, &world, &Admission::default());
        assert!(held.is_empty(), "{:?}", words(&held));
        for text in [
            "its disk vda is /var/lib/libvirt/images/example-vda.raw, and the manifest says /var/lib/libvirt/images/new.raw",
            "Declare the first by `format = \"qcow2\", volume = \"example-vda.raw\"`",
        ] {
            assert!(texts(&held).contains(text), "{}", texts(&held));
        }
    }
}

#[test]
fn a_guest_that_is_left_alone_is_promised_no_restart() {
    let mut world = on_image("/x/other", Ok(vec!["/x/other"]), State::Running);
    let left_alone = texts(&plan(&samples::desired(), &world, &Admission::default()));
    assert!(left_alone.contains("runs otherwise than the manifest says (disk vda image /x/other"), "{left_alone}");
    assert!(!left_alone.contains("virsh shutdown"), "{left_alone}");
    // One that nobody starts again is not promised it either.
    world = settled();
    world.domains.get_mut("example").unwrap().running.as_mut().unwrap().memory *= 2;
    let mut desired = samples::desired();
    desired.guests[0].start = false;
    assert!(texts(&plan(&desired, &world, &Admission::default())).contains("then `virsh start example`"));
}

#[test]
fn an_overlay_that_only_a_list_of_the_pool_tells_of_is_told_with_how_the_list_is_renewed() {
    let top = "/var/lib/libvirt/images/s1";
    let mut world = on_image(top, Ok(vec![top, BASE]), State::ShutOff);
    let listed = "by libvirt's list of pool default (`virsh pool-refresh default` renews it)";
    let told = |world: &Observed| texts(&plan(&samples::desired(), world, &Admission::default()));
    assert!(told(&world).contains(listed), "{}", told(&world));
    let domain = world.domains.get_mut("example").unwrap();
    (domain.state, domain.running) = (State::Running, Some(domain.definition.clone()));
    domain.running_chains.insert("vda".to_owned(), vec![top.into(), BASE.into()]);
    assert!(!told(&world).contains(listed), "{}", told(&world));
}

#[test]
fn a_volume_of_another_size_is_told_how_to_grow_and_never_to_shrink() {
    let sized = |capacity, off: bool| {
        let mut world = settled();
        world.volumes.get_mut("default").unwrap().get_mut("example-vda.raw").unwrap().capacity = capacity;
        if off {
            (world.domains.get_mut("example").unwrap().state, world.domains.get_mut("example").unwrap().running) =
                (State::ShutOff, None);
        }
        texts(&plan(&samples::desired(), &world, &Admission::default()))
    };
    assert!(sized(1 << 30, false).contains("`virsh blockresize example vda 21474836480B`"));
    assert!(sized(1 << 30, true).contains("`virsh vol-resize example-vda.raw 21474836480 --pool default`"));
    let larger = sized(40 << 30, true);
    assert!(larger.contains("correct the manifest") && !larger.contains("virsh"), "{larger}");
}
