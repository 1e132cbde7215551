//! The host's DNS servers: on our bridges' links in systemd-resolved where it runs, else in a file of resolv.conf(5)'s form.
//!
//! The same flow as in a room: observe, plan, apply. It is not one, because it touches neither network nor guests.

mod bus;
mod error;
mod file;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use bulkhead_types::{Cancelled, Cause, Execute, IfName, Notice, Object, Outcome, Progress, Report};
use serde::Serialize;

use crate::manifest;
use bus::Bus;
pub use error::Error;
pub use watch::Watch;

/// Where the servers stand for hosts without systemd-resolved.
pub const FILE: &str = "/run/bulkhead/resolv.conf";

/// What a manifest wants of the host's resolver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Desired {
    /// Our bridges on which the host speaks, in the manifest's order.
    pub bridges: Vec<Bridge>,
}

/// One of our bridges on which the host speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bridge {
    /// Its name.
    pub name: IfName,
    /// Its ifindex, by which systemd-resolved knows it; `None` while it is not there.
    pub index: Option<u32>,
    /// Its servers, the first is asked first; none where the manifest gives none.
    pub servers: Vec<IpAddr>,
}

impl Desired {
    /// What a manifest wants, on the links that are there.
    #[must_use]
    pub fn of(desired: &manifest::Desired, links: Option<&bulkhead_netlink::model::Observed>) -> Self {
        let links = links.into_iter().flat_map(|links| links.links.values());
        let indices: BTreeMap<&str, u32> = links.map(|link| (link.name.as_str(), link.index)).collect();
        let bridge = |segment: &bulkhead_netlink::model::Segment| {
            segment.host.as_ref()?;
            let name = segment.bridge.clone();
            let index = indices.get(name.as_str()).copied();
            let dns = desired.dns.iter().find(|dns| dns.bridge == segment.bridge);
            Some(Bridge { name, index, servers: dns.map(|dns| dns.servers.clone()).unwrap_or_default() })
        };
        Self { bridges: desired.netlink.segments.iter().filter_map(bridge).collect() }
    }

    /// The file's text; `None` when there are no servers.
    fn text(&self) -> Option<String> {
        let line = |bridge: &Bridge| bridge.servers.iter().map(|ip| nameserver(&bridge.name, *ip)).collect::<String>();
        let servers: Vec<String> = self.bridges.iter().map(line).filter(|lines| !lines.is_empty()).collect();
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
    /// The servers that systemd-resolved has for each of our bridges that exists, by ifindex; `None`: it does not run.
    pub resolved: Option<BTreeMap<u32, Vec<IpAddr>>>,
    /// The text of [`FILE`], if it is there; empty where something else, as a FIFO, stands in its place.
    pub file: Option<String>,
    /// Whether `/etc/resolv.conf` leads to [`FILE`].
    pub linked: bool,
}

impl Observed {
    /// What there is on a host without systemd-resolved, once this was applied there.
    #[must_use]
    pub fn applied(desired: &Desired) -> Self {
        Self { resolved: None, file: desired.text(), linked: false }
    }
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

    /// No bridge waits for the servers of another, nor for the file.
    fn required(&self) -> bool {
        false
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
    // Where systemd-resolved runs the file would be a second truth; but whoever is linked to it asks by it.
    let text = if observed.resolved.is_some() && !observed.linked { None } else { desired.text() };
    match (text, &observed.file) {
        (Some(text), file) if file.as_ref() != Some(&text) => plan.steps.push(Step::WriteFile { text }),
        (None, Some(_)) if !observed.linked => plan.steps.push(Step::RemoveFile),
        _ => {}
    }
    plan.notices.extend(link(desired, observed).map(|text| Notice {
        object: Object::Resolver,
        cause: Cause::Held,
        text,
    }));
    for bridge in &desired.bridges {
        let found = bridge.index.and_then(|index| Some((index, observed.resolved.as_ref()?.get(&index)?)));
        let Some((index, _)) = found.filter(|(_, found)| **found != bridge.servers) else { continue };
        let (bridge, servers) = (bridge.name.clone(), bridge.servers.clone());
        plan.steps.push(Step::SetServers { bridge, index, servers });
    }
    plan
}

/// What is to be said of `/etc/resolv.conf`, which is the administrator's: it should lead to the file when, and only when, the
/// file is what the host asks by.
fn link(desired: &Desired, observed: &Observed) -> Option<String> {
    match (desired.text().is_some(), observed.resolved.is_some(), observed.linked) {
        (true, false, false) => Some(format!(
            "systemd-resolved does not run, so the manifest's DNS servers stand in {FILE}; the host asks them after \
             `ln -sf {FILE} /etc/resolv.conf`"
        )),
        (_, true, true) => Some(format!(
            "systemd-resolved runs, and /etc/resolv.conf still leads to {FILE}, which stays for as long; the host asks \
             systemd-resolved after `ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf`"
        )),
        (false, false, true) => Some(format!(
            "the manifest names no DNS servers, and /etc/resolv.conf leads to {FILE}, which stays for as long: link it to \
             another file, or write one"
        )),
        _ => None,
    }
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
            return Ok(Observed { resolved: None, file, linked: file::linked() });
        }
        let resolved = if self.bus.runs().await? { Some(self.bus.servers(desired).await?) } else { None };
        Ok(Observed { resolved, file, linked: file::linked() })
    }

