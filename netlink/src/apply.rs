//! The only writes: a plan's steps, in its order, as many in one send as may go together.

mod run;
mod sysctl;
mod wire;

use bulkhead_types::{Outcome, Report, chain};

use crate::error::Refused;
use crate::plan::Plan;
use crate::socket::{CHUNK, Kernel, Message};
use crate::step::Step;
use run::{Lane, Run};

/// What was written. Reading counts for nothing here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Writes {
    /// Netlink messages that ask for a change.
    pub messages: u64,
    /// Sends that carried them.
    pub sends: u64,
    /// Writes to `/proc/sys/net`.
    pub sysctls: u64,
}

/// How one step ended; the error says why not, and what to do.
type Ending = Result<(), String>;

impl Kernel {
    /// Does what the plan says and tells how each step ended, to `progress` after each send and in the report at the end.
    ///
    /// After a failed step the later steps of its object are skipped, but not those in the same send: the kernel has done
    /// or refused them already, and each is reported as the kernel acknowledged it. Where the conversation itself breaks
    /// off, all that is left is skipped: observe and plan again.
    pub async fn apply(&mut self, plan: &Plan, progress: &mut (dyn FnMut(&Step, &Outcome) + Send)) -> Report<Step> {
        let mut report = Report::default();
        let mut broken = None;
        for Run { lane, steps } in run::cut(&plan.steps) {
            let skip = |step: &Step| broken.as_deref().or_else(|| report.stopped(step)).map(str::to_owned);
            let skips: Vec<Option<String>> = steps.iter().map(skip).collect();
            let going: Vec<&Step> =
                steps.iter().zip(&skips).filter(|(_, skip)| skip.is_none()).map(|(s, _)| s).collect();
            let whole = going.len() == steps.len();
            let (endings, breakage) = self.run(lane, &going, whole).await;
            let mut endings = endings.into_iter();
            for (step, skip) in steps.iter().zip(skips) {
                let outcome = match skip {
                    Some(why) => Outcome::Skipped(why),
                    None => endings.next().unwrap_or(Ok(())).map_or_else(Outcome::Failed, |()| Outcome::Done),
                };
                progress(step, &outcome);
                report.record(step.clone(), outcome);
            }
            broken = broken.or(breakage);
        }
        report
    }

    /// Writes the steps of one run. The second value says why nothing more can be sent.
    async fn run(&mut self, lane: Lane, steps: &[&Step], whole: bool) -> (Vec<Ending>, Option<String>) {
        if steps.is_empty() {
            return (Vec::new(), None);
        }
        match lane {
            Lane::Sysctl => {
                self.writes.sysctls += steps.len() as u64;
                (sysctl::write(steps).await, None)
            }
            Lane::Rise if whole && steps.len() > 1 => self.rise(steps).await,
            Lane::Delete { .. } if steps.len() > 1 => self.delete(steps).await,
            _ => self.each(steps).await,
        }
    }

    /// One message a step.
    async fn each(&mut self, steps: &[&Step]) -> (Vec<Ending>, Option<String>) {
        let mut endings = Vec::new();
        for chunk in steps.chunks(CHUNK) {
            let messages = chunk.iter().filter_map(|step| wire::message(step)).collect();
            let (mut ends, broken) = self.acks(messages).await;
            for (step, end) in chunk.iter().zip(&mut ends) {
                if matches!(step, Step::DeleteLink { .. }) {
                    forgive_absence(end);
                }
            }
            endings.extend(chunk.iter().zip(ends).map(|(step, end)| end.map_err(|no| no.text(step))));
            if broken.is_some() {
                return (endings, broken);
            }
        }
        (endings, None)
    }

    /// Sets all links of the group up with one message. It stops at the first that cannot, so each is asked then.
    async fn rise(&mut self, steps: &[&Step]) -> (Vec<Ending>, Option<String>) {
        let (ends, broken) = self.acks(vec![wire::group_up()]).await;
        match ends.first() {
            Some(Ok(())) => (vec![Ok(()); steps.len()], broken),
            _ if broken.is_none() => self.each(steps).await,
            _ => (steps.iter().map(|step| Err(No::Unknown.text(step))).collect(), broken),
        }
    }

    /// Moves the links to the leaving group and deletes that, in one send.
    async fn delete(&mut self, steps: &[&Step]) -> (Vec<Ending>, Option<String>) {
        let mut messages: Vec<Message> = steps.iter().filter_map(|step| wire::leave(step)).collect();
        messages.push(wire::delete_leaving());
        let (mut ends, broken) = self.acks(messages).await;
        let last = ends.pop().unwrap_or(Err(No::Unknown));
        let ending = |(step, mut end): (&&Step, Result<(), No>)| {
            let left = end.is_ok();
            forgive_absence(&mut end);
            let end = if left { last.clone() } else { end };
            end.map_err(|no| no.text(step))
        };
        (steps.iter().zip(ends).map(ending).collect(), broken)
    }

    async fn acks(&mut self, messages: Vec<Message>) -> (Vec<Result<(), No>>, Option<String>) {
        let answers = self.request(messages).await;
        let ends = answers.acks.into_iter().map(|ack| ack.map_or(Err(No::Unknown), |ack| ack.map_err(No::Refused)));
        (ends.collect(), answers.broken.as_ref().map(|error| chain(error)))
    }
}

/// Why a message was not done.
#[derive(Debug, Clone)]
enum No {
    /// The kernel said so.
    Refused(Refused),
    /// No acknowledgement came, so nobody knows.
    Unknown,
}

impl No {
    fn text(&self, step: &Step) -> String {
        match self {
            Self::Unknown => format!("`{step}`: no acknowledgement came; the next round looks whether it was done"),
            Self::Refused(refused) => format!("`{step}`: {refused}{}", advice(refused.errno)),
        }
    }
}

fn advice(errno: i32) -> &'static str {
    match errno {
        libc::EPERM | libc::EACCES => "; the process needs CAP_NET_ADMIN in this network namespace",
        libc::EEXIST | libc::EBUSY | libc::ENODEV => "; it changed since it was read: the next round plans anew",
        libc::EOPNOTSUPP => "; this kernel lacks the kind of link or the option (modules 8021q and bridge are needed)",
        libc::ENETUNREACH | libc::EHOSTUNREACH => "; the gateway must be within an address of the segment",
        _ => "",
    }
}

/// A link that is not there any more is deleted.
fn forgive_absence(end: &mut Result<(), No>) {
    if matches!(end, Err(No::Refused(refused)) if refused.errno == libc::ENODEV) {
        *end = Ok(());
    }
}
