//! Collecting: has the network let go of what no sandbox holds, where it can. Once at the start, and later only when there
//! is a reason: something could not be detached.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::model;

use super::{Network, Pinner, Shared};

/// The least time between two collections.
const PERIOD: Duration = Duration::from_secs(600);
/// The pause before one that failed is tried again: the first, doubled each time up to the period.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// Collects until told to stop: at once, and after that whenever it is `wanted`.
pub(super) async fn keep<R, P, N>(shared: Arc<Shared<R, P, N>>, wanted: Arc<Notify>, stop: CancellationToken)
where
    R: model::RuntimeService,
    P: Pinner,
    N: Network,
{
    let mut pause = FIRST_PAUSE;
    loop {
        let collected = tokio::select! {
            () = stop.cancelled() => return,
            collected = shared.network.collect(|| shared.attached()) => collected,
        };
        shared.debts.collected(collected.is_ok());
        let rest = async {
            match &collected {
                Ok(()) => {
                    tokio::time::sleep(PERIOD).await;
                    wanted.notified().await;
                }
                Err(_) => tokio::time::sleep(pause).await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = rest => {}
        }
        pause = match collected {
            Ok(()) => FIRST_PAUSE,
            Err(error) => {
                tracing::warn!(%error, "network plugins could not be asked to clean up");
                (pause * 2).min(PERIOD)
            }
        };
    }
}
