//! The one setting that has no netlink message: whether IPv6 may speak on a link.

use std::fs::OpenOptions;
use std::io::{self, Write as _};

use bulkhead_types::IfName;
use tokio::time::timeout;

use super::StepResult;
use crate::socket::TIMEOUT;
use crate::step::Step;

/// Writes the steps' values, in a thread of their own: the kernel takes the RTNL lock for each.
pub(super) async fn write(steps: &[&Step]) -> Vec<StepResult> {
    let values: Vec<(IfName, bool)> = steps
        .iter()
        .filter_map(|step| if let Step::SetIpv6 { link, on, .. } = step { Some((link.clone(), *on)) } else { None })
        .collect();
    let work = tokio::task::spawn_blocking(move || values.iter().map(|(link, on)| set(link, *on)).collect::<Vec<_>>());
    match timeout(TIMEOUT, work).await {
        Ok(Ok(results)) => {
            let text =
                |(step, result): (&&Step, io::Result<()>)| result.map_err(|error| format!("`{step}`: {error}{ADVICE}"));
            steps.iter().zip(results).map(text).collect()
        }
        Ok(Err(error)) => steps.iter().map(|step| Err(format!("`{step}`: {error}"))).collect(),
        Err(_) => steps.iter().map(|step| Err(format!("`{step}`: took longer than {} s", TIMEOUT.as_secs()))).collect(),
    }
}

const ADVICE: &str =
    "; the process needs CAP_NET_ADMIN, and /proc/sys/net/ipv6/conf writable (ReadWritePaths= of its unit)";

fn set(link: &IfName, on: bool) -> io::Result<()> {
    let path = format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6");
    OpenOptions::new().write(true).open(path)?.write_all(if on { b"0" } else { b"1" })
}
