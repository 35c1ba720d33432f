//! Group commit: a single blocking task takes every write that waits, puts them in one transaction, syncs once, and
//! answers all. It ends when the last handle of the store is gone, after what was asked before is on disk.

use std::sync::Arc;

use redb::{Database, TableDefinition};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::StateError;
use crate::sys::{planted, step};

/// One change: a value to put, or none to remove the key.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) table: &'static str,
    pub(super) key: String,
    pub(super) value: Option<Vec<u8>>,
}

type Job = (Write, oneshot::Sender<Result<(), String>>);

/// How many writes may wait before callers do.
const QUEUE: usize = 1024;

/// The asking side.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    sender: mpsc::WeakSender<Job>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn new(database: Arc<Database>) -> Writer {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let task = tokio::task::spawn_blocking(move || run(&database, queue));
        Writer {
            sender: jobs.downgrade(),
            jobs: Mutex::new(Some(jobs)),
            task: Mutex::new(Some(task)),
        }
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
            .map_err(StateError::Write)
    }

    /// Takes no more writes and waits for those under way.
    pub(super) async fn close(&self) {
        drop(self.jobs.lock().await.take());
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the store's writer ended badly");
        }
    }
}

fn run(database: &Database, mut queue: mpsc::Receiver<Job>) {
    let mut batch = Vec::new();
    while queue.blocking_recv_many(&mut batch, QUEUE) > 0 {
        let writes = batch.iter().map(|(write, _)| write);
        let result = commit(database, writes).map_err(|error| error.to_string());
        for (_, answer) in batch.drain(..) {
            // The caller may have given up; the write stands.
            let _ = answer.send(result.clone());
        }
    }
}

fn commit<'a>(database: &Database, writes: impl Iterator<Item = &'a Write>) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    for write in writes {
        let mut table = transaction.open_table(TableDefinition::<&str, &[u8]>::new(write.table))?;
        match &write.value {
            Some(value) => table.insert(write.key.as_str(), value.as_slice())?,
            None => table.remove(write.key.as_str())?,
        };
    }
    step("state.commit");
    if planted("commit") {
        return Ok(());
    }
    transaction.commit()?;
    step("state.committed");
    Ok(())
}
