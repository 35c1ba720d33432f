//! One SEQPACKET connection: requests out, answers sorted to their callers, events into watches.

use crate::monitor::client::MonitorError;
use crate::monitor::protocol::{
    Answer, Call, Event, ExitRecord, Failure, FailureKind, Message, Phase, Request,
};
use crate::sys::message;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

/// An answer and the descriptors that came with it.
pub(super) type Reply = (Answer, Vec<OwnedFd>);
type Waiting = HashMap<u64, mpsc::UnboundedSender<Reply>>;

#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    next: AtomicU64,
    /// Commands that nobody waits for any more.
    forsaken: mpsc::UnboundedSender<Request>,
    /// The task that reads, and takes back what is forsaken; aborted on drop.
    task: AbortHandle,
    exited: watch::Receiver<Option<ExitRecord>>,
    oom_kills: watch::Receiver<u64>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    /// A stream by type only: messages keep their bounds, because they are sent and received by `sys::message`.
    socket: UnixStream,
    /// `None` once the connection has ended. Held for a map operation only, never across an await.
    waiting: Mutex<Option<Waiting>>,
}

/// What the reading task tells the world.
struct Watches {
    exited: watch::Sender<Option<ExitRecord>>,
    oom_kills: watch::Sender<u64>,
}

/// The answers to one call, in order; forgets the call when dropped.
#[derive(Debug)]
pub(super) struct Answers {
    shared: Arc<Shared>,
    id: u64,
    replies: mpsc::UnboundedReceiver<Reply>,
}

impl Connection {
    pub(super) fn open(dir: &Path, socket: OwnedFd) -> Result<Arc<Connection>, MonitorError> {
        rustix::io::ioctl_fionbio(&socket, true).map_err(io::Error::from)?;
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            socket: UnixStream::from_std(std::os::unix::net::UnixStream::from(socket))?,
            waiting: Mutex::new(Some(Waiting::new())),
        });
        let (exited_in, exited) = watch::channel(None);
        let (oom_in, oom_kills) = watch::channel(0);
        let (forsaken, queue) = mpsc::unbounded_channel();
        let watches = Watches {
            exited: exited_in,
            oom_kills: oom_in,
        };
        // Owned by the connection: aborted when it is dropped, over when the monitor closes.
        #[allow(clippy::disallowed_methods)]
        let task = tokio::task::spawn(serve(shared.clone(), watches, queue));
        Ok(Arc::new(Connection {
            shared,
            next: AtomicU64::new(1),
            forsaken,
            task: task.abort_handle(),
            exited,
            oom_kills,
        }))
    }

    /// Sends a call and returns its first answer; a failure is an error.
    pub(super) async fn call(&self, call: Call, fds: Vec<OwnedFd>) -> Result<Reply, MonitorError> {
        self.begin(call, fds).await?.next().await
    }

    /// Sends a call whose answers are read one by one.
    pub(super) async fn begin(&self, call: Call, fds: Vec<OwnedFd>) -> Result<Answers, MonitorError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, replies) = mpsc::unbounded_channel();
        self.shared.register(id, sender)?;
        let answers = Answers {
            shared: self.shared.clone(),
            id,
            replies,
        };
        self.shared.send(&Request { id, call }, fds).await?;
        Ok(answers)
    }

    /// Takes back a command of which nobody waits for the end: it does not begin, or is killed. Waits for nothing.
    pub(super) fn forsake(&self, exec: u64) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let call = Call::KillExec { exec };
        // It fails when the connection has ended, and then the monitor knows.
        let _ = self.forsaken.send(Request { id, call });
    }

    /// The error of a call that got no answer in time.
    pub(super) fn silent(&self) -> MonitorError {
        MonitorError::Silent(self.shared.dir.clone())
    }

    pub(super) fn exited(&self) -> watch::Receiver<Option<ExitRecord>> {
        self.exited.clone()
    }

    pub(super) fn oom_kills(&self) -> watch::Receiver<u64> {
        self.oom_kills.clone()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Answers {
    /// The id that other calls name this one by.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Waits for the next answer. Cancel safety: nothing is lost, the answer stays queued.
    pub(super) async fn next(&mut self) -> Result<Reply, MonitorError> {
        match self.replies.recv().await {
            Some((Answer::Failed(failure), _)) => Err(failure.into()),
            Some(reply) => Ok(reply),
            None => Err(self.shared.gone()),
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.shared.with_waiting(|w| w.remove(&self.id));
    }
}

impl Shared {
    fn register(&self, id: u64, sender: mpsc::UnboundedSender<Reply>) -> Result<(), MonitorError> {
        self.with_waiting(|w| w.insert(id, sender))
            .map(drop)
            .ok_or_else(|| self.gone())
    }

    fn with_waiting<T>(&self, f: impl FnOnce(&mut Waiting) -> T) -> Option<T> {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .map(f)
    }

    fn gone(&self) -> MonitorError {
        MonitorError::Gone(self.dir.clone())
    }

    /// Sends a request whole, or not at all.
    async fn send(&self, request: &Request, fds: Vec<OwnedFd>) -> Result<(), MonitorError> {
        let packet = message::Packet::new(request, fds)?;
        let send = || packet.send(self.socket.as_fd());
        match self.socket.async_io(Interest::WRITABLE, send).await {
            // Reset: it has died before it took the connection.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                Err(self.gone())
            }
            sent => Ok(sent?),
        }
    }

    async fn receive(&self) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        let receive = || message::receive_text(self.socket.as_fd());
        let Some((text, fds)) = self.socket.async_io(Interest::READABLE, receive).await? else {
            return Ok(None);
        };
        let message = message::decode::<Message>(&text).or_else(|e| unknown_answer(&text).ok_or(e))?;
        Ok(Some((message, fds)))
    }
}

