//! Writes the reference that the package ships: man pages of `bulkhead`, its commands and `bulkheadd`, and shell completions.
//!
//! `cargo run -p bulkhead --example reference -- --man DIR --completions DIR`

use std::io;
use std::path::PathBuf;

use clap::{CommandFactory, Parser};
use clap_complete::Shell;

/// Writes man pages and shell completions
#[derive(Parser)]
struct Args {
    /// Directory of the man pages; made if it is missing
    #[arg(long)]
    man: PathBuf,
    /// Directory of the completions; made if it is missing
    #[arg(long)]
    completions: PathBuf,
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    std::fs::create_dir_all(&args.man)?;
    std::fs::create_dir_all(&args.completions)?;
    let mut command = bulkhead::cli::Cli::command();
    clap_mangen::generate_to(command.clone(), &args.man)?;
    let daemon = clap_mangen::Man::new(bulkhead::daemon::Arguments::command()).section("8");
    daemon.render(&mut std::fs::File::create(args.man.join("bulkheadd.8"))?)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "bulkhead", &args.completions)?;
    }
    Ok(())
}
