//! Dispatches the subcommand before any thread exists.

use std::process::ExitCode;

fn main() -> ExitCode {
    coracle::cli::main(std::env::args_os())
}
