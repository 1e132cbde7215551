//! The only write: the whole plan as one transaction.

use bulkhead_types::{Outcome, Progress, Report};

use crate::error::Error;
use crate::plan::Plan;
use crate::ruleset::Ruleset;
use crate::step::Step;
use crate::wire;

impl Ruleset {
    /// Commits the plan. The kernel takes all of it or nothing: where it refuses one command, every step failed, for the same
    /// cause, and nothing has changed. An empty plan sends nothing.
    pub async fn apply(&mut self, plan: &Plan, progress: Progress<'_, Step>) -> Report<Step> {
        let mut report = Report::default();
        if plan.is_empty() {
            return report;
        }
        let outcome = Outcome::of(self.commit(&plan.steps).await);
        for step in &plan.steps {
            progress(step, &outcome);
            report.record(step.clone(), outcome.clone());
        }
        report
    }

    async fn commit(&mut self, steps: &[Step]) -> Result<(), Error> {
        let what = "commit the transaction";
        let document = wire::transaction(steps).map_err(|error| Error::Refused { what, text: error.to_string() })?;
        let answer = self.run(what, document).await?;
        answer.map(|_| ()).map_err(|text| Error::Refused { what, text: words(&text) })
    }
}

/// libnftables says each error in a few lines with the place underlined in the JSON; the first lines say all there is.
fn words(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| line.contains("Error:") || line.contains("netlink:"));
    let said: Vec<&str> = lines.map(|line| line.trim_start_matches("internal:0:0-0: ")).take(3).collect();
    let advice = if text.contains("Operation not permitted") {
        "; another process owns the tables, or this one lacks CAP_NET_ADMIN in this network namespace"
    } else {
        ""
    };
    let said = if said.is_empty() { text.trim().to_owned() } else { said.join("; ") };
    format!("{said}{advice}")
}
