//! `bulkhead schema`: the manifest as a JSON Schema. Needs no daemon and no privilege.

use std::io::{self, Write};
use std::process::ExitCode;

/// Print the JSON Schema of the manifest, for editors and other tools.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Writes the schema; it is JSON whether `json` is asked for or not.
///
/// # Errors
/// Only those of `out`.
pub fn run(_: &Args, _json: bool, out: &mut dyn Write, _color: bool) -> io::Result<ExitCode> {
    writeln!(out, "{:#}", crate::manifest::schema())?;
    Ok(ExitCode::SUCCESS)
}