/// An answer that a newer monitor gives and this build does not know: a failure of the call that waits for it.
fn unknown_answer(text: &[u8]) -> Option<Message> {
    #[derive(serde::Deserialize)]
    struct Unknown {
        answer: Numbered,
    }
    #[derive(serde::Deserialize)]
    struct Numbered {
        id: u64,
    }
    let Unknown {
        answer: Numbered { id },
    } = message::decode(text).ok()?;
    let failure = Failure {
        kind: FailureKind::Unsupported,
        text: "the monitor answered with what this daemon does not know".to_owned(),
        shortage: false,
    };
    Some(Message::Answer {
        id,
        answer: Answer::Failed(failure),
    })
}

/// Serves a connection to its end.
async fn serve(shared: Arc<Shared>, watches: Watches, mut forsaken: mpsc::UnboundedReceiver<Request>) {
    let taking_back = async {
        while let Some(request) = forsaken.recv().await {
            // The end of the connection, which the reading finds too, takes back as well.
            let _ = shared.send(&request, vec![]).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = read_all(shared.clone(), watches) => {}
        () = taking_back => {}
    }
}

async fn read_all(shared: Arc<Shared>, watches: Watches) {
    loop {
        match shared.receive().await {
            Ok(Some((message, fds))) => deliver(&shared, &watches, message, fds),
            Ok(None) => break,
            // A newer monitor's message that this build cannot read concerns nobody here.
            Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!(dir = %shared.dir.display(), error = %e, "unreadable message from a monitor");
            }
            Err(_) => break,
        }
    }
    // Dropping the senders tells every open call.
    *shared.waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

fn deliver(shared: &Shared, watches: &Watches, message: Message, fds: Vec<OwnedFd>) {
    match message {
        Message::Answer { id, answer } => {
            if let Answer::State(state) = &answer
                && state.phase == Phase::Exited
            {
                watches
                    .exited
                    .send_if_modified(|now| set_once(now, state.exit.clone()));
            }
            shared.with_waiting(|w| w.get(&id).map(|sender| sender.send((answer, fds))));
        }
        Message::Event(Event::Exited(record)) => {
            watches.exited.send_if_modified(|now| set_once(now, Some(record)));
        }
        Message::Event(Event::OomKilled) => watches.oom_kills.send_modify(|n| *n += 1),
        Message::Event(Event::LogBroken { error }) => {
            tracing::error!(dir = %shared.dir.display(), error, "output cannot be logged and is dropped; the container goes on");
        }
        Message::Event(Event::LogMended { lines, bytes }) => {
            tracing::warn!(dir = %shared.dir.display(), lines, bytes, "output is logged again; some was dropped");
        }
    }
}

fn set_once(now: &mut Option<ExitRecord>, record: Option<ExitRecord>) -> bool {
    let change = now.is_none() && record.is_some();
    if change {
        *now = record;
    }
    change
}
