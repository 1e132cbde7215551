//! The only writes: a plan's steps, in its order, as many in one send as may go together.

mod batch;
mod sysctl;
mod wire;

use bulkhead_types::{Cancelled, Outcome, Progress, Report, chain};

use crate::error::Refused;
use crate::plan::Plan;
use crate::socket::{CHUNK, Kernel, Message};
use crate::step::Step;
use batch::{Batch, Method};

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

/// How one step ended; the error says why it was not done, and what to do.
type StepResult = Result<(), String>;

impl Kernel {
    /// Does what the plan says and tells how each step ended, to `progress` after each send and in the report at the end.
    ///
    /// After a failed step the later steps of its object are skipped, unless they do without it (`Step::required`), but not
    /// those in the same send: the kernel has done
    /// or refused them already, and each is reported as the kernel acknowledged it. Where the conversation itself breaks
    /// off, all that is left is skipped: observe and plan again. `cancelled` is asked before each send: once it gives a reason,
    /// all that is left is skipped for it.
    pub async fn apply(&mut self, plan: &Plan, cancelled: Cancelled<'_>, progress: Progress<'_, Step>) -> Report<Step> {
        let mut report = Report::default();
        let mut broken = None;
        for Batch { method, steps } in batch::cut(&plan.steps) {
            broken = broken.or_else(|| cancelled().map(str::to_owned));
            let skips: Vec<Option<Outcome>> = steps.iter().map(|step| report.skip(step, broken.as_deref())).collect();
            let going: Vec<&Step> =
                steps.iter().zip(&skips).filter(|(_, skip)| skip.is_none()).map(|(s, _)| s).collect();
            let whole = going.len() == steps.len();
            let (results, breakage) = self.write(method, &going, whole).await;
            let mut results = results.into_iter();
            for (step, skip) in steps.iter().zip(skips) {
                let outcome = match skip {
                    Some(skipped) => skipped,
                    None => results.next().unwrap_or(Ok(())).map_or_else(Outcome::Failed, |()| Outcome::Done),
                };
                progress(step, &outcome);
                report.record(step.clone(), outcome);
            }
            broken = broken.or(breakage);
        }
        report
    }

    /// Writes the steps of one batch. The second value says why nothing more can be sent.
    async fn write(&mut self, method: Method, steps: &[&Step], whole: bool) -> (Vec<StepResult>, Option<String>) {
        if steps.is_empty() {
            return (Vec::new(), None);
        }
        match method {
            Method::Sysctl => {
                self.writes.sysctls += steps.len() as u64;
                (sysctl::write(steps).await, None)
            }
            Method::GroupUp if whole && steps.len() > 1 => self.group_up(steps).await,
            Method::GroupDelete { .. } if steps.len() > 1 => self.group_delete(steps).await,
            _ => self.each(steps).await,
        }
    }

    /// One message a step.
    async fn each(&mut self, steps: &[&Step]) -> (Vec<StepResult>, Option<String>) {
        let mut results = Vec::new();
        for chunk in steps.chunks(CHUNK) {
            let messages = chunk.iter().filter_map(|step| wire::message(step)).collect();
            let (mut ends, broken) = self.acks(messages).await;
            for (step, end) in chunk.iter().zip(&mut ends) {
                if matches!(step, Step::DeleteLink { .. }) {
                    absent_is_deleted(end);
                }
            }
            results.extend(chunk.iter().zip(ends).map(|(step, end)| end.map_err(|failure| failure.text(step))));
            if broken.is_some() {
                return (results, broken);
            }
        }
        (results, None)
    }

    /// Sets all links of the group up with one message. It stops at the first that cannot, so each is asked then.
    async fn group_up(&mut self, steps: &[&Step]) -> (Vec<StepResult>, Option<String>) {
        let (ends, broken) = self.acks(vec![wire::group_up()]).await;
        match ends.first() {
            Some(Ok(())) => (vec![Ok(()); steps.len()], broken),
            _ if broken.is_none() => self.each(steps).await,
            _ => (steps.iter().map(|step| Err(Failure::Unknown.text(step))).collect(), broken),
        }
    }

