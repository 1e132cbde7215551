//! The host's DNS servers: on our bridges' links in systemd-resolved where it runs, else in a file of resolv.conf(5)'s form.
//!
//! The same flow as in a room: observe, plan, apply. It is not one, because it touches neither network nor guests.

mod bus;
mod error;
mod file;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use bulkhead_types::{Cause, IfName, Object, Outcome, Report, chain};
use serde::Serialize;

use crate::manifest;
use bus::Bus;
pub use error::Error;

/// Where the servers stand for hosts without systemd-resolved.
pub const FILE: &str = "/run/bulkhead/resolv.conf";

/// The servers of each of our bridges on which the host speaks, in the manifest's order; a bridge without any has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Desired {
    /// Bridge and servers.
    pub bridges: Vec<(IfName, Vec<IpAddr>)>,
}

impl Desired {
    /// What a manifest wants.
    #[must_use]
    pub fn of(desired: &manifest::Desired) -> Self {
        let bridge = |segment: &bulkhead_netlink::model::Segment| {
            segment.host.as_ref()?;
            let dns = desired.dns.iter().find(|dns| dns.bridge == segment.bridge);
            Some((segment.bridge.clone(), dns.map(|dns| dns.servers.clone()).unwrap_or_default()))
        };
        Self { bridges: desired.netlink.segments.iter().filter_map(bridge).collect() }
    }

    /// The file's text; `None` when there are no servers.
    fn text(&self) -> Option<String> {
        let servers: Vec<String> = self
            .bridges
            .iter()
            .flat_map(|(bridge, servers)| servers.iter().map(|ip| nameserver(bridge, *ip)))
            .collect();
        (!servers.is_empty()).then(|| format!("# Written by bulkheadd from the manifest.\n{}", servers.concat()))
    }
}

/// A line of resolv.conf(5). A link-local address alone is no address: it is on every link, so it carries its own.
fn nameserver(bridge: &IfName, server: IpAddr) -> String {
    match server {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => format!("nameserver {v6}%{bridge}\n"),
        server => format!("nameserver {server}\n"),
    }
}

/// What there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The servers that systemd-resolved has for each of our bridges that exists, with its ifindex; `None`: it does not run.
    pub resolved: Option<BTreeMap<IfName, (u32, Vec<IpAddr>)>>,
    /// The text of [`FILE`], if it is there.
    pub file: Option<String>,
    /// Whether `/etc/resolv.conf` leads to [`FILE`].
    pub linked: bool,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Tell systemd-resolved the servers of a bridge; none reverts what was told.
    SetServers {
        /// The bridge.
        bridge: IfName,
        /// Its ifindex.
        index: u32,
        /// The servers, the first is asked first.
        servers: Vec<IpAddr>,
    },
    /// Write [`FILE`].
    WriteFile {
        /// Its text.
        text: String,
    },
    /// Remove [`FILE`].
    RemoveFile,
}

impl bulkhead_types::Step for Step {
    fn object(&self) -> Object {
        Object::Resolver
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetServers { bridge, servers, .. } if servers.is_empty() => write!(f, "resolvectl revert {bridge}"),
            Self::SetServers { bridge, servers, .. } => {
                write!(f, "resolvectl dns {bridge}")?;
                servers.iter().try_for_each(|server| write!(f, " {server}"))
            }
            Self::WriteFile { text } => {
                write!(f, "write {FILE}")?;
                text.lines().filter_map(|l| l.strip_prefix("nameserver ")).try_for_each(|ip| write!(f, " {ip}"))
            }
            Self::RemoveFile => write!(f, "rm {FILE}"),
        }
    }
}

/// What is missing between desired and observed.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed) -> bulkhead_types::Plan<Step> {
    let mut plan = bulkhead_types::Plan::default();
    // Where systemd-resolved runs the file would be a second, stale truth.
    let text = if observed.resolved.is_some() { None } else { desired.text() };
    match (text, &observed.file) {
        (Some(text), file) => {
            if file.as_ref() != Some(&text) {
                plan.steps.push(Step::WriteFile { text });
            }
            if !observed.linked {
                let text = format!(
                    "systemd-resolved does not run, so the manifest's DNS servers stand in {FILE}; the host asks them after \
                     `ln -sf {FILE} /etc/resolv.conf`"
                );
                plan.notice(Object::Resolver, Cause::Held, text);
            }
        }
        (None, Some(_)) => plan.steps.push(Step::RemoveFile),
        (None, None) => {}
    }
    for (bridge, servers) in &desired.bridges {
        let Some((index, found)) = observed.resolved.as_ref().and_then(|links| links.get(bridge)) else { continue };
        if found != servers {
            let (bridge, index, servers) = (bridge.clone(), *index, servers.clone());
            plan.steps.push(Step::SetServers { bridge, index, servers });
        }
    }
    plan
}

