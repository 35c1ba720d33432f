//! Logs: what `tracing` events look like and where they go. What is worth an event is each module's own affair.
//!
//! Meters, what is counted and timed, are in `meters`; the address they are scraped from is in `scrape`. Spans for those who
//! follow a call through several programs are in `traces`.

mod meters;
mod scrape;
pub mod traces;

use std::io::{IsTerminal, stderr};
use std::sync::OnceLock;

use tracing::Subscriber;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Filter, Layer, SubscriberExt as _};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Registry, fmt, registry, reload};

pub use meters::render as text;
pub use meters::{
    Reading, Stage, Underway, begin, call_ended, events_dropped, plugin_ended, pull_ended, pulled,
};
pub use scrape::{Scrape, Scraping};

/// An error with its causes, outermost first, on one line: for what leaves a module as text.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

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
    /// The logger has gone.
    #[error("cannot change what is logged")]
    Change(#[source] reload::Error),
    /// Another subscriber is there already.
    #[error("cannot install the logger")]
    Install(#[source] TryInitError),
}

/// The filter of the logger that is installed.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// What is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Least severe level of our own modules; of others it is warnings.
    pub level: &'a str,
    /// Directives in its place.
    pub filter: Option<&'a str>,
}

impl Wanted<'_> {
    /// Events of a level and no filter.
    pub fn at(level: &str) -> Wanted<'_> {
        Wanted { level, filter: None }
    }
}

/// Whether calls are to be traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traced {
    /// Never: there are none.
    Never,
    /// When the environment asks for it.
    AsAsked,
}

/// Sends events that are wanted to standard error, unless [`LOG_VARIABLE`] says otherwise. Once a process.
///
/// # Errors
/// Directives that make no sense, or a second call.
pub fn init(wanted: Wanted<'_>, format: Format, traced: Traced) -> Result<(), TelemetryError> {
    let filter = filter(&directives(wanted, variable().as_deref()))?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(stderr);
    let lines = match format {
        Format::Text => lines.with_ansi(stderr().is_terminal()).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let (spans, problem) = match traced {
        Traced::Never => (None, None),
        Traced::AsAsked => traces::layer(),
    };
    subscriber(lines, filter, spans)
        .try_init()
        .map_err(TelemetryError::Install)?;
    // The logger is the first, and so is this.
    let _ = FILTER.set(handle);
    if let Some(problem) = problem {
        tracing::warn!("no traces: {problem}");
    }
    Ok(())
}

/// A layer of what takes spans and events.
type Part = Box<dyn Layer<Registry> + Send + Sync>;

/// What takes spans and events. Those that nobody wants are not made: the libraries below have dozens for each call. So each
/// part has a filter, of which the level is known, and what is absent is no part, which would be one without a filter.
fn subscriber(
    lines: Part,
    filter: impl Filter<Registry> + Send + Sync + 'static,
    spans: Option<Part>,
) -> impl Subscriber + Send + Sync {
    let untraced = filter_fn(|metadata| !traces::is_traced(metadata)).with_max_level_hint(LevelFilter::TRACE);
    let mut parts = vec![lines.with_filter(filter.and(untraced)).boxed()];
    parts.extend(spans);
    registry().with(parts)
}

/// Changes what is written from now on. Where [`LOG_VARIABLE`] is set, and where there is no logger, nothing changes.
///
/// # Errors
/// Directives that make no sense.
pub fn change(wanted: Wanted<'_>) -> Result<(), TelemetryError> {
    let filter = filter(&directives(wanted, variable().as_deref()))?;
    let replaced = FILTER.get().map_or(Ok(()), |handle| handle.reload(filter));
    replaced.map_err(TelemetryError::Change)
}

fn variable() -> Option<String> {
    std::env::var(LOG_VARIABLE).ok()
}

/// The variable's directives if it has any, else those that are wanted.
fn directives(wanted: Wanted<'_>, variable: Option<&str>) -> String {
    match (variable.map(str::trim), wanted.filter) {
        (Some(text), _) if !text.is_empty() => text.to_owned(),
        (_, Some(filter)) => filter.to_owned(),
        _ => format!("warn,coracle={}", wanted.level),
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
            let wanted = Wanted {
                level: "info",
                filter: None,
            };
            let chosen = directives(wanted, variable);

            assert_eq!(chosen, expected, "{variable:?}");
            assert!(filter(&chosen).is_ok(), "{chosen}");
        }
    }

    #[test]
    fn a_filter_goes_before_the_level_and_the_variable_before_both() {
        let wanted = Wanted {
            level: "info",
            filter: Some("warn,coracle::cni=debug"),
        };

        assert_eq!(directives(wanted, None), "warn,coracle::cni=debug");
        assert_eq!(directives(wanted, Some("error")), "error");
    }

    #[test]
    fn what_nobody_wants_is_not_made() {
        let (filter, _handle) = reload::Layer::new(filter("warn,coracle=info").unwrap());
        let lines = fmt::layer().with_writer(std::io::sink).boxed();

        tracing::subscriber::with_default(subscriber(lines, filter, None), || {
            assert!(tracing::trace_span!(target: "h2", "poll").is_disabled());
            assert!(tracing::info_span!(target: "hyper", "serve").is_disabled());
            assert!(!tracing::info_span!(target: "coracle::cri", "rpc").is_disabled());
        });
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
