//! Logs: what `tracing` events look like and where they go. What is worth an event is each module's own affair.
//!
//! Meters, what is counted and timed, are in `meters`; the address they are scraped from is in `scrape`.

mod meters;
mod scrape;

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::TryInitError;

pub use meters::{
    Reading, Stage, Underway, begin, call_ended, events_dropped, plugin_ended, pull_ended, pulled,
};
pub use scrape::{Scrape, Scraping};

/// The environment variable that overrides the configured level. As in `info,coracle::image=debug`.
pub const LOG_VARIABLE: &str = "CORACLE_LOG";

/// What an event looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line of words; in colours on a terminal.
    Text,
    /// A line of JSON.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The directives are not of the form `level` or `module=level`.
    #[error("cannot use the log directives {directives:?}")]
    Directives {
        /// The variable's or the setting's text.
        directives: String,
        /// Which part, and why.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Another subscriber is there already.
    #[error("cannot install the logger")]
    Install(#[source] TryInitError),
}

/// Sends events of at least `level` to standard error, unless [`LOG_VARIABLE`] says otherwise. Once a process.
///
/// # Errors
/// Directives that make no sense, or a second call.
pub fn init(level: &str, format: Format) -> Result<(), TelemetryError> {
    use tracing_subscriber::util::SubscriberInitExt;

    let variable = std::env::var(LOG_VARIABLE).ok();
    let directives = directives(level, variable.as_deref());
    let filter = filter(&directives)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr);
    let installed = match format {
        Format::Text => builder.with_ansi(stderr().is_terminal()).finish().try_init(),
        Format::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    installed.map_err(TelemetryError::Install)
}

/// The variable's directives if it has any, else `level` for our own modules and warnings for all others.
fn directives(level: &str, variable: Option<&str>) -> String {
    match variable.map(str::trim) {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => format!("warn,coracle={level}"),
    }
}

fn filter(directives: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .parse(directives)
        .map_err(|source| TelemetryError::Directives {
            directives: directives.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_overrides_the_level() {
        for (variable, expected) in [
            (None, "warn,coracle=info"),
            (Some(""), "warn,coracle=info"),
            (Some("  "), "warn,coracle=info"),
            (Some("debug"), "debug"),
            (Some("warn,coracle::image=trace"), "warn,coracle::image=trace"),
        ] {
            let chosen = directives("info", variable);

            assert_eq!(chosen, expected, "{variable:?}");
            assert!(filter(&chosen).is_ok(), "{chosen}");
        }
    }

    #[test]
    fn directives_that_make_no_sense_are_told() {
        let error = filter("coracle=loud").unwrap_err();

        assert_eq!(
            error.to_string(),
            r#"cannot use the log directives "coracle=loud""#
        );
    }
}