    /// Writes, as [`Report::of`] says.
    pub async fn apply(
        &mut self,
        plan: &bulkhead_types::Plan<Step>,
        cancelled: Cancelled<'_>,
        progress: Progress<'_, Step>,
    ) -> Report<Step> {
        Report::of(plan, self, cancelled, progress).await
    }
}

impl Execute<Step> for &mut Resolver {
    async fn execute(&mut self, step: &Step) -> Outcome {
        Outcome::of(match step {
            Step::SetServers { index, servers, .. } => self.bus.set(*index, servers).await,
            Step::WriteFile { text } => file::write(text),
            Step::RemoveFile => file::remove(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(servers: &[&str]) -> Vec<IpAddr> {
        servers.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    fn desired(servers: &[&str]) -> Desired {
        let name = "br20".parse().unwrap();
        Desired { bridges: vec![Bridge { name, index: Some(7), servers: ips(servers) }] }
    }

    fn resolved(servers: &[&str]) -> Option<BTreeMap<u32, Vec<IpAddr>>> {
        Some(BTreeMap::from([(7, ips(servers))]))
    }

    fn words(plan: &bulkhead_types::Plan<Step>) -> Vec<String> {
        plan.steps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn without_resolved_the_servers_go_to_the_file_and_the_link_is_named() {
        let desired = desired(&["10.0.0.1", "fd00::1", "fe80::1"]);
        let plan = plan(&desired, &Observed::default());
        let text = "# Written by bulkheadd from the manifest.\nnameserver 10.0.0.1\nnameserver fd00::1\nnameserver fe80::1%br20\n"
            .to_owned();
        assert_eq!(plan.steps, [Step::WriteFile { text: text.clone() }]);
        assert!(plan.notices[0].text.contains("ln -sf /run/bulkhead/resolv.conf /etc/resolv.conf"));
        let verified = super::plan(&desired, &Observed { file: Some(text), linked: true, resolved: None });
        assert!(verified.is_empty() && verified.notices.is_empty());
    }

    #[test]
    fn resolved_is_told_and_the_file_goes() {
        let observed = Observed { resolved: resolved(&[]), file: Some(String::new()), linked: false };
        let steps = words(&plan(&desired(&["10.0.0.1"]), &observed));
        assert_eq!(steps, ["rm /run/bulkhead/resolv.conf", "resolvectl dns br20 10.0.0.1"]);
        let observed = Observed { resolved: resolved(&["10.0.0.1"]), ..Observed::default() };
        assert!(plan(&desired(&["10.0.0.1"]), &observed).is_empty());
        assert_eq!(words(&plan(&desired(&[]), &observed)), ["resolvectl revert br20"]);
    }

    #[test]
    fn the_file_stays_as_long_as_the_host_asks_by_it_and_the_link_is_named() {
        let wanted = desired(&["10.0.0.1"]);
        let file = wanted.text();
        let observed = Observed { resolved: resolved(&["10.0.0.1"]), file: file.clone(), linked: true };
        let with_resolved = plan(&wanted, &observed);
        assert!(with_resolved.is_empty());
        assert!(with_resolved.notices[0].text.contains("stub-resolv.conf"), "{:?}", with_resolved.notices);
        let stale = Observed { file: Some(String::new()), ..observed };
        assert_eq!(words(&plan(&wanted, &stale)), ["write /run/bulkhead/resolv.conf 10.0.0.1"], "it is kept true");
        let torn_down = plan(&Desired::default(), &Observed { resolved: None, file, linked: true });
        assert!(torn_down.is_empty());
        assert!(torn_down.notices[0].text.contains("names no DNS servers"), "{:?}", torn_down.notices);
    }

    #[tokio::test]
    async fn no_server_is_told_once_a_plan_is_not_wanted_any_more() {
        // No link has this index.
        let step = Step::SetServers { bridge: "br20".parse().unwrap(), index: u32::MAX >> 1, servers: Vec::new() };
        let plan = bulkhead_types::Plan { steps: vec![step.clone()], notices: Vec::new() };
        let report = Resolver::default().apply(&plan, &|| Some("the manifest has changed"), &mut |_, _| ()).await;
        assert_eq!(report.steps, [(step, Outcome::Skipped("the manifest has changed".to_owned()))]);
    }

    #[test]
    fn a_host_that_asks_for_no_servers_is_left_as_it_is() {
        assert!(plan(&Desired::default(), &Observed::default()).is_empty());
    }
}
