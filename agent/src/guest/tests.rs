//! The room against libvirt's own test driver: the real library, its XML parser and its events, in this process. It has no
//! QEMU, no daemon that can go, and no networks worth the name.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bulkhead_types::Outcome;
use virt::domain::Domain;
use virt::storage_pool::StoragePool;

use super::apply::{define_from, definition};
use super::definition::Definition;
use super::error::Refused as _;
use super::model::{Desired, Guest, Observed, State, Timing};
use super::{Admission, Error, Libvirt, Plan, plan, samples};

/// Without networks: the test driver keeps only one definition of each, and refuses the question for the inactive one.
fn desired() -> Desired {
    Desired { networks: Vec::new(), ..samples::desired() }
}

/// A test host of its own: `test:///default` is one for the whole process.
async fn libvirt(name: &str) -> Libvirt {
    let file = std::env::temp_dir().join(format!("bulkhead-{}-{name}.xml", std::process::id()));
    std::fs::write(&file, "<node><cpu><nodes>1</nodes></cpu></node>").unwrap();
    let libvirt = Libvirt::open(&format!("test://{}", file.display()), Timing::default()).unwrap();
    let mut watch = libvirt.watch().unwrap();
    while libvirt.down().is_some() {
        tokio::time::timeout(Duration::from_secs(10), watch.wake()).await.unwrap().unwrap();
    }
    std::fs::remove_file(file).unwrap();
    libvirt
}

async fn apply(libvirt: &Libvirt, desired: &Desired) -> (Observed, Plan) {
    let observed = libvirt.observe(desired).await.unwrap();
    let plan = plan(desired, &observed, &Admission::default());
    let report = libvirt.apply(&plan, &|| None, &mut |_, _| {}).await;
    assert!(report.steps.iter().all(|(_, outcome)| *outcome == Outcome::Done), "{report:?}");
    (libvirt.observe(desired).await.unwrap(), plan)
}

async fn again(libvirt: &Libvirt, desired: &Desired) -> Vec<String> {
    let observed = libvirt.observe(desired).await.unwrap();
    plan(desired, &observed, &Admission::default()).steps.iter().map(ToString::to_string).collect()
}

async fn define(libvirt: &Libvirt, xml: String) {
    let define =
        move |connect: &virt::connect::Connect| Domain::define_xml(connect, &xml).map(drop).refused("define", "");
    libvirt.call(Duration::from_secs(5), define).await.unwrap();
}

