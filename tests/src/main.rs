//! The lab's command, `cargo lab`: installs what the build needs and runs the tests, with a closing count.
#![allow(clippy::disallowed_methods, reason = "the lab runs other programs; the product does not")]
#![allow(clippy::print_stdout, reason = "the lab speaks to people on its standard output")]

mod cases;
mod count;
mod deps;
mod host;
mod inside;
mod package;
mod program;
mod suite;

use std::path::Path;
use std::process::ExitCode;

use bulkhead_types::chain;
use clap::{Parser, Subcommand};

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
    /// Build the Debian package, target/debian/bulkhead_*.deb
    Package,
    /// What a machine of the lab runs; refuses to run anywhere else
    #[command(hide = true)]
    Inside,
    /// Run the tests and print how many passed and failed
    Test {
        /// Run only tests whose name contains this text
        filter: Option<String>,
    },
}

fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Deps => deps::install().map(|()| true).map_err(|e| chain(&e)),
        Command::Package => package(),
        Command::Inside => inside::run(),
        Command::Test { filter } => test(filter.as_deref()),
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
fn package() -> Result<bool, String> {
    deps::install().map_err(|e| chain(&e))?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let built = package::build(root, &|line| println!("{line}")).map_err(|e| chain(&e))?;
    println!("{}", built.display());
    Ok(true)
}

/// Runs everything; whether all passed and at least one ran.
fn test(filter: Option<&str>) -> Result<bool, String> {
    deps::install().map_err(|e| chain(&e))?;
    let ran = host::run(filter).map_err(|e| chain(&e))?;
    if ran.count.passed + ran.count.failed == 0 {
        println!("no test ran: check the filter, or build errors above");
    }
    println!("{} passed, {} failed", ran.count.passed, ran.count.failed);
    Ok(ran.clean && ran.count.failed == 0 && ran.count.passed > 0)
}
