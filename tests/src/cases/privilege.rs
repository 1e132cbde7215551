//! The daemon is not root, in any of its threads.

use std::fs;

use super::{Case, SEED, daemon};
use crate::inside::Lab;
use crate::suite::Suite;

/// Case 11.
pub(super) const NOT_ROOT: Case = Case {
    number: 11,
    name: "the daemon is not root: every thread has exactly the required capabilities in all five sets, as the unit grants; \
           systemd finds little that its units leave open",
    on: Suite::ALL,
    boot: &SEED,
    run: not_root,
};

/// REQUIRED of the sandbox room, by its number, and as systemd names it.
const REQUIRED: (u64, &str) = (1 << 12, "cap_net_admin");
/// What `systemd-analyze security` may say of a unit, in tenths (0 is closed, 100 open), as measured: what is left is the host's
/// network, CAP_NET_ADMIN, netlink, and for the daemon `AF_UNIX` and the sysctls.
const EXPOSURE: [(&str, u32); 2] = [("bulkheadd.service", 11), ("bulkhead-lockdown.service", 11)];
const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

fn not_root(lab: &Lab) -> Result<(), String> {
    for name in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        let granted = daemon::property(lab, name)?;
        if granted != REQUIRED.1 {
            return Err(format!("the unit's {name} is {granted}"));
        }
    }
    let pid = daemon::pid(lab)?;
    let tasks = format!("/proc/{pid}/task");
    let mut threads = 0;
    for task in fs::read_dir(&tasks).map_err(|error| format!("{tasks}: {error}"))? {
        let path = task.map_err(|error| format!("{tasks}: {error}"))?.path().join("status");
        // A thread that has ended since has no privilege.
        let Ok(status) = fs::read_to_string(&path) else { continue };
        check(&status).map_err(|error| format!("{}: {error}", path.display()))?;
        threads += 1;
    }
    lab.measured(format!("{threads} threads, each with {} alone", REQUIRED.1));
    if threads < 2 {
        return Err(format!("{threads} thread: libvirt and libnftables have one each"));
    }
    EXPOSURE.into_iter().try_for_each(|(unit, most)| exposed(lab, unit, most))
}

fn exposed(lab: &Lab, unit: &str, most: u32) -> Result<(), String> {
    let text = lab.run(&format!("systemd-analyze security --no-pager {unit}"))?;
    let exposure = exposure(&text).ok_or_else(|| format!("systemd-analyze security {unit} has no figure: {text}"))?;
    lab.measured(format!("exposure of {unit}: {}.{}", exposure / 10, exposure % 10));
    if exposure <= most { Ok(()) } else { Err(format!("exposure of {unit}: {exposure} tenths, at most {most}")) }
}

/// The figure at the end of what `systemd-analyze security` prints, in tenths.
fn exposure(text: &str) -> Option<u32> {
    let (_, figure) = text.lines().find(|line| line.contains("Overall exposure level"))?.split_once(": ")?;
    let (whole, tenths) = figure.split_whitespace().next()?.split_once('.')?;
    Some(whole.parse::<u32>().ok()? * 10 + tenths.parse::<u32>().ok()?)
}

fn check(status: &str) -> Result<(), String> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).ok_or_else(|| format!("no field {name}"))
    };
    for name in ["Uid", "Gid"] {
        let ids = field(name)?;
        if ids.split_whitespace().any(|id| id == "0") {
            return Err(format!("{name} is {ids}"));
        }
    }
    for name in SETS {
        let text = field(name)?;
        if u64::from_str_radix(text, 16) != Ok(REQUIRED.0) {
            return Err(format!("{name} is {text}"));
        }
    }
    for (name, wanted) in [("NoNewPrivs", "1"), ("Seccomp", "2")] {
        let text = field(name)?;
        if text != wanted {
            return Err(format!("{name} is {text}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposure_is_read_in_tenths() {
        let text =
            "✗ UMask=   Files are world-readable   0.1\n\n→ Overall exposure level for bulkheadd.service: 1.8 OK 🙂\n";
        assert_eq!(exposure(text), Some(18));
        assert_eq!(exposure("Unit not found."), None);
    }

    #[test]
    fn one_set_with_more_is_found() {
        let status = |bounding: &str| {
            format!(
                "Uid:\t990\t990\t990\t990\nGid:\t990\t990\t990\t990\nCapInh:\t1000\nCapPrm:\t1000\nCapEff:\t1000\nCapBnd:\t{bounding}\n\
                 CapAmb:\t1000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t19\n"
            )
        };
        assert_eq!(check(&status("0000000000001000")), Ok(()));
        assert_eq!(check(&status("0000000000003000")).unwrap_err(), "CapBnd is 0000000000003000");
    }
}
