//! Dispatches the subcommand before any thread exists.

fn main() {}
