//! The daemon's threads, and its heap: what a burst of work has needed of it is given back when the burst is over.

use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::sys::heap;

/// How long a worker that is there for all waits for the others. One may be at work.
const PATIENCE: Duration = Duration::from_millis(100);

/// Starts as many threads as there are processors. More come for work that blocks, and end when there was none for ten
/// seconds; after the last of them the heap is given back.
pub(super) fn start() -> io::Result<Runtime> {
    heap::share();
    let workers = available_parallelism().map_or(1, NonZero::get);
    let rest = move || on_each(workers, PATIENCE, heap::renew, heap::trim);
    calm(&mut Builder::new_multi_thread(), workers, rest)
        .enable_all()
        .build()
}

/// Has `rest` called whenever the last thread has ended that is not one of the `workers`.
fn calm(builder: &mut Builder, workers: usize, rest: impl Fn() + Send + Sync + 'static) -> &mut Builder {
    let begun = Arc::new(AtomicUsize::new(0));
    let ended = Arc::clone(&begun);
    builder
        .worker_threads(workers)
        .on_thread_start(move || {
            begun.fetch_add(1, Ordering::Relaxed);
        })
        .on_thread_stop(move || {
            if ended.fetch_sub(1, Ordering::Relaxed) == workers + 1 {
                rest();
            }
        })
}

/// Has each of the workers `act`, and the last of them do `then` as well. They wait for each other, so that none is there twice.
fn on_each(
    workers: usize,
    patience: Duration,
    act: impl Fn() + Send + Sync + 'static,
    then: impl Fn() + Send + Sync + 'static,
) {
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    let all = Arc::new((Mutex::new(0), Condvar::new(), act, then));
    for _ in 0..workers {
        let all = Arc::clone(&all);
        runtime.spawn(async move {
            let (count, come, act, then) = &*all;
            act();
            let mut there = count.lock().unwrap_or_else(PoisonError::into_inner);
            *there += 1;
            if *there == workers {
                come.notify_all();
                then();
            } else {
                drop(come.wait_timeout_while(there, patience, |there| *there < workers));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn there_is_a_rest_after_the_last_of_many_threads_and_not_before() {
        let (sender, rests) = channel();
        let rest = move || sender.send(()).unwrap();
        let runtime = calm(&mut Builder::new_multi_thread(), 2, rest)
            .thread_keep_alive(Duration::from_millis(20))
            .enable_all()
            .build()
            .unwrap();
        let up = Arc::new(Barrier::new(3));
        for _ in 0..2 {
            let up = Arc::clone(&up);
            runtime.spawn(async move { up.wait() });
        }
        up.wait();
        let all = Arc::new(Barrier::new(9));
        for _ in 0..8 {
            let all = Arc::clone(&all);
            runtime.spawn_blocking(move || all.wait());
        }
        let before = rests.try_recv().is_ok();

        all.wait();

        rests.recv().unwrap();
        drop(runtime);
        assert_eq!((before, rests.iter().count()), (false, 0));
    }

    #[test]
    fn each_worker_has_its_turn_and_the_last_one_more() {
        let (turn, turns) = channel();
        let last = turn.clone();
        let runtime = Builder::new_multi_thread().worker_threads(3).build().unwrap();
        let entered = runtime.enter();

        on_each(
            3,
            Duration::MAX,
            move || turn.send(Some(std::thread::current().id())).unwrap(),
            move || last.send(None).unwrap(),
        );

        let mut all: Vec<_> = turns.iter().take(4).collect();
        assert_eq!(all.pop(), Some(None));
        let workers: std::collections::HashSet<_> = all.into_iter().flatten().collect();
        assert_eq!(workers.len(), 3);
        drop(entered);
    }
}
