//! Definitions and starts of the manifest's guests.

use std::time::Duration;

use super::*;
use crate::guest::Lack;
use crate::guest::model::{Definition, Recent};

#[test]
fn a_definition_that_somebody_edited_is_mended_and_a_running_guest_keeps_running() {
    let mut world = settled();
    let domain = world.domains.get_mut("example").unwrap();
    domain.definition.memory += 1 << 20;
    domain.running.as_mut().unwrap().nics.clear();
    let plan = plan(&samples::desired(), &world, &Admission::default());
    assert_eq!(words(&plan), ["define example anew (memory 513 MiB instead of 512 MiB)"]);
    assert!(texts(&plan).contains("runs with the old definition until it is restarted (missing NIC bh-0123456789ab"));
}

#[test]
fn a_domain_that_is_not_ours_is_told_with_commands_that_libvirt_takes() {
    for (state, rename) in [
        (State::ShutOff, "or the domain by `virsh domrename example NEW`; if"),
        (State::Running, "or, once it is shut off, the domain by `virsh domrename example NEW`; if"),
    ] {
        let mut world = settled();
        let domain = world.domains.get_mut("example").unwrap();
        (domain.owned, domain.state) = (false, state);
        let plan = plan(&samples::desired(), &world, &Admission::default());
        assert!(plan.is_empty(), "{:?}", words(&plan));
        let mark = "`virsh metadata example --uri https://bulkhead.example/xmlns/1 --key bulkhead --set '<owned \
                    name=\"example\"/>' --config` puts it back";
        for text in [rename, mark] {
            assert!(texts(&plan).contains(text), "{}", texts(&plan));
        }
    }
}

#[test]
fn libvirts_own_autostart_is_turned_off() {
    let mut world = settled();
    world.domains.get_mut("example").unwrap().autostart = true;
    assert_eq!(words(&plan(&samples::desired(), &world, &Admission::default())), ["autostart --disable example"]);
}

#[test]
fn a_guest_that_stopped_is_started_again_but_not_at_once() {
    let mut world = settled();
    let domain = world.domains.get_mut("example").unwrap();
    (domain.state, domain.running) = (State::ShutOff, None);
    assert_eq!(words(&plan(&samples::desired(), &world, &Admission::default())), ["start example"]);
    let recent = Recent { started: Some(Duration::from_secs(3)), failure: None, shut_down: None };
    world.recent.insert("example".parse().unwrap(), recent);
    let plan = plan(&samples::desired(), &world, &Admission::default());
    assert!(plan.is_empty());
    assert!(texts(&plan).contains("guest example Pending: stopped again; is started 30 s after its last start"));
}

#[test]
fn a_guest_whose_earlier_phase_failed_is_made_ready_but_not_started() {
    let lack = Lack::Left { step: "systemctl start".to_owned(), refused: Some("no such unit".to_owned()) };
    let hold = Hold { what: Some("its limits"), lack };
    let holds = [("example".parse().unwrap(), hold)].into();
    let plan = plan(&samples::desired(), &empty_world(), &Admission { holds, force: false });
    assert_eq!(words(&plan).last().map(String::as_str), Some("define example"));
    assert!(texts(&plan).contains("guest example Held: is not started: its limits do not hold: no such unit"));
}

#[test]
fn what_leads_past_the_walls_holds_a_guest_and_is_named_while_it_runs() {
    let breach = |definition: &mut Definition| _ = definition.breaches.insert("hostdev pci".to_owned());
    let held = off(|domain| breach(&mut domain.definition));
    assert!(held.is_empty());
    assert!(
        texts(&held).contains("Held: is not started: its definition leads past its walls (hostdev pci); `virsh edit")
    );
    let mut world = settled();
    breach(world.domains.get_mut("example").unwrap().running.as_mut().unwrap());
    let running = plan(&samples::desired(), &world, &Admission::default());
    assert!(running.is_empty());
    assert!(
        texts(&running).contains("Violation: runs with what leads past its walls (hostdev pci)"),
        "{}",
        texts(&running)
    );
}
