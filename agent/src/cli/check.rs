//! `bulkhead check`: everything that is wrong with a manifest, at once. Needs no daemon and no privilege.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use crate::manifest::{self, Level, Problems, ReadError};

/// The user that the daemon runs as; the package makes it.
const DAEMON: &str = "bulkhead";

/// Check a manifest: every error and warning with its line, and what to write instead.
///
/// Exit status: 0 without errors (warnings are shown), 1 with errors, 2 where the files cannot be read.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Manifests, each a file or a directory with host.toml and host.d/*.toml; the host's own unless given
    #[arg(value_name = "FILE", default_value = manifest::DEFAULT_PATH)]
    pub manifests: Vec<PathBuf>,
}

/// Writes what is wrong with each manifest, then one line that counts it; ends as the worst of them.
///
/// # Errors
/// Only those of `out`.
pub fn run(args: &Args, json: bool, out: &mut dyn Write, color: bool) -> io::Result<ExitCode> {
    let mut worst = 0;
    for path in &args.manifests {
        worst = worst.max(one(path, json, out, color)?);
    }
    Ok(ExitCode::from(worst))
}

/// Checks one manifest; the exit status that it alone would have.
fn one(path: &Path, json: bool, out: &mut dyn Write, color: bool) -> io::Result<u8> {
    let sources = match manifest::read(path) {
        Ok(sources) => sources,
        Err(error) => return unread(&error, json, out),
    };
    let (mut problems, right) = match manifest::parse(&sources) {
        Ok(manifest) => (manifest.warnings().clone(), true),
        Err(problems) => (problems, false),
    };
    // Elsewhere a manifest may well be its writer's alone.
    if path == Path::new(manifest::DEFAULT_PATH) {
        problems.closed_to_the_daemon(manifest::obstacles(path, DAEMON));
    }
    let (errors, warnings) = (problems.count(Level::Error), problems.count(Level::Warning));
    if json {
        let report = json!({ "manifest": path, "errors": errors, "warnings": warnings, "problems": problems });
        writeln!(out, "{report:#}")?;
    } else {
        write!(out, "{}", problems.render(color))?;
        writeln!(out, "{}: {}", path.display(), summary(&problems))?;
    }
    Ok(if right { 0 } else { 1 })
}

fn unread(error: &ReadError, json: bool, out: &mut dyn Write) -> io::Result<u8> {
    if json {
        writeln!(out, "{:#}", json!({ "error": error.to_string() }))?;
    } else {
        writeln!(out, "error: {error}")?;
    }
    Ok(2)
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
