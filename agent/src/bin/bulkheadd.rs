//! The daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    bulkhead::daemon::main()
}
