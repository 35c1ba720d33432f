//! GetContainerEvents: what happens to sandboxes and containers, each event with the state of the whole pod at that
//! moment.
//!
//! Events are made where they happen, under the lock that orders them (the model's for containers), and put into one
//! ring of [`QUEUE`] places. That never waits: a subscriber who reads too slowly finds that the ring has overtaken it,
//! and its stream ends with DATA_LOSS, so that it lists everything anew. While nobody listens nothing is made, but for
//! the first [`HELD`] events of a daemon's life: the first subscriber gets them, and so learns of what ended while no
//! daemon ran.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{Stream, StreamExt, stream};
use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::cri::convert;
use crate::cri::sandbox::{Record, Registry, TAG};
use crate::cri::wire::v1::{self, ContainerEventType as Kind};
use crate::model::{Change, ContainerFilter, ContainerStatus, Observer, Transition};
use crate::telemetry;

/// Events that a subscriber may be behind by.
const QUEUE: usize = 1024;
/// Events that are kept until somebody listens for the first time.
const HELD: usize = 256;

type Event = Arc<v1::ContainerEventResponse>;

/// Where events are made, and from where subscribers get them.
#[derive(Debug)]
pub(super) struct Hub {
    sandboxes: Arc<Registry>,
    ring: Sender<Event>,
    /// `None` once somebody has listened, or when there was too much to keep.
    held: Mutex<Option<Vec<Event>>>,
    ending: CancellationToken,
}

impl Hub {
    /// A hub that tells of these sandboxes and the containers in them.
    pub(super) fn new(sandboxes: Arc<Registry>) -> Hub {
        Hub {
            sandboxes,
            ring: Sender::new(QUEUE),
            held: Mutex::new(Some(vec![])),
            ending: CancellationToken::new(),
        }
    }

    /// Events from now on. The stream ends with DATA_LOSS when its reader was too slow, in good order when the daemon
    /// ends, and never by itself.
    pub(super) fn subscribe(
        &self,
    ) -> impl Stream<Item = Result<v1::ContainerEventResponse, Status>> + Send + use<> {
        let (receiver, held) = {
            let mut held = self.held();
            (self.ring.subscribe(), held.take().unwrap_or_default())
        };
        let held = stream::iter(held.into_iter().map(|event| Ok(Arc::unwrap_or_clone(event))));
        let live = Subscription {
            receiver,
            ending: self.ending.clone(),
        };
        held.chain(stream::unfold(Some(live), Subscription::next))
    }

    /// Ends every stream.
    pub(super) fn end(&self) {
        self.ending.cancel();
    }

    /// Whether an event that is told now may be heard by anybody.
    pub(super) fn is_heard(&self) -> bool {
        self.held().is_some() || self.ring.receiver_count() > 0
    }

    /// Tells of a sandbox. `statuses` are those of its containers; no container changes meanwhile.
    pub(super) fn tell(&self, record: &Record, kind: Kind, at: i64, statuses: Vec<ContainerStatus>) {
        self.publish(|| event(&record.id, kind, at, record, statuses));
    }

    fn publish(&self, make: impl FnOnce() -> v1::ContainerEventResponse) {
        let mut held = self.held();
        if held.is_none() && self.ring.receiver_count() == 0 {
            return;
        }
        let event = Arc::new(make());
        match held.as_mut() {
            Some(events) if events.len() < HELD => events.push(event),
            Some(events) => {
                telemetry::events_dropped(events.len() as u64 + 1);
                *held = None;
            }
            // An error says that the last subscriber has just gone.
            None => drop(self.ring.send(event)),
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Vec<Event>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One subscriber's place in the ring.
struct Subscription {
    receiver: Receiver<Event>,
    ending: CancellationToken,
}

impl Subscription {
    /// The next event, or the end: what is in the ring is told before the daemon's end.
    async fn next(this: Option<Self>) -> Option<(Result<v1::ContainerEventResponse, Status>, Option<Self>)> {
        let mut this = this?;
        let received = tokio::select! {
            biased;
            received = this.receiver.recv() => received,
            () = this.ending.cancelled() => return None,
        };
        match received {
            Ok(event) => Some((Ok(Arc::unwrap_or_clone(event)), Some(this))),
            Err(RecvError::Lagged(lost)) => {
                telemetry::events_dropped(lost);
                let text = format!("{lost} events were read too late and lost; list everything anew");
                Some((Err(Status::data_loss(text)), None))
            }
            Err(RecvError::Closed) => None,
        }
    }
}

impl Observer for Hub {
    fn observe(&self, transition: Transition, statuses: &dyn Fn(&ContainerFilter) -> Vec<ContainerStatus>) {
        // A container without a sandbox, or of one that is not known, is not the adapter's to tell of.
        let Some(id) = transition.tags.get(TAG) else {
            return;
        };
        let Ok(Some(sandbox)) = self.sandboxes.find(id) else {
            return;
        };
        let filter = ContainerFilter {
            tag_selector: [(TAG.to_owned(), id.clone())].into(),
            ..ContainerFilter::default()
        };
        let kind = match transition.change {
            Change::Created => Kind::ContainerCreatedEvent,
            Change::Started => Kind::ContainerStartedEvent,
            Change::Stopped => Kind::ContainerStoppedEvent,
            Change::Deleted => Kind::ContainerDeletedEvent,
        };
        self.publish(|| {
            event(
                &transition.id,
                kind,
                transition.at,
                &sandbox.record,
                statuses(&filter),
            )
        });
    }
}

fn event(
    id: &str,
    kind: Kind,
    at: i64,
    sandbox: &Record,
    statuses: Vec<ContainerStatus>,
) -> v1::ContainerEventResponse {
    v1::ContainerEventResponse {
        container_id: id.to_owned(),
        container_event_type: kind.into(),
        created_at: at,
        pod_sandbox_status: Some(convert::sandbox_status(sandbox)),
        containers_statuses: statuses.into_iter().map(convert::container_status).collect(),
    }
}
