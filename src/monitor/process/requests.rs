//! Requests: what each call needs to begin, and the answers that need no waiting.

use crate::monitor::client::MAKING;
use crate::monitor::process::attached::{Client, To};
use crate::monitor::process::calls::{Call, Creating, Kind, Running, StageReport};
use crate::monitor::process::container::{self, Engine, Inputs};
use crate::monitor::process::event_loop::{Monitor, phase};
use crate::monitor::process::exec;
use crate::monitor::process::exit_file::ExitFile;
use crate::monitor::process::failure::{self, Subject};
use crate::monitor::process::life::{self, Init, Life};
use crate::monitor::process::streams::Streams;
use crate::monitor::process::worker::Worker;
use crate::monitor::protocol::{
    Answer, AttachRequest, Call as Wanted, CreateRequest, Event, ExecRequest, Failure, FailureKind, Phase,
    Process, Request, Stdio, VERSION,
};
use crate::sys::cgroup::{Cgroup, ExecGroup};
use crate::sys::{fs, message, pipe, step};
use serde::Deserialize;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// What is left of a request that this build does not know.
#[derive(Deserialize)]
struct Unknown {
    id: u64,
}

impl Monitor {
    /// Handles one message.
    pub(super) fn receive(
        &mut self,
        client: u64,
        request: io::Result<Request>,
        text: &[u8],
        fds: Vec<OwnedFd>,
    ) {
        if let Some(life) = &mut self.life {
            life.exit_file.retry();
        }
        let Request { id, call } = match request {
            Ok(request) => request,
            Err(e) => {
                match message::decode::<Unknown>(text) {
                    Ok(Unknown { id }) => {
                        let failure = failure::of(FailureKind::Unsupported, format!("unknown call: {e}"));
                        self.answer(client, id, Err(failure));
                    }
                    // Not even a number to answer to: no client of ours.
                    Err(_) => self.clients.drop(client),
                }
                return;
            }
        };
        let begun = match call {
            Wanted::Create(request) => self.create(client, id, *request, fds),
            Wanted::Start => self.start(client, id),
            Wanted::Exec(request) => self.exec(client, id, *request, fds),
            Wanted::Attach(request) => self.attach(client, id, request, fds),
            Wanted::Delete => {
                self.delete(client, id);
                Ok(())
            }
            other => self.answer_at_once(client, id, other),
        };
        if let Err(failure) = begun {
            self.answer(client, id, Err(failure));
        }
    }

    fn answer_at_once(&mut self, client: u64, id: u64, call: Wanted) -> Result<(), Failure> {
        let answer = match call {
            Wanted::Hello { .. } => {
                self.greet(client, id);
                return Ok(());
            }
            Wanted::State => Answer::State(life::state(self.life.as_ref())),
            Wanted::Signal { signal, all } => self.signal(signal, all)?,
            Wanted::KillExec { exec } => self.kill_exec(client, exec)?,
            Wanted::ReopenLog => {
                let reopened = self
                    .life_mut()?
                    .streams
                    .reopen_log()
                    .ok_or_else(|| phase("the container has no log"))?;
                reopened.map_err(failure::at("open the log again"))?;
                Answer::Done
            }
            Wanted::CloseStdin => {
                self.life_mut()?.streams.close_stdin();
                Answer::Done
            }
            Wanted::Resize(size) => {
                self.life_mut()?
                    .streams
                    .resize(size)
                    .map_err(failure::at("resize the terminal"))?;
                Answer::Done
            }
            Wanted::Create(_) | Wanted::Start | Wanted::Exec(_) | Wanted::Attach(_) | Wanted::Delete => {
                return Ok(());
            }
        };
        self.answer(client, id, Ok((answer, None)));
        Ok(())
    }

    /// A client that comes after the end is told of it like those that were there.
    fn greet(&mut self, client: u64, id: u64) {
        self.answer(client, id, Ok((Answer::Hello { version: VERSION }, None)));
        if let Some(record) = self.life.as_ref().and_then(|l| l.exit.clone()) {
            self.clients.tell_one(client, Event::Exited(record));
        }
    }

    fn signal(&mut self, signal: i32, all: bool) -> Result<Answer, Failure> {
        let life = self.life_mut()?;
        step("monitor.signal");
        let sent = match (all, life.phase()) {
            (true, _) => life.signal_all(signal),
            (false, Phase::Exited) => return Err(phase("the container has exited")),
            (false, _) => life.signal(signal),
        };
        sent.map(|()| Answer::Done)
            .map_err(failure::at("send the signal"))
    }

