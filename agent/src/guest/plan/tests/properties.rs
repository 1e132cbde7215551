//! What holds of every manifest and every libvirt: the plan converges, and touches nothing foreign.

use proptest::prelude::*;

use super::libvirt::after;
use super::worlds::{any_admission, any_world};
use super::*;
use crate::guest::model::{DomainFound, NetworkFound, PoolFound};

/// Everything of a libvirt that is not ours, less its own `default` where the manifest says absent.
fn foreign(world: &Observed, desired: &Desired) -> (Vec<PoolFound>, Vec<NetworkFound>, Vec<DomainFound>) {
    let ours = |name: &str| desired.pools.iter().any(|pool| pool.name == name);
    let goes = |name: &str, found: &NetworkFound| desired.default_network_absent && name == "default" && found.is_nat();
    let networks = world.networks.iter().filter(|(name, found)| !found.owned && !goes(name, found));
    let domains = world.domains.values().filter(|found| !found.owned);
    let pools = world.pools.iter().filter(|found| !ours(&found.name));
    // A pool that is used is started; nothing else of it changes.
    let pools = pools.map(|found| PoolFound { active: true, ..found.clone() });
    (pools.collect(), networks.map(|(_, found)| found.clone()).collect(), domains.cloned().collect())
}

proptest! {
    #[test]
    fn the_plan_after_an_apply_is_empty((desired, world) in any_world(), admission in any_admission()) {
        let first = plan(&desired, &world, &admission);
        let world = after(world, &first.steps);
        prop_assert_eq!(plan(&desired, &world, &admission).steps, vec![]);
    }

    #[test]
    fn foreign_objects_survive_every_plan((desired, world) in any_world(), admission in any_admission()) {
        let before = foreign(&world, &desired);
        let steps = plan(&desired, &world, &admission).steps;
        prop_assert_eq!(foreign(&after(world, &steps), &desired), before);
    }

    #[test]
    fn a_held_guest_is_never_started((desired, world) in any_world(), admission in any_admission()) {
        for step in plan(&desired, &world, &admission).steps {
            if let Step::Start { guest } = step {
                prop_assert!(!admission.holds.contains_key(&guest));
                let declared = desired.guests.iter().find(|declared| declared.name == guest).unwrap();
                prop_assert!(declared.start);
                prop_assert!(declared.disks.iter().all(|disk| !world.unencrypted.contains_key(&disk.pool)));
            }
        }
    }

    #[test]
    fn whoever_somebody_else_works_on_is_left_alone((desired, world) in any_world(), admission in any_admission()) {
        let steps = plan(&desired, &world, &admission).steps;
        for (name, found) in world.domains.iter().filter(|(_, found)| found.occupied.is_some()) {
            let of_it = |step: &Step| bulkhead_types::Step::object(step) == Object::Guest(name.parse().unwrap());
            let touches = |step: &&Step| of_it(step) && !matches!(step, Step::NoteAway { .. });
            let touched: Vec<_> = steps.iter().filter(touches).collect();
            let leaves = matches!(&touched[..], [] | [Step::UndefineDomain { .. }]) && found.state == State::ShutOff;
            prop_assert!(touched.is_empty() || leaves, "{:?}", touched);
        }
    }

    #[test]
    fn what_libvirt_could_not_give_back_is_never_undefined((desired, world) in any_world(), admission in any_admission()) {
        for step in plan(&desired, &world, &admission).steps {
            if let Step::UndefineDomain { guest } = step {
                prop_assert!(world.domains[guest.as_str()].irreplaceable.is_empty());
            }
        }
    }
}
