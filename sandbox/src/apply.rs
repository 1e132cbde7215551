//! The only writes of this room, all of them calls to systemd.

use bulkhead_types::{Cancelled, Outcome, Progress, Report};

use crate::error::Error;
use crate::plan::{Plan, Step};
use crate::systemd::Systemd;
use crate::unit;

impl Systemd {
    /// Makes the calls of a plan in their order. What [`Report::skip`] says is skipped, the others go on. `progress` is told each
    /// step and its end as it happens.
    ///
    /// The answer of systemd is not the proof: observe and plan again, and the plan is empty.
    pub async fn apply(&mut self, plan: &Plan, cancelled: Cancelled<'_>, progress: Progress<'_, Step>) -> Report<Step> {
        let mut report = Report::default();
        for step in &plan.steps {
            let outcome = match report.skip(step, cancelled()) {
                Some(skipped) => skipped,
                None => Outcome::of(self.execute(step).await),
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
