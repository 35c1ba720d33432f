//! Group commit: a single thread takes every write that waits, puts them in one transaction, syncs once, and
//! answers all. It ends when the last handle of the store is gone, after what was asked before is on disk.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::StateError;
use super::base::{Base, Outcome};

/// One change: a value to put, or none to remove the key.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) table: &'static str,
    pub(super) key: String,
    pub(super) value: Option<Vec<u8>>,
}

type Job = (Write, oneshot::Sender<Outcome>);

/// How many writes may wait before callers do.
const QUEUE: usize = 1024;
/// How often it is looked whether a store that could not be written can be.
const AGAIN: Duration = Duration::from_secs(2);

/// The asking side.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    sender: mpsc::WeakSender<Job>,
    thread: Mutex<Option<JoinHandle<()>>>,
    base: Arc<Base>,
}

impl Writer {
    pub(super) fn new(base: Arc<Base>) -> io::Result<Writer> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (own, runtime) = (Arc::clone(&base), Handle::current());
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || run(&own, &runtime, queue))?;
        Ok(Writer {
            sender: jobs.downgrade(),
            jobs: Mutex::new(Some(jobs)),
            thread: Mutex::new(Some(thread)),
            base,
        })
    }

    /// Hands a write over and waits until it is on disk.
    pub(super) async fn write(&self, write: Write) -> Result<(), StateError> {
        let sender = self.sender.upgrade().ok_or(StateError::Closed)?;
        let (answer, done) = oneshot::channel();
        sender
            .send((write, answer))
            .await
            .map_err(|_| StateError::Closed)?;
        drop(sender);
        done.await
            .map_err(|_| StateError::Closed)?
            .map_err(|trouble| StateError::Write {
                path: self.base.path().to_owned(),
                trouble,
            })
    }

    /// Takes no more writes and waits for those under way.
    pub(super) async fn close(&self) {
        drop(self.jobs.lock().await.take());
        if let Some(thread) = self.thread.lock().await.take()
            && !matches!(tokio::task::spawn_blocking(|| thread.join()).await, Ok(Ok(())))
        {
            tracing::error!("the store's writer ended badly");
        }
    }
}

fn run(base: &Base, runtime: &Handle, mut queue: mpsc::Receiver<Job>) {
    let mut batch = Vec::new();
    loop {
        // Not within the match, which would hold on to what is told meanwhile.
        let troubled = base.trouble().borrow().is_some();
        let received = match troubled {
            false => queue.blocking_recv_many(&mut batch, QUEUE),
            // Nobody tells when there is room again.
            true => {
                let next = queue.recv_many(&mut batch, QUEUE);
                let Ok(received) = runtime.block_on(async { tokio::time::timeout(AGAIN, next).await }) else {
                    let _ = base.try_again();
                    continue;
                };
                received
            }
        };
        if received == 0 {
            return;
        }
        let writes: Vec<&Write> = batch.iter().map(|(write, _)| write).collect();
        let outcomes = base.commit(&writes);
        for ((_, answer), outcome) in batch.drain(..).zip(outcomes) {
            // The caller may have given up; the write stands.
            let _ = answer.send(outcome);
        }
    }
}
