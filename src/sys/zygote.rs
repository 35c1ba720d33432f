//! The client of the zygote: the process that exists to be forked.
//!
//! The daemon has threads, so it cannot fork safely; the zygote has one thread, few pages and few mounts, so its forks
//! are cheap and safe. It is this executable, run so that nobody can write to it. What it does with a request is
//! `monitor::zygote`'s business; this is the asking side, used by the engine and by the adapter.
//!
//! A zygote that has died is replaced by the next request. What it forked before does not notice.

mod running;

use crate::sys::{image, message, pidfd, pipe, socket};
use running::Running;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use thiserror::Error;

/// So often a request is made again of a new zygote: the one that is there may be dead already, and the next may die.
const TRIES: u32 = 2;

/// The argument that makes `main` call `monitor::zygote::zygote_main`.
pub const ARGUMENT: &str = "zygote";

/// How the zygote is set up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ZygoteOptions {
    /// Arguments of the executable that lead to the zygote's main function.
    pub arguments: Vec<String>,
    /// Paths that must stay visible to create workers, such as the state directories: the mounts that hold them are
    /// kept, every other one (but `/`, `/proc`, `/dev`, `/sys` and cgroups) is detached.
    pub keep: Vec<PathBuf>,
    /// Cgroup for the zygote and so for every monitor, as a path inside the hierarchies; made when missing. `None`: the
    /// daemon's own.
    pub cgroup: Option<String>,
}

impl Default for ZygoteOptions {
    fn default() -> Self {
        ZygoteOptions {
            arguments: vec![ARGUMENT.into()],
            keep: vec![],
            cgroup: None,
        }
    }
}

/// What the zygote can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ZygoteRequest {
    /// First of all: how to set itself up.
    Setup(ZygoteOptions),
    /// Fork a monitor for this directory. One descriptor: its first connection.
    Monitor {
        /// The container's directory.
        dir: PathBuf,
    },
    /// Make and pin namespaces.
    Pin(PinRequest),
    /// Make a PID namespace with a reaper as its first process, and pin it.
    Reaper(ReaperRequest),
    /// Fork a process that waits until nobody holds the other end of its one descriptor, a pipe.
    Placeholder,
}

/// The zygote's answer to every request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ZygoteAnswer {
    /// The forked process, if the request made one.
    pub pid: i32,
    /// Its start time, see `proc::start_time`.
    pub start_time: u64,
    /// Why it failed.
    pub error: Option<String>,
    /// The kernel's number of that error, if it is just that.
    pub errno: Option<i32>,
}

impl ZygoteAnswer {
    /// Says that a request failed.
    pub fn failed(error: &io::Error) -> ZygoteAnswer {
        ZygoteAnswer {
            error: Some(error.to_string()),
            errno: error.raw_os_error(),
            ..ZygoteAnswer::default()
        }
    }
}

/// New namespaces, kept alive by nothing but bind mounts. A kind whose path is `None` is not made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PinRequest {
    /// Where to pin the network namespace; its loopback is up.
    pub net: Option<PathBuf>,
    /// Where to pin the IPC namespace.
    pub ipc: Option<PathBuf>,
    /// Where to pin the UTS namespace.
    pub uts: Option<PathBuf>,
    /// A user namespace, which then owns the others.
    pub user: Option<UserPin>,
    /// Host name in the new UTS namespace.
    pub hostname: Option<String>,
    /// Kernel settings inside the new namespaces, name and value.
    pub sysctls: Vec<(String, String)>,
}

/// A user namespace to make.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UserPin {
    /// Where to pin it.
    pub path: PathBuf,
    /// User ids.
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids.
    pub gid_mappings: Vec<IdMapping>,
}

/// A range of ids, user_namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    /// First id inside.
    pub inside: u32,
    /// First id on the host.
    pub outside: u32,
    /// Length of the range.
    pub size: u32,
}

/// A PID namespace of its own, with a process that reaps its orphans.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReaperRequest {
    /// Where to pin the PID namespace.
    pub path: PathBuf,
    /// Where to note the reaper, as JSON, before it is there for good.
    pub note: PathBuf,
    /// User namespace that owns it, if not the host's.
    pub user: Option<PathBuf>,
    /// SELinux label of its root directory.
    pub label: Option<String>,
}

/// A running reaper. Its end ends every process of the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaper {
    /// Process id on the host.
    pub pid: i32,
    /// Its start time: a number reused by another process is told apart.
    pub start_time: u64,
}

impl Reaper {
    /// Reads a note; `None` without one, or when it is none.
    ///
    /// # Errors
    /// It cannot be read: there may be a reaper.
    pub fn noted(path: &Path) -> io::Result<Option<Reaper>> {
        match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => Ok(serde_json::from_slice(&read?).ok()),
        }
    }

    /// Kills the reaper, and with it what is left in the namespace. Doing so twice succeeds.
    pub fn stop(&self) -> io::Result<()> {
        pidfd::kill_exact(self.pid, self.start_time)
    }

    /// Tells whether it still runs, or may, when that cannot be found out.
    pub fn is_alive(&self) -> bool {
        let found = pidfd::open_exact(self.pid, self.start_time);
        !found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
}

/// A process that keeps a place for others, and ends with this value, or with whoever has it.
#[derive(Debug)]
pub struct Placeholder {
    pid: i32,
    _word: OwnedFd,
}

