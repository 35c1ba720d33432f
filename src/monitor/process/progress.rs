//! How each kind of open call goes on: what it waits for, and what it answers in the end.

use crate::monitor::process::calls::{Call, Kind, Running};
use crate::monitor::process::event_loop::{Monitor, phase};
use crate::monitor::process::failure;
use crate::monitor::process::life::{Init, Life};
use crate::monitor::protocol::{Answer, ExecExit, Failure, Phase};
use crate::sys::cgroup::oom::OomWatch;
use crate::sys::fork::Death;
use crate::sys::step;
use std::os::fd::OwnedFd;
use std::time::Instant;

impl Monitor {
    /// Carries every open call as far as it can go.
    pub(super) fn advance(&mut self) {
        for call in std::mem::take(&mut self.calls) {
            let open = match &call.kind {
                Kind::Create(_) => self.advance_create(call),
                Kind::Start => self.advance_start(call),
                Kind::Exec(_) => self.advance_exec(call),
                Kind::Delete => self.advance_delete(call),
            };
            self.calls.extend(open);
        }
    }

    fn advance_create(&mut self, mut call: Call) -> Option<Call> {
        let outcome = match call.outcome.take() {
            Some(outcome) => outcome,
            None => return Some(call),
        };
        let Kind::Create(creating) = call.kind else {
            return None;
        };
        let answer = outcome.and_then(|(report, master)| {
            let mut streams = creating.streams;
            let theirs = master
                .map(|master| streams.set_terminal(master, creating.terminal))
                .transpose()
                .map_err(failure::at("set up the terminal"))?
                .flatten();
            let life = Life {
                oom: OomWatch::new(&creating.engine.cgroup).ok().flatten(),
                engine: creating.engine,
                subject: creating.subject,
                streams,
                init: Init::new(report.pid),
                failure: Some(creating.failure),
                started: false,
                reason: None,
                oom_killed: false,
                exit: None,
                exit_file: creating.exit_file,
            };
            let created = life.created(report.warnings);
            self.life = Some(life);
            step("monitor.created");
            Ok((Answer::Created(created), theirs))
        });
        self.answer(call.client, call.id, answer);
        None
    }

    fn advance_start(&mut self, mut call: Call) -> Option<Call> {
        match call.outcome.take() {
            None => return Some(call),
            Some(Err(failure)) => {
                if let Some(life) = &mut self.life {
                    // Not started: the report is awaited again by the next try.
                    life.failure = call.stage.and_then(|stage| stage.pipe);
                }
                self.answer(call.client, call.id, Err(failure));
                return None;
            }
            // Started means: execve has happened or has failed, not only "told to go on".
            Some(Ok(report)) if call.stage.as_ref().is_some_and(|s| s.pipe.is_some()) => {
                call.outcome = Some(Ok(report));
                return Some(call);
            }
            Some(Ok(_)) => {}
        }
        let failed = call.stage.and_then(|stage| stage.failure());
        step("monitor.started");
        if let Some(life) = &mut self.life {
            life.started = true;
            life.reason = failed.as_ref().map(|f| f.text.clone());
        }
        self.answer(call.client, call.id, failed.map_or(Ok((Answer::Done, None)), Err));
        None
    }

    fn advance_exec(&mut self, mut call: Call) -> Option<Call> {
        let now = Instant::now();
        let Kind::Exec(running) = &mut call.kind else {
            return None;
        };
        running.kill_if_late(now);
        let killed = running.killed_at.is_some();
        match call.outcome.take() {
            None => {}
            // The worker had joined the group when that was killed.
            Some(Err(_)) if killed => {
                running.pid = -1;
                running.death = Some(Death {
                    pid: -1,
                    code: 128 + libc::SIGKILL,
                    signal: Some(libc::SIGKILL),
                });
            }
            Some(Err(failure)) => {
                // Whatever it stumbled over, the cause is the container's end.
                let exited = self.life.as_ref().is_none_or(|l| l.phase() == Phase::Exited);
                let failure = if exited {
                    phase("the container has exited")
                } else {
                    failure
                };
                return self.end_exec(call, Err(failure));
            }
            Some(Ok((report, master))) => {
                running.pid = report.pid;
                if call.stage.as_ref().is_some_and(|s| s.pipe.is_some()) {
                    // Its execve is still to come.
                    self.claim_exec(running);
                    call.outcome = Some(Ok((report, master)));
                    return Some(call);
                }
                if let Some(failure) = call.stage.as_ref().and_then(|s| s.failure()) {
                    return self.end_exec(call, Err(failure));
                }
                self.tell_started(&mut call, report.warnings, master);
            }
        }
        self.finish_exec(call, now)
    }

