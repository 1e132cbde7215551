//! `cpu.max`: a quota of CPU time in each period, both in microseconds.

use bulkhead_types::Limit;

use super::{Facts, number, number_from_bus, number_to_bus};

/// Microseconds in a second, which is what a whole CPU has.
const CPU: u64 = 1_000_000;
/// systemd keeps `CPUQuota=` in whole percents of a CPU across a daemon-reload (`bus_cgroup_set_property` of its
/// dbus-cgroup.c), and takes less than one as none at all.
const PERCENT: u64 = CPU / 100;

pub(super) const FACTS: Facts = Facts {
    name: "cpu",
    property: "CPUQuotaPerSecUSec",
    file: "cpu.max",
    grain: PERCENT,
    parse: |text| {
        let (quota, period) = text.split_once(' ')?;
        let period = period.parse::<u64>().ok().filter(|period| *period > 0)?;
        Some(match number(quota)? {
            Limit::At(quota) => Limit::At(quota.saturating_mul(CPU) / period),
            Limit::Max => Limit::Max,
        })
    },
    to_bus: number_to_bus,
    parse_bus: number_from_bus,
    // systemctl has another name for it, and takes percents.
    assignment: |limit| limit.at().map_or_else(|| "CPUQuota=".to_owned(), |n| format!("CPUQuota={}%", n / PERCENT)),
    text: |number| match (number / CPU, number % CPU / PERCENT) {
        (whole, 0) => format!("{whole} CPU"),
        (whole, hundredths) => format!("{whole}.{hundredths:02} CPU"),
    },
    lift: |guest| Some(format!("virsh schedinfo {guest} --live --set global_quota=-1")),
};
