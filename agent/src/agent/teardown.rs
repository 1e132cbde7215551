//! Removing what is ours, in the reverse order of making it.

use std::time::Duration;

use bulkhead_api::{ApplyFailed, Done, Summary};
use bulkhead_sandbox::model::Observed;
use bulkhead_types::{Known, chain};
use tokio::time::{Instant, sleep};

use super::requests::failed;
use super::{Agent, Ran, say};
use crate::guest::Given;
use crate::guest::model::{DomainFound, SHUTDOWN_PATIENCE};
use crate::manifest::Desired;
use crate::reconcile::Host;
use crate::resolver;
use crate::room::{Guests, settle};
use crate::socket::Refusal;

/// How often a guest that shuts down is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How much longer than a guest's patience is waited: for libvirt to tell that it has ended, or to end it by force.
const GRACE: Duration = Duration::from_secs(10);

impl Agent {
    /// Removes guests, limits, links and the policy; volumes stay. Nothing is followed from its first moment on.
    ///
    /// The order is the reverse, and ends where a guest will not: links and rules of a guest that runs stay.
    pub(super) async fn teardown(
        &mut self,
        force: bool,
        progress: &mut (dyn FnMut(Done) + Send),
    ) -> Result<Summary, Refusal> {
        let began = Instant::now();
        self.generations.mark(None).map_err(|error| failed(&chain(&error)))?;
        self.followed = None;
        self.trouble = None;
        self.told.follows(None);
        let mut log = |done: Done| {
            say(&done);
            progress(done);
        };
        let nothing = Desired::default();
        let mut host = Host::unknown();
        let left = self.end_guests(force, &mut host, &mut log).await;
        if left.is_none() {
            host.limits = settle(&mut self.rooms.limits, &nothing.sandbox, &mut log).await;
            host.resolver = settle(&mut self.rooms.resolver, &resolver::Desired::default(), &mut log).await;
            host.links = settle(&mut self.rooms.links, &nothing.netlink, &mut log).await;
            // Port down before rule removed: rules of a bridge that could not be removed stay.
            if host.links.verified() {
                host.policy = settle(&mut self.rooms.policy, &nothing.policy, &mut log).await;
            }
        }
        let ran = Ran { done: host.done().cloned().collect(), host };
        let summary = self.summary(&ran, began);
        let trouble =
            left.or_else(|| (!summary.verified).then(|| "not everything could be removed; try again".to_owned()));
        match trouble {
            Some(why) => Err(Refusal::Failed(ApplyFailed { why, summary })),
            None => self.generations.lockdown(None).map(|()| summary).map_err(|error| failed(&chain(&error))),
        }
    }

    /// Asks every guest of ours to shut down and waits for it. Says why the rest cannot go on.
    async fn end_guests(&mut self, force: bool, host: &mut Host, log: &mut (dyn FnMut(Done) + Send)) -> Option<String> {
        let nothing = Desired::default();
        let deadline = Instant::now() + SHUTDOWN_PATIENCE + GRACE;
        loop {
            let mut libvirt = Guests { libvirt: &self.rooms.libvirt, given: Given { force, ..Given::default() } };
            host.guests.follow(settle(&mut libvirt, &nothing.guest, log).await);
            let observed = host.guests.observed.as_ref();
            let down = observed.and_then(|observed| observed.down.clone());
            let known = observed.is_some_and(|observed| observed.domains.values().any(DomainFound::goes));
            // What runs, the kernel knows better than a libvirt that does not answer.
            let running = match self.rooms.limits.observe().await.map(|observed| populated(&observed)) {
                Ok(Known::Known(running)) => running,
                Ok(Known::Unknown(why)) => return Some(format!("which guests run cannot be read: {why}")),
                Err(error) => return Some(format!("which guests run cannot be read: {}", chain(&error))),
            };
            if running.is_empty() && (!known || down.is_some()) {
                return None;
            }
            if let (Some(why), false) = (&down, running.is_empty()) {
                return Some(format!("{running} runs and libvirt cannot be asked to end it: {why}"));
            }
            if Instant::now() >= deadline {
                let what = if running.is_empty() { "a guest" } else { running.as_str() };
                return Some(format!(
                    "{what} did not shut down; its links and rules stay; `bulkhead teardown --force` ends it"
                ));
            }
            sleep(LOOK).await;
        }
    }
}

/// The guests in whose slices processes run. One slice of which that is not known is enough not to go on.
fn populated(observed: &Observed) -> Known<String> {
    let mut names = Vec::new();
    for (name, slice) in &observed.slices {
        match slice.populated() {
            Known::Known(true) => names.push(name.as_str()),
            Known::Known(false) => {}
            Known::Unknown(why) => return Known::Unknown(format!("{name}: {why}")),
        }
    }
    Known::Known(names.join(", "))
}
