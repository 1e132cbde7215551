//! `bulkhead teardown`: remove what is ours.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use bulkhead_api::Summary;
use bulkhead_types::Cause;

use super::failure::Failure;
use super::{Daemon, Screen, apply, words};

const WARNING: &str = "This asks Bulkhead's guests to shut down, and removes its links, its ruleset and its slices. The host \
                       loses its addresses on every segment. Volumes and the manifest's files stay; a boot that \
                       finds the files applies them again. Go on? [y/N]";

/// Remove Bulkhead's guests, links, ruleset and slices from this host; volumes stay
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also destroy guests that do not shut down
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    daemon: Daemon,
}

pub(super) fn run(args: &Args, screen: &mut Screen<'_>) -> Result<ExitCode, Failure> {
    if !args.yes && !confirmed(screen.columns)? {
        return Err(Failure::Usage("nothing was changed".to_owned()));
    }
    apply::work("Teardown", &args.daemon, args.force, screen, |summary| verdict(summary).to_owned())
}

/// What is left. What no step removes although all was seen is kept, such as a guest of which libvirt holds more than it could
/// give back.
fn verdict(summary: &Summary) -> &'static str {
    let unknown = summary.notices.iter().any(|notice| matches!(notice.cause, Cause::Unknown | Cause::Pending));
    match (summary.is_well(), summary.verified && !unknown) {
        (true, _) => "Nothing of Bulkhead is left on this host.",
        (false, true) => "Everything is removed but what is kept, see below; no manifest is followed any more.",
        (false, false) => "What can be removed now is removed; not all of the host could be seen, see below.",
    }
}

/// Asks on the terminal; standard error, as standard output may be somewhere else.
fn confirmed(columns: usize) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        let text = "teardown asks before it removes anything, and there is no terminal to ask on; use --yes";
        return Err(Failure::Usage(text.to_owned()));
    }
    write!(io::stderr(), "{} ", words::wrap(WARNING, columns - 1).join("\n"))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use bulkhead_types::{Notice, Object};

    use super::*;

    #[test]
    fn what_is_kept_is_not_called_unseen_and_not_called_gone() {
        let of = |verified, causes: &[Cause]| {
            let notice = |cause: &Cause| Notice { object: Object::Policy, cause: *cause, text: String::new() };
            verdict(&Summary { verified, notices: causes.iter().map(notice).collect(), ..Summary::default() })
        };
        assert!(of(true, &[]).starts_with("Nothing of Bulkhead is left"));
        assert!(of(true, &[Cause::Held]).contains("but what is kept"));
        for unseen in [of(false, &[]), of(false, &[Cause::Held]), of(true, &[Cause::Held, Cause::Unknown])] {
            assert!(unseen.contains("could be seen"), "{unseen}");
        }
    }
}