#[tokio::test]
async fn an_empty_libvirt_becomes_what_the_manifest_says_and_stays_so() {
    let (libvirt, desired) = (libvirt("empty").await, desired());
    let (observed, _) = apply(&libvirt, &desired).await;
    let domain = &observed.domains["example"];
    assert!(domain.owned && domain.persistent && !domain.autostart);
    assert_eq!(domain.state, State::Running);
    assert_eq!(observed.running().count(), 1);
    assert_eq!(again(&libvirt, &desired).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_somebody_edits_is_mended() {
    let (libvirt, desired) = (libvirt("edit").await, desired());
    let (observed, _) = apply(&libvirt, &desired).await;
    let uuid = observed.domains["example"].uuid.clone();
    let edit = |connect: &virt::connect::Connect| {
        let domain = Domain::lookup_by_name(connect, "example").refused("find", "")?;
        let xml = domain.get_xml_desc(virt::sys::VIR_DOMAIN_XML_INACTIVE).refused("dumpxml", "")?;
        Domain::define_xml(connect, &xml.replace("br20", "virbr0")).refused("define", "")?;
        domain.set_autostart(true).refused("autostart", "")?;
        StoragePool::lookup_by_name(connect, "default").and_then(|pool| pool.destroy()).refused("pool-destroy", "")
    };
    libvirt.call(Duration::from_secs(5), edit).await.unwrap();
    let (observed, plan) = apply(&libvirt, &desired).await;
    let steps: Vec<_> = plan.steps.iter().map(|step| step.to_string().split(" (").next().unwrap().to_owned()).collect();
    let mended = ["define example anew", "autostart --disable example"];
    assert_eq!(steps[steps.len() - 2..], mended, "{steps:?}");
    assert_eq!(observed.domains["example"].uuid, uuid);
    assert_eq!(again(&libvirt, &desired).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_plan_for_another_manifest_does_not_forget_that_a_guest_was_asked_to_shut_down() {
    let (libvirt, desired) = (libvirt("asked").await, desired());
    apply(&libvirt, &desired).await;
    let gone = Desired { guests: Vec::new(), ..desired.clone() };
    let (example, asked) = ("example".parse().unwrap(), tokio::time::Instant::now() - Duration::from_secs(7));
    libvirt.shared.patience.shut_down(&example, asked);
    libvirt.take_up(&gone);
    libvirt.observe(&desired).await.unwrap();
    let recent = libvirt.observe(&gone).await.unwrap().recent;
    assert!(recent[&example].shut_down.unwrap() >= Duration::from_secs(7), "{recent:?}");
    libvirt.take_up(&desired);
    assert_eq!(libvirt.observe(&desired).await.unwrap().recent[&example].shut_down, None);
}

/// What would be lost with the example if it left the manifest now.
async fn irreplaceable(libvirt: &Libvirt, desired: &Desired) -> Vec<String> {
    let gone = Desired { guests: Vec::new(), ..desired.clone() };
    libvirt.observe(&gone).await.unwrap().domains["example"].irreplaceable.clone()
}

#[tokio::test]
async fn only_a_definition_that_nobody_else_has_written_into_may_be_forgotten() {
    let (libvirt, mut desired) = (libvirt("made").await, desired());
    apply(&libvirt, &desired).await;
    assert_eq!(irreplaceable(&libvirt, &desired).await, Vec::<String>::new());
    desired.guests[0].memory *= 2;
    apply(&libvirt, &desired).await;
    assert_eq!(irreplaceable(&libvirt, &desired).await, Vec::<String>::new(), "a change of ours");
    let describe = |connect: &virt::connect::Connect| {
        let domain = Domain::lookup_by_name(connect, "example").refused("find", "")?;
        let xml = domain.get_xml_desc(virt::sys::VIR_DOMAIN_XML_INACTIVE).refused("dumpxml", "")?;
        let described = xml.replacen("<metadata>", "<description>Shop</description><metadata>", 1);
        Domain::define_xml(connect, &described).map(drop).refused("define", "")
    };
    libvirt.call(Duration::from_secs(5), describe).await.unwrap();
    assert_eq!(irreplaceable(&libvirt, &desired).await, ["what somebody changed in its definition"]);
    desired.guests[0].memory /= 2;
    let (observed, _) = apply(&libvirt, &desired).await;
    assert_eq!(observed.domains["example"].definition.memory, desired.guests[0].memory);
    assert_eq!(irreplaceable(&libvirt, &desired).await.len(), 1, "a change of ours does not make theirs ours");
}

#[tokio::test]
async fn what_somebody_writes_into_a_definition_while_it_is_edited_is_kept() {
    let (libvirt, desired) = (libvirt("beside").await, desired());
    let (observed, _) = apply(&libvirt, &desired).await;
    let found = observed.domains["example"].definition.clone();
    let wanted = Definition { memory: found.memory * 2, ..found.clone() };
    // Somebody describes the domain after each of the first so many reads.
    let attempt = |times: usize| {
        let (found, wanted) = (found.clone(), wanted.clone());
        move |connect: &virt::connect::Connect| {
            let mut reads = 0;
            let mut read = || {
                let xml = definition(connect, "example")?;
                reads += 1;
                if reads <= times {
                    let text = format!("description {reads}");
                    let domain = Domain::lookup_by_name(connect, "example").refused("find", "")?;
                    let (kind, flags) =
                        (virt::sys::VIR_DOMAIN_METADATA_DESCRIPTION, virt::sys::VIR_DOMAIN_AFFECT_CONFIG);
                    domain.set_metadata(kind.cast_signed(), Some(&text), None, None, flags).refused("desc", "")?;
                }
                Ok(xml)
            };
            let result = define_from(connect, &"example".parse().unwrap(), &wanted, Some(&found), &mut read);
            Ok((result, definition(connect, "example")?.unwrap()))
        }
    };
    let (result, xml) = libvirt.call(Duration::from_secs(5), attempt(9)).await.unwrap();
    assert!(matches!(result, Err(Error::Changed { .. })), "{result:?}");
    assert!(xml.contains("<description>description 4<"), "three rounds, the first with two reads: {xml}");
    let unchanged = libvirt.observe(&desired).await.unwrap();
    assert_eq!(unchanged.domains["example"].definition, found);
    let (result, xml) = libvirt.call(Duration::from_secs(5), attempt(2)).await.unwrap();
    assert!(result.is_ok(), "{result:?}");
    assert!(xml.contains("<description>description 2<"), "{xml}");
    assert_eq!(libvirt.observe(&desired).await.unwrap().domains["example"].definition, wanted);
}

#[tokio::test]
async fn a_guest_with_which_somebody_began_to_work_after_the_look_is_neither_ended_nor_defined() {
    let (libvirt, desired) = (libvirt("occupied").await, desired());
    apply(&libvirt, &desired).await;
    let gone = Desired { guests: Vec::new(), ..desired.clone() };
    let observed = libvirt.observe(&gone).await.unwrap();
    let asked = plan(&gone, &observed, &Admission::default());
    let mut forced = observed.clone();
    forced.recent.entry("example".parse().unwrap()).or_default().shut_down = Some(Duration::from_secs(3600));
    let forced = plan(&gone, &forced, &Admission { force: true, ..Admission::default() });
    // As virt-install leaves one while its installer runs: what runs ends at a reboot, the next start does not.
    let install = |connect: &virt::connect::Connect| {
        let domain = Domain::lookup_by_name(connect, "example").refused("find", "")?;
        let xml = domain.get_xml_desc(virt::sys::VIR_DOMAIN_XML_INACTIVE).refused("dumpxml", "")?;
        let ends = xml.replace("<on_reboot>restart<", "<on_reboot>destroy<");
        assert_ne!(ends, xml);
        domain.destroy().refused("destroy", "")?;
        Domain::define_xml(connect, &ends).and_then(|domain| domain.create()).refused("start", "")?;
        Domain::define_xml(connect, &xml).map(drop).refused("define", "")
    };
    libvirt.call(Duration::from_secs(5), install).await.unwrap();
    let mut bigger = desired.clone();
    bigger.guests[0].memory *= 2;
    let bigger = plan(&bigger, &observed, &Admission::default());
    for (plan, first) in [(asked, "shutdown example"), (forced, "destroy example"), (bigger, "define example anew")] {
        assert!(plan.steps[0].to_string().starts_with(first), "{plan:?}");
        let report = libvirt.apply(&plan, &|| None, &mut |_, _| {}).await;
        let (_, outcome) = &report.steps[0];
        let Outcome::Failed(why) = outcome else { panic!("{outcome:?}") };
        assert!(why.ends_with("it was changed meanwhile, and is looked at again"), "{why}");
        let observed = libvirt.observe(&desired).await.unwrap();
        assert_eq!(observed.domains["example"].state, State::Running);
    }
}

#[tokio::test]
async fn a_foreign_domain_of_the_same_name_is_left_alone_and_one_under_another_name_too() {
    let (libvirt, desired) = (libvirt("foreign").await, desired());
    let foreign = |name: &str| {
        format!("<domain type='test'><name>{name}</name><memory>1024</memory><os><type>hvm</type></os></domain>")
    };
    define(&libvirt, foreign("example")).await;
    define(&libvirt, foreign("other")).await;
    let before = libvirt.observe(&desired).await.unwrap().domains;
    let (observed, plan) = apply(&libvirt, &desired).await;
    assert_eq!(observed.domains, before);
    assert!(plan.notices.iter().any(|notice| notice.cause == bulkhead_types::Cause::Clash), "{plan:?}");
}

#[tokio::test]
async fn a_step_that_is_refused_skips_the_later_ones_of_its_object_only() {
    let (libvirt, mut desired) = (libvirt("refused").await, desired());
    desired.guests.push(Guest { disks: Vec::new(), nics: Vec::new(), ..samples::guest("bare") });
    let observed = libvirt.observe(&desired).await.unwrap();
    let mut plan = plan(&desired, &observed, &Admission::default());
    for step in &mut plan.steps {
        if let super::Step::DefinePool { xml, .. } = step {
            "<pool>".clone_into(xml);
        }
    }
    let report = libvirt.apply(&plan, &|| None, &mut |_, _| {}).await;
    for (step, outcome) in &report.steps {
        let text = step.to_string();
        match outcome {
            Outcome::Failed(why) => {
                assert_eq!(text, "pool-define default");
                assert!(why.starts_with("cannot pool-define default: "), "{why}");
            }
            Outcome::Skipped(why) => {
                assert!(!text.contains("bare"), "{text}");
                assert!(why.ends_with("` failed"), "{why}");
            }
            Outcome::Done => assert!(text.contains("bare"), "{text}"),
        }
    }
}

#[tokio::test]
async fn no_step_begins_once_a_plan_is_not_wanted_any_more() {
    let (libvirt, desired) = (libvirt("cancelled").await, desired());
    let observed = libvirt.observe(&desired).await.unwrap();
    let plan = plan(&desired, &observed, &Admission::default());
    let start = plan.steps.iter().position(|step| matches!(step, super::Step::Start { .. })).unwrap();
    let asked = AtomicUsize::new(0);
    let cancelled = || (asked.fetch_add(1, Ordering::Relaxed) >= start).then_some("the manifest has changed");
    let report = libvirt.apply(&plan, &cancelled, &mut |_, _| {}).await;
    for (at, (step, outcome)) in report.steps.iter().enumerate() {
        let skipped = Outcome::Skipped("the manifest has changed".to_owned());
        assert_eq!(*outcome, if at < start { Outcome::Done } else { skipped }, "{step}");
    }
    let observed = libvirt.observe(&desired).await.unwrap();
    assert_eq!(observed.domains["example"].state, State::ShutOff, "it is defined, and was not started");
}

#[tokio::test]
async fn a_change_made_by_somebody_else_wakes() {
    let libvirt = libvirt("wake").await;
    let mut watch = libvirt.watch().unwrap();
    define(&libvirt, "<domain type='test'><name>x</name><memory>1</memory><os><type>hvm</type></os></domain>".into())
        .await;
    tokio::time::timeout(Duration::from_secs(10), watch.wake()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_libvirt_that_is_absent_is_an_observation_at_once() {
    let libvirt = Libvirt::open("qemu+unix:///system?socket=/nonexistent/libvirt-sock", Timing::default()).unwrap();
    let mut watch = libvirt.watch().unwrap();
    tokio::time::timeout(Duration::from_secs(10), watch.wake()).await.unwrap().unwrap();
    let observed = libvirt.observe(&desired()).await.unwrap();
    assert!(observed.down.unwrap().starts_with("cannot connect qemu+unix:///system"));
}

#[tokio::test]
async fn a_patience_that_ended_while_libvirt_is_absent_wakes_once_and_not_for_ever() {
    let libvirt = Libvirt::open("qemu+unix:///system?socket=/nonexistent/libvirt-sock", Timing::default()).unwrap();
    let mut watch = libvirt.watch().unwrap();
    let long_ago = tokio::time::Instant::now() - Duration::from_secs(31);
    libvirt.shared.patience.started(&"web".parse().unwrap(), None, long_ago);
    let mut wakes = 0;
    while tokio::time::timeout(Duration::from_millis(500), watch.wake()).await.is_ok() {
        assert!(libvirt.observe(&desired()).await.unwrap().down.is_some());
        wakes += 1;
        assert!(wakes < 10, "woken again and again");
    }
    assert!(wakes > 0);
}

#[tokio::test]
async fn a_call_that_hangs_is_given_up_and_later_ones_do_not_wait() {
    let libvirt = libvirt("hang").await;
    let mut watch = libvirt.watch().unwrap();
    let slow = |_: &virt::connect::Connect| {
        std::thread::sleep(Duration::from_millis(500));
        Ok(())
    };
    let late = libvirt.call(Duration::from_millis(50), slow).await;
    assert!(matches!(late, Err(Error::Late(_))));
    let begun = std::time::Instant::now();
    assert!(libvirt.observe(&desired()).await.unwrap().down.is_some());
    assert!(begun.elapsed() < Duration::from_millis(300));
    // The last wake comes from the call that ended at last; one of the connection may still be there before it.
    while libvirt.observe(&desired()).await.unwrap().down.is_some() {
        tokio::time::timeout(Duration::from_secs(10), watch.wake()).await.unwrap().unwrap();
    }
}
