//! A pull as a stream: progress, as often as a person can read it, then the image.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;

use super::wire::{self, pull_image_response::Answer};
use crate::cri::status::refuse;
use crate::image::{ImageRecord, Images, PullProgress};
use crate::model::Result;

/// The shortest time between two messages of progress.
const INTERVAL: Duration = Duration::from_millis(100);

/// A pull under way.
struct Pull {
    image: BoxFuture<'static, Result<Arc<ImageRecord>>>,
    progress: watch::Receiver<PullProgress>,
    /// Not before then is progress told again.
    next: Instant,
}

/// Pulls `name`. Dropping the stream gives the pull up, as dropping [`Images::pull_with_progress`] does.
pub(super) fn pull(
    images: Images,
    name: String,
) -> impl Stream<Item = std::result::Result<wire::PullImageResponse, Status>> + Send {
    let (sender, progress) = watch::channel(PullProgress::default());
    let pull = Pull {
        image: Box::pin(async move { images.pull_with_progress(&name, None, sender).await }),
        progress,
        next: Instant::now(),
    };
    stream::unfold(Some(pull), |pull| async move {
        let mut pull = pull?;
        match pull.step().await {
            Ok(answer @ Answer::Progress(_)) => Some((respond(answer), Some(pull))),
            Ok(answer @ Answer::Image(_)) => Some((respond(answer), None)),
            Err(status) => Some((Err(status), None)),
        }
    })
}

fn respond(answer: Answer) -> std::result::Result<wire::PullImageResponse, Status> {
    Ok(wire::PullImageResponse { answer: Some(answer) })
}

impl Pull {
    async fn step(&mut self) -> std::result::Result<Answer, Status> {
        tokio::select! {
            // The end first: progress after it would be noise.
            biased;
            image = &mut self.image => Ok(Answer::Image(image.map_err(refuse)?.as_ref().into())),
            () = news(&mut self.progress, self.next) => {
                self.next = Instant::now() + INTERVAL;
                let now = self.progress.borrow_and_update();
                Ok(Answer::Progress(wire::Progress { layers: now.layers.iter().map(layer).collect() }))
            }
        }
    }
}

/// Returns when it is time to tell something, and there is something new.
async fn news(progress: &mut watch::Receiver<PullProgress>, next: Instant) {
    tokio::time::sleep_until(next).await;
    if progress.changed().await.is_err() {
        // The sender has gone, so the pull is about to end.
        std::future::pending::<()>().await;
    }
}

fn layer(layer: &crate::image::LayerProgress) -> wire::Layer {
    wire::Layer {
        digest: layer.digest.clone(),
        total: layer.total,
        received: layer.received,
        done: layer.done,
    }
}
