//! The lab's command, `cargo lab`: installs what the build needs and runs the tests, with a closing count.
#![allow(clippy::disallowed_methods, reason = "the lab runs other programs; the product does not")]
#![allow(clippy::print_stdout, reason = "the lab speaks to people on its standard output")]

mod cases;
mod count;
mod demo;
mod deps;
mod host;
mod inside;
mod longest;
mod machines;
mod package;
mod program;
mod progress;
mod rooms;
mod suite;
mod test;
mod vm;

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;

use bulkhead_types::chain;
use clap::{Parser, Subcommand, ValueEnum};

use crate::suite::Suite;

/// Tests of Bulkhead.
#[derive(Parser)]
#[command(name = "cargo lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install the packages that the build needs (apt; as root or through sudo); says what and why first
    Deps,
    /// Boot a Debian 13 machine with the package and examples/seed.toml, and show what it does
    Demo {
        /// Stay in the machine afterwards, at a root shell
        #[arg(long)]
        shell: bool,
    },
    /// Build the Debian package, target/debian/bulkhead_*.deb
    Package,
    /// What a machine of the lab runs; refuses to run anywhere else
    #[command(hide = true)]
    Inside,
    /// Run the tests and print how many passed and failed
    Test {
        /// Run only tests whose name contains this text
        filter: Option<String>,
        /// Which machines to run them in
        #[arg(long, value_enum, default_value_t = Suites::All)]
        suite: Suites,
        /// How many machines run side by side; one more than there are processors, and at most four, unless given
        #[arg(long)]
        machines: Option<NonZeroUsize>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Suites {
    Debian12,
    Debian13,
    All,
}

impl Suites {
    const fn list(self) -> &'static [Suite] {
        match self {
            Self::Debian12 => &[Suite::Debian12],
            Self::Debian13 => &[Suite::Debian13],
            Self::All => Suite::ALL,
        }
    }
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let ended = match Arguments::parse().command {
        Command::Deps => deps::install(&[deps::BUILD]).map(|()| true).map_err(|e| chain(&e)),
        Command::Package => package(root),
        Command::Demo { shell } => demo::run(root, shell),
        Command::Inside => inside::run(),
        Command::Test { filter, suite, machines } => test::run(root, suite.list(), filter.as_deref(), machines),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("error: {text}");
            ExitCode::from(2)
        }
    }
}

/// Builds the package and prints where it is.
fn package(root: &Path) -> Result<bool, String> {
    deps::install(&[deps::BUILD]).map_err(|e| chain(&e))?;
    let built = package::build(root, &|line| println!("{line}")).map_err(|e| chain(&e))?;
    println!("{}", built.display());
    Ok(true)
}
