//! `bulkhead teardown`: remove what is ours.

use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;

use bulkhead_api::Client;

use super::failure::Failure;
use super::{Screen, apply};

const WARNING: &str = "\
This asks Bulkhead's guests to shut down, and removes its links, its ruleset and its slices. The host loses its addresses
on every segment. Volumes and the manifest stay. Go on? [y/N] ";

/// Remove Bulkhead's guests, links, ruleset and slices from this host; volumes stay
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also destroy guests that do not shut down
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(
    args: &Args,
    connect: impl FnOnce() -> Result<Client, Failure>,
    screen: &mut Screen<'_>,
) -> Result<ExitCode, Failure> {
    if !args.yes && !confirmed()? {
        return Err(Failure::Usage("nothing was changed".to_owned()));
    }
    apply::work("Teardown", args.force, connect, screen, |_| "Nothing of Bulkhead is left on this host.".to_owned())
}

/// Asks on the terminal; standard error, as standard output may be somewhere else.
fn confirmed() -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        let text = "teardown asks before it removes anything, and there is no terminal to ask on; use --yes";
        return Err(Failure::Usage(text.to_owned()));
    }
    io::Write::write_all(&mut io::stderr(), WARNING.as_bytes())?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