    /// Moves the links to the leaving group and deletes that, in one send.
    async fn group_delete(&mut self, steps: &[&Step]) -> (Vec<StepResult>, Option<String>) {
        let mut messages: Vec<Message> = steps.iter().filter_map(|step| wire::leave(step)).collect();
        messages.push(wire::delete_leaving());
        let (mut ends, broken) = self.acks(messages).await;
        let last = ends.pop().unwrap_or(Err(Failure::Unknown));
        let result = |(step, mut end): (&&Step, Result<(), Failure>)| {
            let left = end.is_ok();
            absent_is_deleted(&mut end);
            let end = if left { last.clone() } else { end };
            end.map_err(|failure| failure.text(step))
        };
        (steps.iter().zip(ends).map(result).collect(), broken)
    }

    async fn acks(&mut self, messages: Vec<Message>) -> (Vec<Result<(), Failure>>, Option<String>) {
        let answers = self.request(messages).await;
        let ends =
            answers.acks.into_iter().map(|ack| ack.map_or(Err(Failure::Unknown), |ack| ack.map_err(Failure::Refused)));
        (ends.collect(), answers.broken.as_ref().map(|error| chain(error)))
    }
}

/// Why a message was not done.
#[derive(Debug, Clone)]
enum Failure {
    /// The kernel said so.
    Refused(Refused),
    /// No acknowledgement came, so nobody knows.
    Unknown,
}

impl Failure {
    fn text(&self, step: &Step) -> String {
        match self {
            Self::Unknown => format!("`{step}`: no acknowledgement came; the next round looks whether it was done"),
            Self::Refused(refused) => format!("`{step}`: {refused}{}", advice(step, refused.errno)),
        }
    }
}

fn advice(step: &Step, errno: i32) -> &'static str {
    let ipv6 = match step {
        Step::AddAddress { address, .. } => address.addr().is_ipv6(),
        Step::AddRoute { gateway, .. } => gateway.is_ipv6(),
        _ => false,
    };
    match errno {
        // The kernel's answer to a process without the privilege is EPERM alone.
        libc::EPERM => "; the process needs CAP_NET_ADMIN in this network namespace",
        libc::EACCES if ipv6 => {
            "; IPv6 is off on that link (`disable_ipv6`): somebody switched it off since it was read, and the next round \
             plans anew"
        }
        libc::EACCES => "; a security module may forbid it",
        libc::EEXIST | libc::EBUSY | libc::ENODEV => "; it changed since it was read: the next round plans anew",
        libc::EOPNOTSUPP => "; this kernel lacks the kind of link or the option (modules 8021q and bridge are needed)",
        libc::ENETUNREACH | libc::EHOSTUNREACH => "; the gateway must be within an address of the segment",
        _ => "",
    }
}

/// A link that is not there any more is deleted.
fn absent_is_deleted(end: &mut Result<(), Failure>) {
    if matches!(end, Err(Failure::Refused(refused)) if refused.errno == libc::ENODEV) {
        *end = Ok(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::SegmentBridge;

    fn text(gateway: &str, errno: i32) -> String {
        let bridge = SegmentBridge::left("br20".parse().unwrap());
        let step = Step::AddRoute { bridge, index: 7, gateway: gateway.parse().unwrap(), metric: 4242, on_link: false };
        Failure::Refused(Refused { errno, text: None }).text(&step)
    }

    #[tokio::test]
    async fn nothing_is_sent_once_a_plan_is_not_wanted_any_more() {
        let bridge = SegmentBridge::left("br20".parse().unwrap());
        // No link has this index.
        let step = Step::DeleteAddress {
            bridge,
            link: "br20".parse().unwrap(),
            index: u32::MAX >> 1,
            address: "192.0.2.1/32".parse().unwrap(),
        };
        let plan = Plan { steps: vec![step.clone()], notices: Vec::new() };
        let mut kernel = Kernel::open().unwrap();
        let report = kernel.apply(&plan, &|| Some("the manifest has changed"), &mut |_, _| ()).await;
        assert_eq!(report.steps, [(step, Outcome::Skipped("the manifest has changed".to_owned()))]);
        assert_eq!(kernel.writes(), Writes::default());
    }

    #[test]
    fn only_a_missing_privilege_is_called_one() {
        assert!(text("10.0.0.1", libc::EPERM).contains("CAP_NET_ADMIN"));
        let off = text("fe80::1", libc::EACCES);
        assert!(off.contains("IPv6 is off") && !off.contains("CAP_NET_ADMIN"), "{off}");
        assert!(!text("10.0.0.1", libc::EACCES).contains("CAP_NET_ADMIN"));
    }
}
