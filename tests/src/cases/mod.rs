//! The cases: what a host with Bulkhead does, each shown on a real one. A case's manifests and expected texts stand in
//! `tests/cases/NAME/`.

mod absent;
mod authorised;
mod boot;
mod changes;
mod counters;
mod daemon;
mod drift;
mod drip;
mod foreign;
mod forward;
mod frozen;
mod hijack;
mod invisible;
mod killed;
mod lease;
mod libvirtd;
mod limits;
mod lost;
mod picture;
mod privilege;
pub(crate) mod scenes;
mod silent;
mod stand_in;
mod steady;
mod stops;
mod strace;
mod watchers;

use crate::inside::Lab;
use crate::suite::Suite;

/// One case.
pub(crate) struct Case {
    /// Its number, by which people speak of it.
    pub(crate) number: u8,
    /// What it shows, as a sentence.
    pub(crate) name: &'static str,
    /// Where it runs.
    pub(crate) on: &'static [Suite],
    /// The boot that it needs; cases of one boot run one after the other, in the order of `CASES`.
    pub(crate) boot: &'static Boot,
    /// Shows it, or says what was seen instead.
    pub(crate) run: fn(&Lab) -> Result<(), String>,
}

impl Case {
    /// Number, place and sentence, which the filter looks at.
    pub(crate) fn title(&self, suite: Suite) -> String {
        format!("case {} {suite}: {}", self.number, self.name)
    }
}

/// A way to start the machine.
#[derive(Debug)]
pub(crate) struct Boot {
    /// What it is called in the lab's output.
    pub(crate) name: &'static str,
    /// Words for the kernel's command line. `systemd.mask=UNIT` keeps a unit away, `modprobe.blacklist=MODULE` a driver.
    pub(crate) words: &'static [&'static str],
    /// How long its machine takes in software emulation, about, by which the longest is started first.
    pub(crate) seconds: u32,
}

/// The package installed, `examples/seed.toml` its manifest. A case leaves it as it found it, the seed applied: the lab looks
/// after each.
pub(crate) const SEED: Boot = Boot { name: "seed", words: &[], seconds: 600 };

/// The same for a case that takes as long as many others.
pub(crate) const LONG: Boot = Boot { name: "stops", words: &[], seconds: 500 };

/// All cases. Those of the boot itself come first: later ones change what it made.
pub(crate) const CASES: &[Case] = &[
    boot::SEED_IS_THERE,
    silent::NO_WORD_OF_ITS_OWN,
    steady::ONLY_READS,
    privilege::NOT_ROOT,
    authorised::WHO_MAY_WHAT,
    authorised::CLOSED_UNREAD,
    lease::OVER_ITS_VLAN,
    forward::ONLY_WHAT_IS_ALLOWED,
    forward::NO_LIE_ARRIVES,
    invisible::NO_HOST,
    invisible::NO_STRANGER,
    invisible::NO_TAP,
    changes::NO_CHANGE_LEAKS,
    changes::NO_RESTART_LEAKS,
    drift::LINKS_COME_BACK,
    drift::RULES_COME_BACK,
    killed::NOBODY_NOTICES,
    limits::LIMITS_HOLD,
    lost::NOTHING_GOES,
    hijack::NOTHING_ELSE_STARTS,
    libvirtd::RESTARTED,
    frozen::LIBVIRTD_FROZEN,
    frozen::DAEMON_FROZEN,
    foreign::CLASHES_ARE_SAID,
    foreign::NEIGHBOURS_STAY,
    stops::EVERY_STOP_CONVERGES,
    absent::LIBVIRT_ABSENT,
    absent::TRUNK_LATE,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_cases_have_the_same_name() {
        let names: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
    }
}
