//! The monitor's loop: one poll over everything, then whatever has become possible.
//!
//! Order in a turn: outputs first, so that last words are logged before an end is told; reports before deaths, so that a
//! death finds the call it belongs to; requests last.

use crate::monitor::process::attached::Over;
use crate::monitor::process::calls::{Call, Kind};
use crate::monitor::process::clients::Clients;
use crate::monitor::process::door::Door;
use crate::monitor::process::failure;
use crate::monitor::process::life::Life;
use crate::monitor::protocol::{Answer, Event, Failure, FailureKind};
use crate::sys::cgroup::ExecGroup;
use crate::sys::cgroup::oom::OomWatch;
use crate::sys::fork::{Death, reap};
use crate::sys::{heap, signal, step};
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often it is looked whether a log that could not be written can be. Nobody tells.
const LOG_AGAIN: Duration = Duration::from_secs(2);

/// One container's monitor.
#[derive(Debug)]
pub(super) struct Monitor {
    pub(super) dir: PathBuf,
    pub(super) lean: OwnedFd,
    pub(super) clients: Clients,
    pub(super) calls: Vec<Call>,
    pub(super) life: Option<Life>,
    /// Number of the last exec's group.
    pub(super) execs: u64,
    /// Work has been done since the heap was last given back.
    pub(super) untrimmed: bool,
    pub(super) over: bool,
    pub(super) door: Door,
    deaths: SignalFd,
    /// Deaths seen while some worker's report, with the pid in it, was still under way.
    pub(super) unclaimed: Vec<Death>,
    /// Groups of ended execs that are still busy: the worker, also a member, is on its way out, or the command has left
    /// something running. Tried again after each death.
    pub(super) old_groups: Vec<ExecGroup>,
}

impl Monitor {
    pub(super) fn new(dir: &Path, connection: OwnedFd, lean: OwnedFd) -> io::Result<Monitor> {
        let deaths = signal::child_deaths()?;
        let door = Door::open(dir, &connection)?;
        let mut clients = Clients::default();
        clients.add(connection)?;
        Ok(Monitor {
            dir: dir.to_owned(),
            lean,
            clients,
            calls: vec![],
            life: None,
            execs: 0,
            untrimmed: true,
            over: false,
            door,
            deaths,
            unclaimed: vec![],
            old_groups: vec![],
        })
    }

    pub(super) fn run(&mut self) -> io::Result<()> {
        while !self.over {
            self.turn()?;
            // Nobody to serve and nobody left who could ask for anything.
            self.over |= self.life.is_none() && self.clients.is_empty() && self.calls.is_empty();
        }
        self.door.close();
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        if self.calls.is_empty() && std::mem::take(&mut self.untrimmed) {
            heap::trim();
        }
        let ready = self.wait()?;
        if let Some(life) = &mut self.life {
            life.streams.read(&ready);
        }
        self.tell_log_news();
        self.read_oom(&ready);
        self.calls.iter_mut().for_each(|call| call.read(&ready));
        if ready.contains(&self.deaths.as_fd().as_raw_fd()) {
            self.reap();
        }
        self.advance();
        self.claim_deaths();
        if ready.contains(&self.door.as_fd().as_raw_fd()) {
            self.clients.accept(&self.door);
        }
        let received = self.clients.receive(&ready);
        self.untrimmed |= !received.is_empty();
        self.receive_all(received);
        self.tell_detached();
        Ok(())
    }

