//! Work in flight, by the identity of what it makes: a repeated request joins the work its first one began.
//!
//! The work runs in a task of its own, which the runtime owns, so that it outlives a caller that gave up: the caller's
//! retry, with the same identity, gets the result. What the work has *finished* is not remembered here; it looks for
//! that itself before it begins.

use std::collections::HashMap;
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::model::{Error, Result};
use crate::sys::planted;

/// A result that several callers receive.
type Outcome<T> = std::result::Result<T, Arc<Error>>;
type Answer<T> = Shared<BoxFuture<'static, Outcome<T>>>;
type Table<K, T> = Arc<Mutex<HashMap<K, Answer<T>>>>;

/// The work under way for each key.
#[derive(Clone)]
pub(super) struct Flights<K, T: Clone> {
    table: Table<K, T>,
    tasks: TaskTracker,
}

impl<K, T> Flights<K, T>
where
    K: Clone + Eq + Hash + Debug + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Makes an empty table whose work runs in `tasks`.
    pub(super) fn new(tasks: TaskTracker) -> Self {
        Flights {
            table: Arc::default(),
            tasks,
        }
    }

    /// How much work is under way.
    pub(super) fn len(&self) -> usize {
        self.table.lock().expect("no panic happens under this lock").len()
    }

    /// Waits for the work under way for `key`, which is begun with `work` when there is none.
    ///
    /// Cancel safety: the work goes on; who asks again joins it.
    pub(super) async fn join<F>(&self, key: K, work: impl FnOnce() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let answer = {
            let mut table = self.table.lock().expect("no panic happens under this lock");
            match table.get(&key) {
                Some(answer) if !planted("repeat") => {
                    tracing::debug!(?key, "joins the work under way");
                    answer.clone()
                }
                _ => self.begin(&mut table, key, work()),
            }
        };
        answer
            .await
            .map_err(|error| Error::new(error.kind(), error.to_string()))
    }

    fn begin<F>(&self, table: &mut HashMap<K, Answer<T>>, key: K, work: F) -> Answer<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (done, outcome) = oneshot::channel::<Outcome<T>>();
        let lost = |_| Err(Arc::new(Error::internal("the work ended without a result")));
        let answer = outcome
            .map(move |outcome| outcome.unwrap_or_else(lost))
            .boxed()
            .shared();
        table.insert(key.clone(), answer.clone());
        let entry = Entry {
            table: Arc::clone(&self.table),
            key,
        };
        let task = async move {
            let outcome = work.await.map_err(Arc::new);
            // Off the table first: whoever asks from now on finds what the work has left.
            drop(entry);
            // Nobody may be waiting any more.
            let _ = done.send(outcome);
        };
        self.tasks.spawn(task.in_current_span());
        answer
    }
}

impl<K, T: Clone> Debug for Flights<K, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flights").finish_non_exhaustive()
    }
}

/// Takes its key off the table, also when the work panics.
struct Entry<K: Eq + Hash, T: Clone> {
    table: Table<K, T>,
    key: K,
}

impl<K: Eq + Hash, T: Clone> Drop for Entry<K, T> {
    fn drop(&mut self) {
        if let Ok(mut table) = self.table.lock() {
            table.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_repeat_joins_and_a_cancelled_caller_stops_nothing() {
        let flights = Flights::<&str, u32>::new(TaskTracker::new());
        let (begun, go) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
        let work = || {
            let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
            move || async move {
                begun.fetch_add(1, Ordering::SeqCst);
                go.acquire().await.unwrap().forget();
                Ok(7)
            }
        };
        let mut first = Box::pin(flights.join("a", work()));
        assert!(futures_util::poll!(&mut first).is_pending());
        drop(first);
        let mut second = Box::pin(flights.join("a", work()));
        assert!(futures_util::poll!(&mut second).is_pending());

        go.add_permits(2);

        assert_eq!(second.await.unwrap(), 7);
        assert_eq!(begun.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn work_that_failed_is_begun_anew() {
        let flights = Flights::<&str, u32>::new(TaskTracker::new());

        let first = flights
            .join("a", || async { Err(Error::invalid("name is empty")) })
            .await;
        let second = flights.join("a", || async { Ok(1) }).await;

        assert_eq!(first.unwrap_err().to_string(), "name is empty");
        assert_eq!(second.unwrap(), 1);
    }

    #[tokio::test]
    async fn work_that_panics_answers_and_frees_its_key() {
        let flights = Flights::<&str, u32>::new(TaskTracker::new());

        let first = flights.join("a", || async { panic!("a broken invariant") }).await;
        let second = flights.join("a", || async { Ok(1) }).await;

        assert!(first.is_err());
        assert_eq!(second.unwrap(), 1);
    }
}
