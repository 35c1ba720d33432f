//! What libcontainer says about its failures: only to `tracing`, and from three processes.
//!
//! Its error values carry the outermost text only; the cause is in events of level ERROR, many of them emitted in
//! forks. They are written to a pipe that the worker reads when the call has failed. Never to descriptor 2: the
//! container's first process has its own stderr there.

use crate::sys::pipe;
use std::fmt::{Debug, Write};
use std::io;
use std::os::fd::OwnedFd;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// How many events make it into a text: the first one is the nearest to the cause.
const TOLD: usize = 3;

/// Installs the subscriber in this process (a worker) and returns what it writes to.
pub(super) fn install() -> io::Result<Causes> {
    let (reader, writer) = pipe::pair()?;
    pipe::set_nonblocking(&reader)?;
    pipe::set_nonblocking(&writer)?;
    // Fails only when there is one already, which no fork of the zygote has.
    let _ = tracing::subscriber::set_global_default(ToPipe(writer));
    Ok(Causes(reader))
}

/// The reading end.
#[derive(Debug)]
pub(super) struct Causes(OwnedFd);

impl Causes {
    /// Adds what was said to an error's text.
    pub(super) fn explain(&self, text: String) -> String {
        let mut said = vec![0; 8 << 10];
        let count = rustix::io::read(&self.0, &mut said).unwrap_or(0);
        let said = String::from_utf8_lossy(&said[..count]);
        let causes: Vec<&str> = said.lines().filter(|l| !text.contains(l)).take(TOLD).collect();
        if causes.is_empty() {
            text
        } else {
            format!("{text} ({})", causes.join("; "))
        }
    }
}

struct ToPipe(OwnedFd);

impl Subscriber for ToPipe {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && metadata.is_event()
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::ERROR)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = format!("{}{}\n", line.message, line.fields).replace('\0', "");
        // A full pipe loses the outer events, which say least.
        let _ = rustix::io::write(&self.0, text.as_bytes());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "err" | "error" => write!(self.fields, ": {value:?}"),
            name => write!(self.fields, ", {name} {value:?}"),
        };
    }
}