impl Placeholder {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        u32::try_from(self.pid).unwrap_or_default()
    }
}

/// Why the zygote did not do what it was asked.
#[derive(Debug, Error)]
pub enum ZygoteError {
    /// The executable could not be copied or run.
    #[error("cannot start the zygote")]
    Start(#[source] io::Error),
    /// It ended, several times in a row, while a request was under way.
    #[error("the zygote ended during a request")]
    Lost(#[source] io::Error),
    /// It answered with a failure.
    #[error("{0}")]
    Refused(String),
    /// The kernel refused it what it needs.
    #[error("the zygote is refused")]
    Kernel(#[source] io::Error),
}

/// The client. Requests are answered one after the other, each in a millisecond or a few; all methods block.
#[derive(Debug)]
pub struct Zygote {
    image: OwnedFd,
    options: ZygoteOptions,
    /// Locked over one request and its answer.
    running: Mutex<Option<Running>>,
}

impl Zygote {
    /// Starts the running executable as the zygote, which sets itself up meanwhile: whoever asks first waits for that.
    pub fn start(options: ZygoteOptions) -> Result<Zygote, ZygoteError> {
        let image = image::protected_self().map_err(ZygoteError::Start)?;
        let zygote = Zygote {
            image,
            options,
            running: Mutex::new(None),
        };
        let running = zygote.begin().map_err(ZygoteError::Start)?;
        *zygote.lock() = Some(running);
        Ok(zygote)
    }

    /// Waits until it is set up.
    pub fn wait_until_ready(&self) -> Result<(), ZygoteError> {
        let mut running = self.lock();
        *running = Some(self.ready(running.take()).map_err(ZygoteError::Start)?);
        Ok(())
    }

    /// Process id of the zygote, for tests and status pages.
    pub fn pid(&self) -> Option<u32> {
        self.lock().as_ref().map(|r| r.pid())
    }

    /// Forks a monitor for `dir`. Returns the connection of its first client.
    pub fn fork_monitor(&self, dir: &Path) -> Result<OwnedFd, ZygoteError> {
        let request = ZygoteRequest::Monitor { dir: dir.to_owned() };
        let (_, ours) = self.ask(&request, || {
            let (ours, theirs) = socket::pair()?;
            Ok((Some(theirs), ours))
        })?;
        Ok(ours)
    }

    /// Makes namespaces and pins them in the host's mount namespace; on failure none is left pinned. The paths'
    /// directories must exist; the files are made.
    pub fn pin(&self, request: PinRequest) -> Result<(), ZygoteError> {
        self.ask(&ZygoteRequest::Pin(request), || Ok((None, ())))
            .map(drop)
    }

    /// Makes a PID namespace with a reaper in it and pins it.
    pub fn spawn_reaper(&self, request: ReaperRequest) -> Result<Reaper, ZygoteError> {
        let (answer, ()) = self.ask(&ZygoteRequest::Reaper(request), || Ok((None, ())))?;
        Ok(Reaper {
            pid: answer.pid,
            start_time: answer.start_time,
        })
    }

    /// Makes a process that does nothing but wait for its end.
    pub fn placeholder(&self) -> Result<Placeholder, ZygoteError> {
        let (answer, _word) = self.ask(&ZygoteRequest::Placeholder, || {
            let (end, word) = pipe::pair()?;
            Ok((Some(end), word))
        })?;
        Ok(Placeholder {
            pid: answer.pid,
            _word,
        })
    }

    /// Asks until there is an answer. `make` makes the descriptor that goes along and what stays here of it, anew for each
    /// try: what a zygote that was killed has forked for the last one sees its end.
    fn ask<T>(
        &self,
        request: &ZygoteRequest,
        make: impl Fn() -> io::Result<(Option<OwnedFd>, T)>,
    ) -> Result<(ZygoteAnswer, T), ZygoteError> {
        let mut guard = self.lock();
        let mut tries = 0;
        loop {
            let (given, kept) = make().map_err(ZygoteError::Lost)?;
            let packet =
                message::Packet::new(request, given.into_iter().collect()).map_err(ZygoteError::Lost)?;
            let running = match self.ready(guard.take()) {
                Ok(running) => running,
                Err(_) if tries < TRIES => {
                    tries += 1;
                    continue;
                }
                Err(error) => return Err(ZygoteError::Start(error)),
            };
            let answer = running.ask(&packet);
            match answer {
                Ok(answer) => {
                    *guard = Some(running);
                    return match (&answer.error, answer.errno) {
                        (Some(_), Some(errno)) => {
                            Err(ZygoteError::Kernel(io::Error::from_raw_os_error(errno)))
                        }
                        (Some(text), None) => Err(ZygoteError::Refused(text.clone())),
                        (None, _) => Ok((answer, kept)),
                    };
                }
                Err(e) => {
                    running.end();
                    if tries == TRIES {
                        return Err(ZygoteError::Lost(e));
                    }
                    tries += 1;
                }
            }
        }
    }

    /// The one that runs, or a new one, when it is set up.
    fn ready(&self, running: Option<Running>) -> io::Result<Running> {
        let running = running.map_or_else(|| self.begin(), Ok)?;
        running.set_up()
    }

    fn begin(&self) -> io::Result<Running> {
        Running::begin(self.image.as_fd(), &self.options)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        if let Some(running) = self.lock().take() {
            running.end();
        }
    }
}
