//! Pulls that are under way. Callers who ask for the same, with the same rights, share one; each may leave; one that all
//! have left goes on for a while, since a caller whose time is up usually comes back, and then ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::model::{Error, Kind, Result};

use super::digest::Digest;
use super::error::ImageError;
use super::layers::lock;
use super::{ImageRecord, PullProgress};

/// What makes two pulls the same: the name, and who asks.
pub(super) type FlightKey = (String, Digest);

type Outcome = Option<std::result::Result<Arc<ImageRecord>, Failure>>;

/// The end of a pull that failed, for each of its callers.
#[derive(Clone, Debug)]
struct Failure {
    kind: Kind,
    text: String,
}

/// All flights.
#[derive(Clone, Debug)]
pub(super) struct Flights {
    under_way: Arc<Mutex<HashMap<FlightKey, Flight>>>,
    tasks: TaskTracker,
    grace: Duration,
    closing: CancellationToken,
}

#[derive(Clone, Debug)]
struct Flight {
    outcome: watch::Receiver<Outcome>,
    progress: watch::Receiver<PullProgress>,
    /// As many receivers as callers, and this one.
    callers: Arc<watch::Sender<usize>>,
}

/// A caller of a flight, until it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    flight: Flight,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.flight.callers.send_modify(|callers| *callers -= 1);
    }
}

impl Ticket {
    fn take(flight: &Flight) -> Ticket {
        flight.callers.send_modify(|callers| *callers += 1);
        Ticket {
            flight: flight.clone(),
        }
    }

    /// How far it is.
    pub(super) fn progress(&self) -> watch::Receiver<PullProgress> {
        self.flight.progress.clone()
    }

    /// Waits for the end.
    pub(super) async fn outcome(&self) -> Result<Arc<ImageRecord>> {
        let mut outcome = self.flight.outcome.clone();
        let ended = outcome.wait_for(Option::is_some).await;
        match ended.ok().and_then(|o| o.clone()) {
            Some(Ok(image)) => Ok(image),
            Some(Err(failure)) => Err(Error::new(failure.kind, failure.text)),
            None => Err(ImageError::Abandoned.into()),
        }
    }
}

impl Flights {
    pub(super) fn new(tasks: TaskTracker, grace: Duration) -> Flights {
        Flights {
            under_way: Arc::default(),
            tasks,
            grace,
            closing: CancellationToken::new(),
        }
    }

    /// Ends all flights; later ones end at once.
    pub(super) fn close(&self) {
        self.closing.cancel();
    }

    /// Joins the flight of a key, or starts it.
    pub(super) fn join<F>(
        &self,
        key: FlightKey,
        pull: impl FnOnce(watch::Sender<PullProgress>) -> F,
    ) -> Ticket
    where
        F: Future<Output = std::result::Result<Arc<ImageRecord>, ImageError>> + Send + 'static,
    {
        let mut under_way = lock(&self.under_way);
        if let Some(flight) = under_way.get(&key) {
            return Ticket::take(flight);
        }
        let (outcome, outcome_receiver) = watch::channel(None);
        let (progress, progress_receiver) = watch::channel(PullProgress::default());
        let flight = Flight {
            outcome: outcome_receiver,
            progress: progress_receiver,
            callers: Arc::new(watch::channel(0).0),
        };
        let ticket = Ticket::take(&flight);
        under_way.insert(key.clone(), flight.clone());
        drop(under_way);
        let (flights, pull) = (self.clone(), pull(progress));
        self.tasks
            .spawn(async move { flights.fly(key, &flight, pull, &outcome).await }.in_current_span());
        ticket
    }

    async fn fly(
        &self,
        key: FlightKey,
        flight: &Flight,
        pull: impl Future<Output = std::result::Result<Arc<ImageRecord>, ImageError>>,
        outcome: &watch::Sender<Outcome>,
    ) {
        let result = tokio::select! {
            result = pull => {
                lock(&self.under_way).remove(&key);
                result
            }
            () = self.abandoned(&key, flight) => Err(ImageError::Abandoned),
            () = self.closing.cancelled() => Err(ImageError::Abandoned),
        };
        let result = result.map_err(|error| {
            let kind = error.kind();
            let text = Error::from(error)
                .within(format!("cannot pull {}", key.0))
                .to_string();
            Failure { kind, text }
        });
        outcome.send_replace(Some(result));
    }

    /// Returns when nobody has waited for the grace time; nobody can join any more then.
    async fn abandoned(&self, key: &FlightKey, flight: &Flight) {
        let mut callers = flight.callers.subscribe();
        loop {
            // The flight itself holds the sender.
            let _ = callers.wait_for(|count| *count == 0).await;
            let returned = tokio::time::timeout(self.grace, callers.wait_for(|count| *count > 0)).await;
            if returned.is_ok() {
                continue;
            }
            let mut under_way = lock(&self.under_way);
            if *flight.callers.borrow() == 0 {
                under_way.remove(key);
                return;
            }
        }
    }
}
