//! `bulkhead teardown`: remove what is ours.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

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
    apply::work("Teardown", &args.daemon, args.force, screen, |summary| {
        let all = "Nothing of Bulkhead is left on this host.";
        let some = "What can be removed now is removed; not all of the host could be seen, see below.";
        if summary.is_well() { all } else { some }.to_owned()
    })
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