    /// Waits until something is ready or a call wants to be looked at. Returns the ready descriptors' numbers; all are
    /// non-blocking, so a number that changes hands within the turn does no harm.
    fn wait(&self) -> io::Result<Vec<RawFd>> {
        let oom = self
            .life
            .iter()
            .filter_map(|l| l.oom.as_ref())
            .filter_map(OomWatch::fd);
        let streams = self.life.iter().flat_map(|l| l.streams.polled());
        let fixed: [BorrowedFd<'_>; 2] = [self.deaths.as_fd(), self.door.as_fd()];
        let calls = self.calls.iter().flat_map(Call::fds);
        let all = fixed
            .into_iter()
            .chain(self.clients.fds())
            .chain(oom)
            .chain(calls)
            .map(|fd| (fd, PollFlags::IN));
        let mut polled: Vec<PollFd<'_>> = all
            .chain(streams)
            .map(|(fd, events)| PollFd::from_borrowed_fd(fd, events))
            .collect();
        let now = Instant::now();
        let owing = self.life.iter().filter(|l| l.streams.log_owes());
        let streams = self.life.iter().filter_map(|l| l.streams.wakes_in(now));
        let calls = self.calls.iter().filter_map(|call| call.wakes_in(now));
        let next = calls.chain(streams).chain(owing.map(|_| LOG_AGAIN)).min();
        match poll(&mut polled, next.map(timespec).as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let is_ready = |p: &&PollFd<'_>| !p.revents().is_empty();
        Ok(polled
            .iter()
            .filter(is_ready)
            .map(|p| p.as_fd().as_raw_fd())
            .collect())
    }

    fn tell_log_news(&mut self) {
        for news in self.life.as_mut().map_or_else(Vec::new, |l| l.streams.log_news()) {
            self.clients.tell(news);
        }
    }

    fn read_oom(&mut self, ready: &[RawFd]) {
        let watch = self.life.as_ref().and_then(|l| l.oom.as_ref());
        let watched = watch.and_then(OomWatch::fd);
        if watched.is_some_and(|fd| ready.contains(&fd.as_raw_fd())) {
            self.tell_oom_kills();
        }
    }

    fn tell_oom_kills(&mut self) {
        for _ in 0..self.life.as_mut().map_or(0, Life::read_oom) {
            self.clients.tell(Event::OomKilled);
        }
    }

    fn tell_detached(&mut self) {
        let over = self.life.as_mut().map(|l| l.streams.take_over());
        for Over { client, call, how } in over.into_iter().flatten() {
            self.answer(client, call, Ok((Answer::Detached(how), None)));
        }
    }

    /// Reaps all that has died, whoever it was.
    fn reap(&mut self) {
        while let Ok(Some(_)) = self.deaths.read_signal() {}
        while let Some(death) = reap() {
            if !self.calls.iter_mut().any(|call| call.worker_died(death.pid)) {
                self.unclaimed.push(death);
            }
        }
    }

    /// Gives deaths to whom they belong.
    fn claim_deaths(&mut self) {
        self.old_groups.retain(|group| !group.try_remove());
        let init = self
            .life
            .as_ref()
            .filter(|l| l.exit.is_none())
            .map(|l| l.init.pid);
        if let Some(i) = self.unclaimed.iter().position(|d| Some(d.pid) == init) {
            let death = self.unclaimed.swap_remove(i);
            self.tell_oom_kills();
            self.end(death);
        }
        // Workers' helpers and orphans of the container: nobody asks for them once no report is under way.
        if self.calls.iter().all(|call| call.work.is_none()) {
            self.unclaimed
                .retain(|d| self.calls.iter().any(|call| call.pid() == Some(d.pid)));
        }
    }

    /// The container's first process has ended.
    fn end(&mut self, death: Death) {
        if let Some(life) = &mut self.life {
            // A start under way may know why the command could not be run.
            for stage in self
                .calls
                .iter_mut()
                .filter(|c| matches!(c.kind, Kind::Start))
                .flat_map(|c| &mut c.stage)
            {
                stage.read();
                life.reason = stage.failure().map(|f| f.text);
            }
            step("monitor.death");
            let record = life.end(death).clone();
            self.clients.tell(Event::Exited(record));
            self.untrimmed = true;
            self.advance();
        }
    }

    /// Answers a call.
    pub(super) fn answer(
        &mut self,
        client: u64,
        id: u64,
        answer: Result<(Answer, Option<OwnedFd>), Failure>,
    ) {
        let (answer, fd) = answer.unwrap_or_else(|failure| (Answer::Failed(failure), None));
        self.clients.answer(client, id, answer, fd.into_iter().collect());
        self.untrimmed = true;
    }
}

/// Refuses a call that does not fit the container's phase.
pub(super) fn phase(text: impl Into<String>) -> Failure {
    failure::of(FailureKind::Phase, text)
}

fn timespec(wait: Duration) -> Timespec {
    // Rounded up, or the loop would spin through the last millisecond.
    let wait = wait + Duration::from_micros(50);
    Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: wait.subsec_nanos().into(),
    }
}