    fn tell_started(&mut self, call: &mut Call, warnings: Vec<String>, master: Option<OwnedFd>) {
        let Kind::Exec(running) = &mut call.kind else {
            return;
        };
        running.started = true;
        let started = Answer::ExecStarted {
            pid: running.pid.max(0),
            warnings,
        };
        self.clients
            .answer(call.client, call.id, started, master.into_iter().collect());
    }

    /// Answers once the command has ended and, if it was killed for its time, all its descendants have.
    fn finish_exec(&mut self, mut call: Call, now: Instant) -> Option<Call> {
        let Kind::Exec(running) = &mut call.kind else {
            return None;
        };
        if running.pid == 0 {
            return Some(call);
        }
        self.claim_exec(running);
        let (Some(death), true) = (running.death, running.is_gone(now)) else {
            return Some(call);
        };
        let timed_out = running.timed_out;
        if !running.started {
            self.tell_started(&mut call, vec![], None);
        }
        self.end_exec(
            call,
            Ok((
                Answer::ExecExited(ExecExit {
                    code: death.code,
                    timed_out,
                }),
                None,
            )),
        )
    }

    fn claim_exec(&mut self, running: &mut Running) {
        if let Some(i) = self.unclaimed.iter().position(|d| d.pid == running.pid) {
            running.death = Some(self.unclaimed.swap_remove(i));
        }
    }

    fn end_exec(&mut self, call: Call, answer: Result<(Answer, Option<OwnedFd>), Failure>) -> Option<Call> {
        if let Kind::Exec(mut running) = call.kind {
            self.old_groups
                .extend(running.group.take().filter(|group| !group.try_remove()));
        }
        self.answer(call.client, call.id, answer);
        None
    }

    /// Kills first, waits for the death, then has a worker remove the rest.
    fn advance_delete(&mut self, mut call: Call) -> Option<Call> {
        if self
            .calls
            .iter()
            .any(|earlier| !matches!(earlier.kind, Kind::Exec(_)))
        {
            return Some(call);
        }
        let Some(life) = &self.life else {
            // Nothing was created, or it failed: nothing is left to do.
            self.over = true;
            self.door.close();
            self.answer(call.client, call.id, Ok((Answer::Done, None)));
            return None;
        };
        let exited = life.phase() == Phase::Exited;
        if !exited {
            // Told again at each turn until its death is known; one that is dying does not mind. One that is frozen
            // hears the second only.
            let _ = life.signal(libc::SIGKILL);
            let _ = life.signal_all(libc::SIGKILL);
        }
        match call.outcome.take() {
            Some(outcome) => {
                if outcome.is_ok() {
                    step("monitor.deleted");
                    self.over = true;
                    self.door.close();
                }
                self.answer(
                    call.client,
                    call.id,
                    outcome.map(|_: (_, _)| (Answer::Done, None)),
                );
                None
            }
            None if exited && call.work.is_none() => {
                let life = self.life.as_ref()?;
                match self.delete_worker(life) {
                    Ok(work) => {
                        call.work = Some(work);
                        Some(call)
                    }
                    // At once: nothing that happens would bring this call up again.
                    Err(e) => {
                        self.answer(call.client, call.id, Err(failure::no_worker(e)));
                        None
                    }
                }
            }
            None => Some(call),
        }
    }
}