    fn kill_exec(&mut self, client: u64, exec: u64) -> Result<Answer, Failure> {
        let now = Instant::now();
        // One that has ended meanwhile is as dead as it was to be.
        for call in self
            .calls
            .iter_mut()
            .filter(|c| c.client == client && c.id == exec)
        {
            if let Kind::Exec(running) = &mut call.kind {
                running.kill_now(now);
            }
        }
        Ok(Answer::Done)
    }

    fn create(
        &mut self,
        client: u64,
        id: u64,
        request: CreateRequest,
        fds: Vec<OwnedFd>,
    ) -> Result<(), Failure> {
        if self.life.is_some() {
            return Err(phase("the monitor has a container already"));
        }
        self.refuse_while_busy()?;
        let cgroup =
            Cgroup::new(&request.cgroup).map_err(|e| failure::of(FailureKind::Invalid, e.to_string()))?;
        let engine = Engine {
            id: request.id.clone(),
            state_root: request.state_root.clone(),
            cgroup,
        };
        let (given, trees, namespaces) = sort_descriptors(&request, fds)?;
        let (streams, stdio) =
            Streams::open(&request, given).map_err(failure::at("open the standard streams"))?;
        let (report, failure) = stage_pipe()?;
        let terminal = match request.stdio {
            Stdio::Terminal(size) => size,
            Stdio::GivenTerminal(size) => Some(size),
            Stdio::Pipes { .. } | Stdio::Given => None,
        };
        let subject = subject(&request.process);
        let creating = Creating {
            engine: engine.clone(),
            subject,
            streams,
            terminal,
            failure: report,
            exit_file: ExitFile::reserve(&self.dir)
                .map_err(failure::at("reserve room for the exit record"))?,
        };
        let lean = self.lean.try_clone().map_err(failure::at("descriptor"))?;
        let inputs = Inputs {
            dir: self.dir.clone(),
            lean,
            stdio,
            trees,
            namespaces,
            failure,
            making: fs::held(&self.dir.join(MAKING)).map_err(failure::at("hold the directory"))?,
        };
        let keep = inputs.numbers();
        step("monitor.create");
        let work = Worker::spawn(&keep, || container::create(&engine, request, inputs))
            .map_err(failure::no_worker)?;
        self.open_call(client, id, work, None, Kind::Create(Box::new(creating)));
        Ok(())
    }

    fn start(&mut self, client: u64, id: u64) -> Result<(), Failure> {
        self.refuse_while_busy()?;
        let life = self.life_mut()?;
        if life.phase() != Phase::Created {
            return Err(phase("the container is not in the created state"));
        }
        step("monitor.start");
        let work = Worker::spawn(&[], || container::start(&life.engine)).map_err(failure::no_worker)?;
        // Not before: the pipe is still needed if there is no worker.
        let stage = life
            .failure
            .take()
            .map(|pipe| StageReport::new(pipe, life.subject.clone()));
        self.open_call(client, id, work, stage, Kind::Start);
        Ok(())
    }

    fn exec(&mut self, client: u64, id: u64, request: ExecRequest, fds: Vec<OwnedFd>) -> Result<(), Failure> {
        self.execs += 1;
        let life = self.life.as_ref().filter(|l| l.phase() == Phase::Running);
        let life = life.ok_or_else(|| phase("the container is not running"))?;
        let stdio = match request.terminal {
            Some(_) => None,
            None => Some(<[OwnedFd; 3]>::try_from(fds).map_err(|_| wrong_descriptors())?),
        };
        let timeout = Duration::from_millis(request.timeout_ms);
        let deadline = (!timeout.is_zero()).then(|| Instant::now() + timeout);
        let (report, failure) = stage_pipe()?;
        let stage = StageReport::new(report, subject(&request.process));
        step("monitor.exec");
        let group =
            ExecGroup::create(&life.engine.cgroup, self.execs).map_err(failure::at("make a cgroup"))?;
        let work = exec_worker(life, &group, request, stdio, failure).inspect_err(|_| {
            group.try_remove();
        })?;
        let running = Running {
            group: Some(group),
            deadline,
            killed_at: None,
            timed_out: false,
            pid: 0,
            started: false,
            death: None,
        };
        self.open_call(client, id, work, Some(stage), Kind::Exec(Box::new(running)));
        Ok(())
    }

