//! The command `bulkhead`.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use bulkhead::cli::{check, schema};
use clap::{Parser, Subcommand};

/// Network and isolation agent for KVM/libvirt hosts.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit status: 0 well, 1 the manifest has errors, 2 wrong usage or a file cannot be read."
)]
struct Arguments {
    /// Answer in JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(check::Args),
    Schema(schema::Args),
}

fn main() -> io::Result<ExitCode> {
    let Arguments { json, command } = Arguments::parse();
    let mut out = io::stdout();
    let color = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match command {
        Command::Check(args) => check::run(&args, json, &mut out, color),
        Command::Schema(args) => schema::run(&args, json, &mut out, color),
    }
}