/// systemd-resolved and the file. Cheap to make; the bus is connected when it is first asked.
#[derive(Debug, Default)]
pub struct Resolver {
    bus: Bus,
}

impl Resolver {
    /// Reads.
    ///
    /// # Errors
    /// The system bus or systemd-resolved refused, or the file cannot be read.
    pub async fn observe(&mut self, desired: &Desired) -> Result<Observed, Error> {
        let file = file::read()?;
        if desired.bridges.is_empty() {
            return Ok(Observed { resolved: None, file, linked: false });
        }
        let resolved = if self.bus.runs().await? { Some(self.bus.servers(desired).await?) } else { None };
        Ok(Observed { resolved, file, linked: file::linked() })
    }

    /// Writes.
    pub async fn apply(
        &mut self,
        plan: &bulkhead_types::Plan<Step>,
        progress: &mut (dyn FnMut(&Step, &Outcome) + Send),
    ) -> Report<Step> {
        let mut report = Report::default();
        for step in &plan.steps {
            let ended = match step {
                Step::SetServers { index, servers, .. } => self.bus.set(*index, servers).await,
                Step::WriteFile { text } => file::write(text),
                Step::RemoveFile => file::remove(),
            };
            let outcome = ended.map_or_else(|error| Outcome::Failed(chain(&error)), |()| Outcome::Done);
            progress(step, &outcome);
            report.steps.push((step.clone(), outcome));
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(servers: &[&str]) -> Desired {
        Desired { bridges: vec![("br20".parse().unwrap(), servers.iter().map(|ip| ip.parse().unwrap()).collect())] }
    }

    #[test]
    fn without_resolved_the_servers_go_to_the_file_and_the_link_is_named() {
        let desired = desired(&["10.0.0.1", "fd00::1", "fe80::1"]);
        let plan = plan(&desired, &Observed::default());
        let text = "# Written by bulkheadd from the manifest.\nnameserver 10.0.0.1\nnameserver fd00::1\nnameserver fe80::1%br20\n"
            .to_owned();
        assert_eq!(plan.steps, [Step::WriteFile { text: text.clone() }]);
        assert!(plan.notices[0].text.contains("ln -sf /run/bulkhead/resolv.conf /etc/resolv.conf"));
        let settled = super::plan(&desired, &Observed { file: Some(text), linked: true, resolved: None });
        assert!(settled.is_empty() && settled.notices.is_empty());
    }

    #[test]
    fn resolved_is_told_and_the_file_goes() {
        let found = |servers: &[&str]| {
            let servers: Vec<IpAddr> = servers.iter().map(|ip| ip.parse().unwrap()).collect();
            Some(BTreeMap::from([("br20".parse().unwrap(), (7, servers))]))
        };
        let observed = Observed { resolved: found(&[]), file: Some(String::new()), linked: false };
        let steps: Vec<String> =
            plan(&desired(&["10.0.0.1"]), &observed).steps.iter().map(ToString::to_string).collect();
        assert_eq!(steps, ["rm /run/bulkhead/resolv.conf", "resolvectl dns br20 10.0.0.1"]);
        let observed = Observed { resolved: found(&["10.0.0.1"]), ..Observed::default() };
        assert!(plan(&desired(&["10.0.0.1"]), &observed).is_empty());
        let steps: Vec<String> = plan(&desired(&[]), &observed).steps.iter().map(ToString::to_string).collect();
        assert_eq!(steps, ["resolvectl revert br20"]);
    }

    #[test]
    fn a_host_that_asks_for_no_servers_is_left_as_it_is() {
        assert!(plan(&Desired::default(), &Observed::default()).is_empty());
    }
}
