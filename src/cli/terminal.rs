//! The terminal that standard input is: its size, and its raw mode, which ends with a value.

use std::io;

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use super::CliError;

/// Columns and rows of this terminal.
pub(super) fn size() -> Result<(u16, u16), CliError> {
    if !isatty(io::stdin()) {
        return Err(CliError::NoTerminal);
    }
    let size = tcgetwinsize(io::stdin()).map_err(|errno| failed(errno.into()))?;
    Ok((size.ws_col, size.ws_row))
}

/// The terminal is raw until this is dropped: every key is passed on, and none means anything here.
#[derive(Debug)]
pub(super) struct RawMode {
    before: Termios,
}

impl RawMode {
    pub(super) fn begin() -> Result<RawMode, CliError> {
        let before = tcgetattr(io::stdin()).map_err(|errno| failed(errno.into()))?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).map_err(|errno| failed(errno.into()))?;
        Ok(RawMode { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that has gone needs no restoring.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

pub(super) fn failed(source: io::Error) -> CliError {
    CliError::File {
        action: "use the terminal",
        path: "of standard input".into(),
        source,
    }
}
