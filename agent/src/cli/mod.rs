//! The command `bulkhead`: what a person or a script asks of the daemon, or of a manifest. One file a command.
//!
//! Human output by default, with colour on a terminal alone; `--json` prints what the socket answered. What is drawn is a
//! pure function of the answer, so that its tests need no daemon.

mod apply;
pub mod check;
mod failure;
mod map;
mod paint;
pub mod plan;
pub mod schema;
mod status;
mod teardown;
#[cfg(test)]
mod tests;
mod words;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use bulkhead_api::Client;
use clap::{Parser, Subcommand};

use failure::Failure;
use paint::Paint;

/// Columns where nothing says how wide the terminal is.
const COLUMNS: usize = 80;

/// Paragraphs are one line each here, and are wrapped at the terminal's width; the list's lines are short enough for any.
const EXIT_STATUS: &str = "\
Exit status:
  0  done; for plan, apply, status: as the manifest says
  1  the host is not so, or the manifest cannot be followed
  2  wrong usage, or a file or the terminal failed
  3  the daemon cannot be reached, or is busy
  4  the caller may not do that
  5  the daemon ended the connection before it answered

The daemon serves root and the members of group bulkhead; members of group bulkhead-observe may use plan, status and map. Nobody else is served; check, schema and plan --offline need no daemon.

Colour appears on a terminal alone, and never when NO_COLOR is set.";

/// One manifest makes this KVM/libvirt host: VLANs and bridges, who may talk to whom, limits around every guest.
#[derive(Debug, Parser)]
#[command(name = "bulkhead", version, after_help = EXIT_STATUS, max_term_width = 100)]
pub struct Cli {
    /// Print JSON, for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// How the commands that ask the daemon find it.
#[derive(Debug, clap::Args)]
struct Daemon {
    /// The daemon's socket
    #[arg(long, value_name = "PATH", default_value = bulkhead_api::PATH)]
    socket: PathBuf,
}

impl Daemon {
    fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&self.socket)?)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Plan(plan::Args),
    Apply(apply::Args),
    Status(status::Args),
    Map(map::Args),
    Schema(schema::Args),
    Teardown(teardown::Args),
}

/// Where output goes, and how.
struct Screen<'a> {
    out: &'a mut dyn Write,
    paint: Paint,
    json: bool,
    /// Columns that a line may have.
    columns: usize,
}

impl Screen<'_> {
    /// A reply for programs, or `text` for people.
    fn show(
        &mut self,
        reply: &serde_json::Value,
        text: impl FnOnce() -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        if self.json {
            serde_json::to_writer_pretty(&mut *self.out, reply).map_err(io::Error::from)?;
            writeln!(self.out)?;
        } else {
            write!(self.out, "{}", self.paint.glyphs(&text()?))?;
        }
        Ok(())
    }
}

/// Standard output that goes on when its reader has seen enough: what is left is written nowhere, and the command still comes to
/// its verdict.
struct UntilClosed<W> {
    out: W,
    closed: bool,
}

impl<W: Write> UntilClosed<W> {
    const fn new(out: W) -> Self {
        Self { out, closed: false }
    }

    fn unless_closed<T>(&mut self, otherwise: T, write: impl FnOnce(&mut W) -> io::Result<T>) -> io::Result<T> {
        match if self.closed { Err(io::ErrorKind::BrokenPipe.into()) } else { write(&mut self.out) } {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(otherwise)
            }
            result => result,
        }
    }
}

impl<W: Write> Write for UntilClosed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unless_closed(bytes.len(), |out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unless_closed((), W::flush)
    }
}

/// Runs the command with the arguments, the output and the terminal of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = UntilClosed::new(io::stdout().lock());
    let color = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut screen = Screen { out: &mut out, paint: Paint::new(color), json: cli.json, columns: columns() };
    let result = run(&cli, &mut screen).and_then(|code| {
        out.flush()?;
        Ok(code)
    });
    result.unwrap_or_else(|failure| {
        if cli.json
            && let Some(error) = failure.as_json()
        {
            // The reason is on standard error in any case, so a failure to say it here as well changes nothing.
            let _ = writeln!(out, "{error}");
        }
        // Nothing is left to do when standard error fails.
        let _ = writeln!(io::stderr(), "bulkhead: {failure}");
        failure.exit()
    })
}

/// How wide the terminal is, or COLUMNS says that it is. What is wider than 100 is hard to read.
fn columns() -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let terminal = || terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
    said.or_else(terminal).unwrap_or(COLUMNS).clamp(40, 100)
}

fn run(cli: &Cli, screen: &mut Screen<'_>) -> Result<ExitCode, Failure> {
    match &cli.command {
        Command::Check(args) => Ok(check::run(args, screen.json, screen.out, screen.paint.colors())?),
        Command::Schema(args) => Ok(schema::run(args, screen.json, screen.out, screen.paint.colors())?),
        Command::Plan(args) => plan::run(args, screen),
        Command::Apply(args) => apply::run(args, screen),
        Command::Status(args) => status::run(args, screen),
        Command::Map(args) => map::run(args, screen),
        Command::Teardown(args) => teardown::run(args, screen),
    }
}
