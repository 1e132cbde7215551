//! `bulkhead check`: everything that is wrong with a manifest, at once. Needs no daemon and no privilege.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::manifest::{self, Level, Problems, ReadError};

/// Check a manifest: every error and warning with its line, and what to write instead.
///
/// Exit status: 0 without errors (warnings are shown), 1 with errors, 2 where the files cannot be read.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The manifest: one file, or a directory with host.toml and host.d/*.toml
    #[arg(long, value_name = "PATH", default_value = manifest::DEFAULT_PATH)]
    pub manifest: PathBuf,
}

/// Writes what is wrong, then one line that counts it.
///
/// # Errors
/// Only those of `out`.
pub fn run(args: &Args, json: bool, out: &mut dyn Write, color: bool) -> io::Result<ExitCode> {
    let sources = match manifest::read(&args.manifest) {
        Ok(sources) => sources,
        Err(error) => return unread(&error, json, out),
    };
    let (problems, right) = match manifest::parse(&sources) {
        Ok(manifest) => (manifest.warnings().clone(), true),
        Err(problems) => (problems, false),
    };
    let (errors, warnings) = (problems.count(Level::Error), problems.count(Level::Warning));
    if json {
        let report = json!({ "manifest": args.manifest, "errors": errors, "warnings": warnings, "problems": problems });
        writeln!(out, "{report:#}")?;
    } else {
        write!(out, "{}", problems.render(color))?;
        writeln!(out, "{}: {}", args.manifest.display(), summary(&problems))?;
    }
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn unread(error: &ReadError, json: bool, out: &mut dyn Write) -> io::Result<ExitCode> {
    if json {
        writeln!(out, "{:#}", json!({ "error": error.to_string() }))?;
    } else {
        writeln!(out, "error: {error}")?;
    }
    Ok(ExitCode::from(2))
}

fn summary(problems: &Problems) -> String {
    let count = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    match (problems.count(Level::Error), problems.count(Level::Warning)) {
        (0, 0) => "nothing is wrong".to_owned(),
        (0, warnings) => format!("no error, {}", count(warnings, "warning")),
        (errors, 0) => count(errors, "error"),
        (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    }
}
