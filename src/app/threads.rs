//! The daemon's threads, and its heap: what a burst of work has needed of it is given back when the burst is over.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};

use crate::sys::heap;

/// Starts as many threads as there are processors. More come for work that blocks, and end when there was none for ten
/// seconds; the last of them gives the heap back.
pub(super) fn start() -> io::Result<Runtime> {
    heap::share();
    let workers = available_parallelism().map_or(1, NonZero::get);
    calm(&mut Builder::new_multi_thread(), workers, heap::trim)
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
}
