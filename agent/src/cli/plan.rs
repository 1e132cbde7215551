//! `bulkhead plan`: what an apply would write.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bulkhead_api::{ManifestInvalid, Phase, Plan, Problem, Step};
use bulkhead_types::Notice;
use serde_json::json;

use super::failure::{Failure, NOT_SO};
use super::{Daemon, Screen, paint, words};
use crate::manifest::{self, HostId};
use crate::offline::{self, Observed};

/// Show what an apply would write; exit status 1 when that is anything, or when the host is not as the manifest says
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Plan these files (or directories with host.toml and host.d/*.toml) for an empty host, without daemon or privilege
    ///
    /// Empty is a host with the manifest's trunks, the directories of its pools, and a libvirt with KVM. Addresses that are
    /// derived from the host's identity are those of this host.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "socket")]
    offline: Vec<PathBuf>,
    /// Plan for the host that this text describes, and not for an empty one; docs/plan.md says how it is written
    #[arg(long, value_name = "FILE", requires = "offline")]
    observed: Option<PathBuf>,
    #[command(flatten)]
    daemon: Daemon,
}

pub(super) fn run(args: &Args, screen: &mut Screen<'_>) -> Result<ExitCode, Failure> {
    let reply = if args.offline.is_empty() {
        args.daemon.connect()?.call("Plan", &json!({}))?
    } else {
        serde_json::to_value(offline(&args.offline, args.observed.as_deref())?).map_err(io::Error::from)?
    };
    let plan: Plan = words::typed(&reply)?;
    let columns = screen.columns;
    screen.show(&reply, || Ok(draw(&plan, columns)))?;
    Ok(if plan.is_well() { ExitCode::SUCCESS } else { ExitCode::from(NOT_SO) })
}

/// What these files make of an empty host, or of the one that a text describes.
fn offline(files: &[PathBuf], observed: Option<&Path>) -> Result<Plan, Failure> {
    let usage = |error: &dyn std::error::Error| Failure::Usage(error.to_string());
    let mut sources = Vec::new();
    for file in files {
        sources.extend(manifest::read(file).map_err(|error| usage(&error))?);
    }
    let manifest = manifest::parse(&sources).map_err(|problems| Failure::Manifest(Box::new((&problems).into())))?;
    if let (true, Some(file)) = (manifest.is_empty(), files.first()) {
        let message = "the manifest declares nothing, and no apply follows one that does not".to_owned();
        let drawn = format!("error: {message}\n");
        let file = file.display().to_string();
        let errors = vec![Problem { file, line: 1, column: 1, message, help: Vec::new() }];
        return Err(Failure::Manifest(Box::new(ManifestInvalid { errors, drawn })));
    }
    let host = HostId::of_this_host().map_err(|error| usage(&error))?;
    let desired = manifest.lower(&host);
    let observed = match observed {
        Some(file) => Observed::read(file, &desired, &host).map_err(|error| usage(&error))?,
        None => Observed::empty(&desired).map_err(io::Error::other)?,
    };
    Ok(offline::plan(&desired, observed))
}

/// A plan for people, in lines of at most so many columns but for the steps.
#[must_use]
pub fn draw(plan: &Plan, columns: usize) -> String {
    let mut text = steps(&plan.steps);
    if plan.is_well() {
        text += "Nothing to do: the host is as the manifest says.\n";
    } else if plan.steps.is_empty() {
        text += "Nothing can be done now; the host is not as the manifest says, see below.\n";
    } else {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "\n{}; bulkhead apply makes it so.", words::count(plan.steps.len(), "step"));
    }
    text + &notices(&plan.notices, columns)
}

/// Commands of the policy that are shown one by one. A change has a few; the whole ruleset has hundreds, which nobody reads
/// here: `nft list table bridge bulkhead` shows it better.
const COMMANDS: usize = 12;

/// Steps under the name of their phase.
pub(super) fn steps(steps: &[Step]) -> String {
    let mut text = String::new();
    for (number, of_phase) in steps.chunk_by(|a, b| a.phase == b.phase).enumerate() {
        let Some(phase) = of_phase.first().map(|step| step.phase) else { continue };
        let gap = if number > 0 { "\n" } else { "" };
        let _ = writeln!(text, "{gap}{}", phase.as_str());
        let shown = if phase == Phase::Policy { COMMANDS } else { usize::MAX };
        for step in of_phase.iter().take(shown) {
            let _ = writeln!(text, "  {}", step.text);
        }
        if of_phase.len() > shown {
            let _ = writeln!(text, "  and {} more of the same transaction; --json shows all", of_phase.len() - shown);
        }
    }
    text
}

/// Notices, wrapped, after an empty line; nothing when there are none.
pub(super) fn notices(notices: &[Notice], columns: usize) -> String {
    let mut text = String::new();
    for notice in notices {
        let (sign, word) = paint::cause(notice.cause);
        let _ = writeln!(text, "\n{sign} {}: {word}", notice.object);
        for line in words::wrap(&notice.text, columns - 2) {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::COLUMNS;
    use bulkhead_types::{Cause, Object};

    #[test]
    fn a_plan_is_its_steps_under_their_phases_and_its_notices() {
        let step = |phase, text: &str| Step { phase, object: Object::Policy, text: text.to_owned() };
        let plan = Plan {
            steps: vec![
                step(Phase::Policy, "add table bridge bulkhead"),
                step(Phase::Policy, "add chain bridge bulkhead forward"),
                step(Phase::Links, "link add br20 type bridge"),
            ],
            notices: vec![Notice {
                object: Object::Trunk("eth1".parse().unwrap()),
                cause: Cause::Pending,
                text:
                    "there is no interface eth1; its segments are built when it comes, and nothing is lost until then"
                        .to_owned(),
            }],
        };
        assert_eq!(
            draw(&plan, COLUMNS),
            "\
policy
  add table bridge bulkhead
  add chain bridge bulkhead forward

links
  link add br20 type bridge

3 steps; bulkhead apply makes it so.

◐ trunk eth1: pending
  there is no interface eth1; its segments are built when it comes, and nothing
  is lost until then
"
        );
    }

    #[test]
    fn a_whole_ruleset_is_cut_short_and_says_so() {
        let step = |phase, text: &str| Step { phase, object: Object::Policy, text: text.to_owned() };
        let mut all = vec![step(Phase::Policy, "add rule bridge bulkhead x accept"); 30];
        all.push(step(Phase::Links, "link add br20"));
        let text = steps(&all);
        assert_eq!(text.lines().count(), 1 + 12 + 1 + 1 + 2, "{text}");
        assert!(text.contains("  and 18 more of the same transaction; --json shows all\n\nlinks\n  link add br20\n"));
    }

    #[test]
    fn a_manifest_that_declares_nothing_has_no_plan() {
        let file = std::env::temp_dir().join(format!("bulkhead-{}-nothing.toml", std::process::id()));
        std::fs::write(&file, "# nothing\n").unwrap();
        let planned = offline(std::slice::from_ref(&file), None);
        assert!(planned.unwrap_err().to_string().contains("declares nothing"));
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn an_empty_plan_says_that_all_is_well() {
        assert_eq!(draw(&Plan::default(), COLUMNS), "Nothing to do: the host is as the manifest says.\n");
    }
}
