//! The only writes of this room, all of them calls to systemd.

use bulkhead_types::{Outcome, Report, chain};

use crate::error::Error;
use crate::plan::{Plan, Step};
use crate::systemd::Systemd;
use crate::unit;

impl Systemd {
    /// Makes the calls of a plan in their order. After a failed one the later ones of the same guest are skipped; other guests
    /// go on. `progress` is told each step and its end as it happens.
    ///
    /// The answer of systemd is not the proof: observe and plan again, and the plan is empty.
    pub async fn apply(&mut self, plan: &Plan, progress: &mut (dyn FnMut(&Step, &Outcome) + Send)) -> Report<Step> {
        let mut report = Report::default();
        for step in &plan.steps {
            let outcome = match report.stopped(step) {
                Some(why) => Outcome::Skipped(why.to_owned()),
                None => match self.execute(step).await {
                    Ok(()) => Outcome::Done,
                    Err(error) => Outcome::Failed(chain(&error)),
                },
            };
            progress(step, &outcome);
            report.record(step.clone(), outcome);
        }
        report
    }

    async fn execute(&mut self, step: &Step) -> Result<(), Error> {
        match step {
            Step::SetLimits { guest, limits } => self.set_limits(&unit::slice(guest), *limits).await,
            Step::StartSlice { guest } => self.start(&unit::keeper(guest)).await,
            Step::StopSlice { guest } => self.stop(&unit::keeper(guest)).await,
        }
    }
}
