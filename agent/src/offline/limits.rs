//! The slices of a host.

use std::collections::BTreeMap;
use std::mem;

use bulkhead_sandbox::model::{Bound, Bounds, Cgroup, Control, Limits, Observed, Slice};
use bulkhead_sandbox::unit;
use bulkhead_types::{GuestName, Known, Limit};

use super::{Host, text};
use crate::manifest::Desired;

/// The slices that an apply left, and what became of them.
pub(crate) fn observed(host: &mut Host<'_>) -> Result<Observed, String> {
    let mut observed = applied(host.base);
    change(&mut observed, mem::take(&mut host.text.slice))?;
    Ok(observed)
}

/// Every slice with its limits, on a kernel that has all controllers.
fn applied(base: &Desired) -> Observed {
    let slice = |(guest, limits): (&GuestName, &Limits)| {
        let (limits, path) =
            (limits.rounded(), format!("/machine.slice/machine-bulkhead.slice/{}", unit::slice(guest)));
        let populated = base.guest.guests.iter().any(|declared| declared.name == *guest && declared.start);
        let cgroup = Cgroup { bounds: bounds(&path, limits), path, limits, populated };
        let slice = Slice { kept: true, properties: Known::Known(limits), cgroup: Known::Known(Some(cgroup)) };
        (guest.clone(), slice)
    };
    Observed { slices: base.sandbox.guests.iter().map(slice).collect(), missing: Default::default() }
}

fn bounds(path: &str, limits: Limits) -> Bounds {
    Bounds::from_fn(|control| Known::Known(Bound { limit: limits[control], group: path.to_owned() }))
}

fn change(observed: &mut Observed, slices: BTreeMap<GuestName, text::Slice>) -> Result<(), String> {
    for (guest, text::Slice { absent, limits: mut changed }) in slices {
        let Some(Known::Known(Some(group))) = observed.slices.get_mut(&guest).map(|slice| &mut slice.cgroup) else {
            return Err(format!("guest {guest} has no slice: its manifest was not applied"));
        };
        let limits = group.limits;
        group.limits =
            Limits::from_fn(|control: Control| changed.remove(control.name()).map_or(limits[control], Limit::At));
        group.bounds = bounds(&group.path, group.limits);
        if let Some((control, _)) = changed.pop_first() {
            let names = Control::ALL.map(Control::name).join(", ");
            return Err(format!("there is no control {control}, only {names}"));
        }
        if absent {
            observed.slices.remove(&guest);
        }
    }
    Ok(())
}
