//! The only writes of this room, all of them calls to systemd.

use bulkhead_types::{Outcome, Report, chain};

use crate::error::Error;
use crate::plan::{Plan, Step};
use crate::systemd::Systemd;
use crate::unit;

impl Systemd {
    /// Makes the calls of a plan in their order. After a failed one the later ones of the same guest are skipped; other guests
    /// go on. `cancelled` is asked before each step: once it gives a reason, the steps that are left are skipped for it.
    /// `progress` is told each step and its end as it happens.
    ///
    /// The answer of systemd is not the proof: observe and plan again, and the plan is empty.
    pub async fn apply(
        &mut self,
        plan: &Plan,
        cancelled: &(dyn Fn() -> Option<&'static str> + Sync),
        progress: &mut (dyn FnMut(&Step, &Outcome) + Send),
    ) -> Report<Step> {
        let mut report = Report::default();
        for step in &plan.steps {
            let stopped = report.stopped(step).map(str::to_owned);
            let outcome = match stopped.or_else(|| cancelled().map(str::to_owned)) {
                Some(why) => Outcome::Skipped(why),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_call_is_made_once_a_plan_is_not_wanted_any_more() {
        let step = |guest: &str| Step::StopSlice { guest: guest.parse().unwrap() };
        let plan = Plan { steps: vec![step("t-cancelled-a"), step("t-cancelled-b")], notices: Vec::new() };
        let report = Systemd::new().apply(&plan, &|| Some("the manifest has changed"), &mut |_, _| ()).await;
        let skipped = |step| (step, Outcome::Skipped("the manifest has changed".to_owned()));
        assert_eq!(report.steps, plan.steps.into_iter().map(skipped).collect::<Vec<_>>());
    }
}