    fn attach(
        &mut self,
        client: u64,
        call: u64,
        request: AttachRequest,
        fds: Vec<OwnedFd>,
    ) -> Result<(), Failure> {
        let life = self.life.as_mut().filter(|l| l.phase() == Phase::Running);
        let life = life.ok_or_else(|| phase("the container is not running"))?;
        let AttachRequest {
            stdin,
            stdout,
            stderr,
        } = request;
        if fds.len() != [stdin, stdout, stderr].iter().filter(|wanted| **wanted).count() {
            return Err(wrong_descriptors());
        }
        for fd in &fds {
            pipe::set_nonblocking(fd).map_err(failure::at("a client's pipe"))?;
        }
        let mut fds = fds.into_iter();
        let mut end = |wanted: bool| wanted.then(|| fds.next()).flatten();
        life.streams.attach(Client {
            client,
            call,
            stdin: end(stdin),
            stdout: end(stdout).map(To::new),
            stderr: end(stderr).map(To::new),
        })?;
        self.answer(client, call, Ok((Answer::Attached, None)));
        Ok(())
    }

    /// Whoever asks may have lost the answer to an earlier call: what is under way is waited for.
    fn delete(&mut self, client: u64, id: u64) {
        step("monitor.delete");
        self.calls.push(Call {
            client,
            id,
            work: None,
            outcome: None,
            stage: None,
            kind: Kind::Delete,
        });
        self.advance();
    }

    /// Forks the worker that removes an ended container.
    pub(super) fn delete_worker(&self, life: &Life) -> io::Result<Worker> {
        Worker::spawn(&[self.lean.as_raw_fd()], || {
            container::delete(&life.engine, &self.lean)
        })
    }

    fn open_call(&mut self, client: u64, id: u64, work: Worker, stage: Option<StageReport>, kind: Kind) {
        self.calls.push(Call {
            client,
            id,
            work: Some(work),
            outcome: None,
            stage,
            kind,
        });
    }

    /// Create, start and delete exclude each other; their callers hold the container's lock, so this is a defect of theirs
    /// or a repeat after a restart.
    fn refuse_while_busy(&self) -> Result<(), Failure> {
        match self.calls.iter().any(|call| !matches!(call.kind, Kind::Exec(_))) {
            true => Err(phase("another call is under way")),
            false => Ok(()),
        }
    }

    fn life_mut(&mut self) -> Result<&mut Life, Failure> {
        self.life
            .as_mut()
            .ok_or_else(|| phase("no container was created"))
    }
}

impl Inputs {
    /// The descriptors that the worker keeps.
    fn numbers(&self) -> Vec<RawFd> {
        let stdio = self.stdio.iter().flatten();
        let several = stdio.chain(&self.trees).chain(&self.namespaces);
        several
            .chain([&self.lean, &self.failure, &self.making])
            .map(AsRawFd::as_raw_fd)
            .collect()
    }
}

fn exec_worker(
    life: &Life,
    group: &ExecGroup,
    request: ExecRequest,
    stdio: Option<[OwnedFd; 3]>,
    failure: OwnedFd,
) -> Result<Worker, Failure> {
    let Init {
        pid, kinds, pidfd, ..
    } = &life.init;
    let pidfd = pidfd.as_ref().ok_or_else(|| phase("the container has exited"))?;
    let target = exec::Target {
        pid: *pid,
        pidfd,
        kinds: *kinds,
        group,
    };
    let fixed = [pidfd.as_raw_fd(), failure.as_raw_fd()];
    let keep: Vec<RawFd> = stdio
        .iter()
        .flatten()
        .map(AsRawFd::as_raw_fd)
        .chain(fixed)
        .collect();
    Worker::spawn(&keep, || exec::run(&target, request, stdio, failure)).map_err(failure::no_worker)
}

type Sorted = (Option<[OwnedFd; 3]>, Vec<OwnedFd>, Vec<OwnedFd>);

/// Descriptors in the order that the protocol names: stdio if given, trees, namespaces.
fn sort_descriptors(request: &CreateRequest, mut fds: Vec<OwnedFd>) -> Result<Sorted, Failure> {
    let given = if request.stdio == Stdio::Given { 3 } else { 0 };
    let trees = request.trees.iter().filter(|tree| !tree.is_made()).count();
    if fds.len() != given + trees + request.namespaces {
        return Err(wrong_descriptors());
    }
    let namespaces = fds.split_off(given + trees);
    let trees = fds.split_off(given);
    Ok((<[OwnedFd; 3]>::try_from(fds).ok(), trees, namespaces))
}

fn wrong_descriptors() -> Failure {
    failure::of(
        FailureKind::Invalid,
        "the call came with a wrong number of descriptors",
    )
}

fn subject(process: &Process) -> Subject {
    Subject {
        command: process.args.first().cloned().unwrap_or_default(),
        cwd: process.cwd.clone(),
    }
}

fn stage_pipe() -> Result<(OwnedFd, OwnedFd), Failure> {
    let (reader, writer) = pipe::pair().map_err(failure::at("pipe"))?;
    pipe::set_nonblocking(&reader).map_err(failure::at("pipe"))?;
    Ok((reader, writer))
}
