//! Dispatches the subcommand before any thread exists.

use std::process::ExitCode;

use coracle::monitor::zygote::{ARGUMENT, zygote_main};

fn main() -> ExitCode {
    // Not one of the command line's: the daemon starts itself so, to have a process that can be forked.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == ARGUMENT)
    {
        zygote_main();
    }
    coracle::cli::main(std::env::args_os())
}
