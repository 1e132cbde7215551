//! `bulkhead apply`: make the host as the manifest says, one line a step.

use std::fmt::Write as _;
use std::process::ExitCode;

use bulkhead_api::{ApplyFailed, Done, Ended, Phase, Summary, client};
use serde_json::{Value, json};

use super::failure::{Failure, NOT_SO};
use super::{Daemon, Screen, paint, plan, words};

/// Make the host as the manifest says; exit status 1 when it is not so then. With --json, one JSON object a line
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also do what would otherwise be kept and reported, such as destroy a guest that does not shut down
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    daemon: Daemon,
}

pub(super) fn run(args: &Args, screen: &mut Screen<'_>) -> Result<ExitCode, Failure> {
    work("Apply", &args.daemon, args.force, screen, verdict)
}

fn verdict(summary: &Summary) -> String {
    match (summary.is_well(), summary.done, summary.generation) {
        (false, ..) => "What can be done now is done; the host is not as the manifest says yet, see below.".to_owned(),
        (true, 0, _) => "Nothing to do: the host is as the manifest says.".to_owned(),
        (true, _, Some(generation)) => format!("The host is as the manifest says, generation {generation}."),
        (true, _, None) => "The host is as the manifest says.".to_owned(),
    }
}

/// Calls a method that streams, shows each step as it ends, and then the verdict.
pub(super) fn work(
    method: &str,
    daemon: &Daemon,
    force: bool,
    screen: &mut Screen<'_>,
    verdict: impl FnOnce(&Summary) -> String,
) -> Result<ExitCode, Failure> {
    let mut commands = Commands::default();
    let columns = screen.columns;
    let result = daemon.connect()?.stream(method, &json!({ "force": force }), |reply| {
        show(screen, &reply, || Ok(commands.line(&words::typed(&reply["step"])?, columns)))
    });
    if !screen.json {
        write!(screen.out, "{}", screen.paint.glyphs(&commands.end()))?;
    }
    match result {
        Ok(reply) => {
            let summary: Summary = words::typed(&reply["summary"])?;
            show(screen, &reply, || Ok(format!("{}\n{}", verdict(&summary), account(&summary, columns))))?;
            Ok(if summary.is_well() { ExitCode::SUCCESS } else { ExitCode::from(NOT_SO) })
        }
        Err(failure) => {
            if let (false, Failure::Daemon(client::Error::Refused { parameters, .. })) = (screen.json, &failure)
                && let Ok(ApplyFailed { summary, .. }) = words::typed(parameters)
            {
                show(screen, parameters, || Ok(account(&summary, columns)))?;
            }
            Err(failure)
        }
    }
}

/// A reply in one line for programs, or text for people; at once, as the next may take long.
fn show(screen: &mut Screen<'_>, reply: &Value, text: impl FnOnce() -> Result<String, Failure>) -> Result<(), Failure> {
    if screen.json {
        writeln!(screen.out, "{reply}")?;
    } else {
        write!(screen.out, "{}", screen.paint.glyphs(&text()?))?;
    }
    Ok(screen.out.flush()?)
}

/// The policy is one transaction of many commands, which stand or fall together: one line says so.
#[derive(Debug, Default)]
struct Commands(usize);

impl Commands {
    /// A step's line, with that of the transaction that it ends; nothing while a transaction goes on.
    fn line(&mut self, done: &Done, columns: usize) -> String {
        if done.phase == Phase::Policy && done.outcome == Ended::Done {
            self.0 += 1;
            return String::new();
        }
        self.end() + &line(done, columns)
    }

    fn end(&mut self) -> String {
        match std::mem::take(&mut self.0) {
            0 => String::new(),
            count => {
                let sign = paint::ended(Ended::Done);
                format!(
                    "{sign} {:<6}  {} of nft in one transaction\n",
                    Phase::Policy.as_str(),
                    words::count(count, "command")
                )
            }
        }
    }
}

fn line(done: &Done, columns: usize) -> String {
    let mut text = format!("{} {:<6}  {}\n", paint::ended(done.outcome), done.phase.as_str(), done.text);
    for line in words::wrap(done.why.as_deref().unwrap_or_default(), columns - 10) {
        let _ = writeln!(text, "          {line}");
    }
    text
}

/// The numbers, what remains, and the notices.
fn account(summary: &Summary, columns: usize) -> String {
    let mut text = format!("{} done", summary.done);
    for (number, word) in [(summary.failed, "failed"), (summary.skipped, "skipped")] {
        if number > 0 {
            let _ = write!(text, ", {number} {word}");
        }
    }
    let _ = writeln!(text, " in {}.", words::duration(summary.duration_us));
    if !summary.remaining.is_empty() {
        let _ = write!(text, "\nStill to do:\n{}", plan::steps(&summary.remaining));
    }
    text + &plan::notices(&summary.notices, columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::COLUMNS;
    use bulkhead_api::Step;
    use bulkhead_types::Object;

    #[test]
    fn a_step_is_a_line_and_its_reason_stands_below() {
        let done = Done {
            phase: Phase::Links,
            object: Object::Policy,
            text: "link add br20 type bridge".to_owned(),
            outcome: Ended::Failed,
            why: Some(
                "File exists: somebody else has a link of this name; rename it, or give the segment another bridge"
                    .to_owned(),
            ),
        };
        assert_eq!(
            line(&done, COLUMNS),
            "\
✗ links   link add br20 type bridge
          File exists: somebody else has a link of this name; rename it, or give
          the segment another bridge
"
        );
    }

    #[test]
    fn a_transaction_is_one_line_and_comes_before_what_follows_it() {
        let done = |phase, text: &str| Done {
            phase,
            object: Object::Policy,
            text: text.to_owned(),
            outcome: Ended::Done,
            why: None,
        };
        let mut commands = Commands::default();
        assert_eq!(commands.line(&done(Phase::Policy, "add table bridge bulkhead"), COLUMNS), "");
        assert_eq!(commands.line(&done(Phase::Policy, "add chain bridge bulkhead forward"), COLUMNS), "");
        let text = commands.line(&done(Phase::Links, "link add br20"), COLUMNS);
        assert_eq!(text, "✓ policy  2 commands of nft in one transaction\n✓ links   link add br20\n");
        assert_eq!(commands.end(), "");
    }

    #[test]
    fn the_account_names_what_remains() {
        let step = Step { phase: Phase::Links, object: Object::Policy, text: "link add br20".to_owned() };
        let summary = Summary {
            done: 4,
            failed: 1,
            skipped: 2,
            remaining: vec![step],
            duration_us: 1_234_000,
            ..Summary::default()
        };
        assert_eq!(
            account(&summary, COLUMNS),
            "4 done, 1 failed, 2 skipped in 1.23 s.\n\nStill to do:\nlinks\n  link add br20\n"
        );
        assert_eq!(account(&Summary::default(), COLUMNS), "0 done in 0 µs.\n");
    }
}
