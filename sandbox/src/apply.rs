//! The only writes of this room, all of them calls to systemd.

use bulkhead_types::{Cancelled, Execute, Outcome, Progress, Report};

use crate::plan::{Plan, Step};
use crate::systemd::Systemd;
use crate::unit;

impl Systemd {
    /// Makes the calls of a plan, as [`Report::of`] says.
    ///
    /// The answer of systemd is not the proof: observe and plan again, and the plan is empty.
    pub async fn apply(&mut self, plan: &Plan, cancelled: Cancelled<'_>, progress: Progress<'_, Step>) -> Report<Step> {
        Report::of(plan, self, cancelled, progress).await
    }
}

impl Execute<Step> for &mut Systemd {
    async fn execute(&mut self, step: &Step) -> Outcome {
        Outcome::of(match step {
            Step::SetLimits { guest, limits } => self.set_limits(&unit::slice(guest), *limits).await,
            Step::StartSlice { guest } => self.start(&unit::keeper(guest)).await,
            Step::StopSlice { guest } => self.stop(&unit::keeper(guest)).await,
        })
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
