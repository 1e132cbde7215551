//! What the socket asks.

use bulkhead_api::{ApplyFailed, Done, Ended, Plan, Summary};
use bulkhead_types::chain;
use tokio::time::Instant;

use super::load::Files;
use super::{Agent, Ran};
use crate::guest::Given;
use crate::manifest::Desired;
use crate::publish::notices;
use crate::reconcile::{Host, hindered, walls};
use crate::resolver;
use crate::room::{Guests, foresee, unread};
use crate::socket::{Refusal, Request};
use crate::watch::{Reason, Wake};

impl Agent {
    /// Serves one request. That nobody waits for the answer any more changes nothing.
    pub(super) async fn serve(&mut self, request: Request) {
        match request {
            Request::Counters { reply } => {
                if self.count().await {
                    let _ = reply.send(());
                }
                return;
            }
            Request::Plan { reply } => reply.send(self.plan().await),
            Request::Apply { force, progress, done } => {
                let ended = self.apply(force, &mut |step| drop(progress.send(step))).await;
                let _ = done.send(ended);
            }
            Request::Teardown { force, progress, done } => {
                let ended = self.teardown(force, &mut |step| drop(progress.send(step))).await;
                let _ = done.send(ended);
            }
        }
        self.look_at_files();
    }

    /// Reads the counters again and publishes them. False when there are none to read.
    async fn count(&mut self) -> bool {
        let Some(followed) = &self.followed else { return false };
        match self.rooms.policy.observe().await {
            Ok(observed) => {
                self.told.counted(&followed.desired, &observed);
                true
            }
            Err(error) => {
                tracing::warn!("read the counters: {}", chain(&error));
                false
            }
        }
    }

    /// What an apply of the files would write now.
    async fn plan(&mut self) -> Result<Plan, Refusal> {
        let desired = match self.files() {
            Files::Right(right) => right.desired,
            Files::Wrong(invalid) | Files::Nothing(invalid) => return Err(Refusal::ManifestInvalid(invalid)),
        };
        let mut plan = Plan::default();
        let rooms = &mut self.rooms;
        let links = rooms.links.observe(&desired.netlink).await;
        // Bridges that leave are walled until they are gone, as in an apply.
        let walls = links.as_ref().map_or_else(|_| desired.policy.clone(), |observed| walls(&desired, observed));
        let policy = foresee(&mut rooms.policy, &walls).await;
        let links = foresee(&mut rooms.links, &desired.netlink).await;
        let blocked = links.as_ref().map(|(_, notices)| hindered(&desired, notices)).unwrap_or_default();
        let given = Given { blocked, ..Given::default() };
        let mut guests = Guests { libvirt: &rooms.libvirt, given };
        let foreseen = [
            policy,
            links,
            foresee(&mut rooms.resolver, &resolver::Desired::of(&desired)).await,
            foresee(&mut rooms.limits, &desired.sandbox).await,
            foresee(&mut guests, &desired.guest).await,
        ];
        for room in foreseen {
            match room {
                Ok((steps, notices)) => {
                    plan.steps.extend(steps);
                    plan.notices.extend(notices);
                }
                Err(why) => plan.notices.extend(unread(everything(&desired), &why)),
            }
        }
        Ok(plan)
    }

    async fn apply(&mut self, force: bool, progress: &mut (dyn FnMut(Done) + Send)) -> Result<Summary, Refusal> {
        let began = Wake::now(Reason::Request);
        match self.files() {
            Files::Right(right) => self.follow(*right).map_err(|error| failed(&chain(&error)))?,
            Files::Wrong(invalid) | Files::Nothing(invalid) => return Err(Refusal::ManifestInvalid(invalid)),
        }
        let ran = self.settle(force, progress).await;
        self.told.woken(began, &ran);
        let summary = self.summary(&ran, began.at);
        match trouble(&ran.host, &summary) {
            None => Ok(summary),
            Some(why) => Err(Refusal::Failed(ApplyFailed { why, summary })),
        }
    }

    pub(super) fn summary(&self, ran: &Ran, began: Instant) -> Summary {
        let count = |ended: Ended| ran.done.iter().filter(|done| done.outcome == ended).count() as u64;
        let nothing = Desired::default();
        let followed = self.followed.as_ref();
        Summary {
            generation: followed.map(|followed| followed.generation.number),
            done: count(Ended::Done),
            failed: count(Ended::Failed),
            skipped: count(Ended::Skipped),
            verified: ran.host.verified(),
            remaining: ran.host.remaining(),
            notices: notices(followed.map_or(&nothing, |followed| &followed.desired), &ran.host),
            duration_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        }
    }
}

/// A refusal before anything was tried.
pub(super) fn failed(why: &str) -> Refusal {
    Refusal::Failed(ApplyFailed { why: why.to_owned(), summary: Summary::default() })
}

/// Why the host is not as it should be, in one sentence; `None` when it is.
fn trouble(host: &Host, summary: &Summary) -> Option<String> {
    let unread =
        [&host.policy.unread, &host.links.unread, &host.resolver.unread, &host.limits.unread, &host.guests.unread];
    let why = unread.into_iter().flatten().next();
    if let Some(why) = why {
        return Some(format!("the host could not be read: {why}; nothing more is done until it can be"));
    }
    let steps = |count: usize| if count == 1 { "1 step is".to_owned() } else { format!("{count} steps are") };
    match summary.remaining.len() {
        0 => None,
        left => Some(format!(
            "{} still to be done; the daemon goes on trying, `bulkhead status` shows how it stands",
            steps(left)
        )),
    }
}

fn everything(desired: &Desired) -> Vec<bulkhead_types::Object> {
    use bulkhead_types::Object;
    let bridges = desired.netlink.segments.iter().map(|segment| Object::Segment(segment.name.clone()));
    let guests = desired.guest.guests.iter().map(|guest| Object::Guest(guest.name.clone()));
    std::iter::once(Object::Policy).chain(bridges).chain(guests).collect()
}
