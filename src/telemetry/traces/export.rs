//! The way of spans out of the process: a queue that never waits, and one task that sends what is in it.
//!
//! The task sleeps until there is a span. A receiver that does not take them is tried again after ever longer pauses, which
//! the log tells of once; meanwhile the queue fills up, and what it has no room for is counted and dropped.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter as _, SpanProcessor};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::settings::Settings;

/// Pauses between tries.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// How long the last spans may take at the end.
const FAREWELL: Duration = Duration::from_secs(3);

/// Where spans go when they end.
#[derive(Debug)]
pub(super) struct Queue {
    sender: Sender<SpanData>,
    outbox: Arc<Outbox>,
}

/// What the queue and the task share.
#[derive(Debug)]
pub(super) struct Outbox {
    settings: Settings,
    /// Until the task takes it.
    receiver: Mutex<Option<Receiver<SpanData>>>,
    resource: OnceLock<Resource>,
    sent: AtomicU64,
    dropped: AtomicU64,
    failing: AtomicBool,
}

/// How the sending goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Spans that were sent.
    pub sent: u64,
    /// Spans that there was no room for.
    pub dropped: u64,
    /// The receiver does not take them.
    pub failing: bool,
}

/// The task that sends; it ends with the value.
#[derive(Debug)]
pub struct Exporting {
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Queue {
    pub(super) fn new(settings: Settings) -> (Queue, Arc<Outbox>) {
        let (sender, receiver) = mpsc::channel(settings.waiting);
        let outbox = Arc::new(Outbox {
            settings,
            receiver: Mutex::new(Some(receiver)),
            resource: OnceLock::new(),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        });
        let queue = Queue {
            sender,
            outbox: Arc::clone(&outbox),
        };
        (queue, outbox)
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.sender.try_send(span).is_err() {
            self.outbox.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    /// [`Exporting::stop`] is the end.
    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Once, when the provider is made.
        let _ = self.outbox.resource.set(resource.clone());
    }
}

impl Outbox {
    pub(super) fn state(&self) -> State {
        State {
            sent: self.sent.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            failing: self.failing.load(Ordering::Relaxed),
        }
    }

    /// Begins to send, by what the environment says. The first call does; spans are dropped when nothing can be sent.
    pub(super) fn start(self: &Arc<Self>) -> Option<Exporting> {
        let mut receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = receiver.take()?;
        // Both transports take the process's own; the one that is there stays, it is the same.
        let _there = rustls::crypto::ring::default_provider().install_default();
        let mut exporter = match SpanExporter::builder().build() {
            Ok(exporter) => exporter,
            Err(error) => {
                tracing::warn!(%error, "no traces: they cannot be sent as the environment asks");
                return None;
            }
        };
        if let Some(resource) = self.resource.get() {
            exporter.set_resource(resource);
        }
        let (stop, mut task) = (CancellationToken::new(), JoinSet::new());
        task.spawn(run(Arc::clone(self), queue, exporter, stop.clone()));
        tracing::info!("calls are traced");
        Some(Exporting { stop, task })
    }

    /// Takes what there is to send, once there is something. None at the end.
    async fn gather(
        &self,
        queue: &mut Receiver<SpanData>,
        stop: &CancellationToken,
    ) -> Option<Vec<SpanData>> {
        let first = stop.run_until_cancelled(queue.recv()).await??;
        let mut batch = vec![first];
        let until = Instant::now() + self.settings.delay;
        let rest = async {
            while batch.len() < self.settings.at_once {
                match timeout_at(until, queue.recv()).await {
                    Ok(Some(span)) => batch.push(span),
                    _ => break,
                }
            }
        };
        // Told to end, it sends what it has.
        stop.run_until_cancelled(rest).await;
        Some(batch)
    }

    async fn send(&self, exporter: &SpanExporter, batch: Vec<SpanData>) -> bool {
        let count = batch.len() as u64;
        let sent = exporter.export(batch).await;
        let failing = sent.is_err();
        match (self.failing.swap(failing, Ordering::Relaxed), sent) {
            (false, Err(error)) => {
                tracing::warn!(%error, "traces are not taken; they are sent again after ever longer pauses");
            }
            (true, Ok(())) => {
                let dropped = self.dropped.load(Ordering::Relaxed);
                tracing::info!(dropped, "traces are taken again");
            }
            _ => {}
        }
        if !failing {
            self.sent.fetch_add(count, Ordering::Relaxed);
        }
        !failing
    }
}

impl Exporting {
    /// Sends what is left, as far as that goes in a few seconds, and ends.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.task.join_next().await.is_some() {}
    }
}

async fn run(
    outbox: Arc<Outbox>,
    mut queue: Receiver<SpanData>,
    exporter: SpanExporter,
    stop: CancellationToken,
) {
    let mut unsent = vec![];
    while let Some(batch) = outbox.gather(&mut queue, &stop).await {
        let mut pause = SHORTEST;
        unsent = batch;
        while !stop.is_cancelled() {
            let trying = outbox.send(&exporter, unsent.clone());
            match stop.run_until_cancelled(trying).await {
                Some(true) => {
                    unsent.clear();
                    break;
                }
                Some(false) => {
                    // Cut short at the end.
                    let _ = stop.run_until_cancelled(sleep(pause)).await;
                    pause = (pause * 2).min(LONGEST);
                }
                None => {}
            }
        }
    }
    queue.close();
    while let Ok(span) = queue.try_recv() {
        unsent.push(span);
    }
    let farewell = async {
        while !unsent.is_empty() {
            let rest = unsent.split_off(outbox.settings.at_once.min(unsent.len()));
            if !outbox.send(&exporter, std::mem::replace(&mut unsent, rest)).await {
                break;
            }
        }
    };
    if timeout(FAREWELL, farewell).await.is_err() {
        tracing::warn!("the last traces are lost: they were not taken in time");
    }
}
