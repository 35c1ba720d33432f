//! One container in memory: what it was made as, where it is in its life, and its own locks.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;

use super::record::{ContainerRecord, End};
use crate::model::{
    Container, ContainerFilter, ContainerState, ContainerStatus, Error, Kind, LinuxContainerResources, Result,
};
use crate::monitor::MonitorClient;
use crate::monitor::protocol::Process;
use crate::sys::cgroup::{Cgroup, Reader};
use crate::sys::selinux::Held;

/// Where a container is in its life, and what is needed there.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Being made; not listed.
    Creating,
    /// Made, waiting for start.
    Created(Live),
    /// Its command runs.
    Running(Live),
    /// It has ended, or nobody can tell.
    Ended(End),
}

/// A container with processes.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) monitor: MonitorClient,
    pub(super) pid: u32,
    pub(super) start_time: u64,
    pub(super) started_at: i64,
    /// The first process as the last stage ran it: what exec starts from.
    pub(super) process: Arc<Process>,
}

/// What changes in a container's life.
#[derive(Debug)]
struct Changing {
    phase: Phase,
    resources: Option<LinuxContainerResources>,
    stop_signalled: bool,
    /// Its monitor does not answer; the phase is the last one known.
    silent: bool,
    cpu: Option<(i64, u64)>,
    reader: Option<Arc<Reader>>,
    /// How it was last listed, and in which state.
    written: Option<(ContainerState, Option<Bytes>)>,
}

impl Changing {
    fn state(&self) -> ContainerState {
        match &self.phase {
            Phase::Creating | Phase::Created(_) => ContainerState::Created,
            Phase::Running(_) => ContainerState::Running,
            Phase::Ended(end) if end.unknown => ContainerState::Unknown,
            Phase::Ended(_) => ContainerState::Exited,
        }
    }
}

/// One container.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) record: ContainerRecord,
    changing: Mutex<Changing>,
    /// Held by the calls that move the container through its life. Readers, stop and exec do not take it.
    pub(super) operation: tokio::sync::Mutex<()>,
    /// Held by who writes the record, so that what is on disk in the end is what was true last.
    pub(super) storing: tokio::sync::Mutex<()>,
    ended: tokio::sync::watch::Sender<bool>,
    /// Its SELinux level, which is free for others when the container is gone.
    level: OnceLock<Held>,
}

impl Entry {
    pub(super) fn new(id: String, record: ContainerRecord, phase: Phase) -> Entry {
        let resources = record.resources.clone();
        let ended = tokio::sync::watch::Sender::new(matches!(phase, Phase::Ended(_)));
        let changing = Changing {
            phase,
            resources,
            stop_signalled: false,
            silent: false,
            cpu: None,
            reader: None,
            written: None,
        };
        Entry {
            id,
            record,
            changing: Mutex::new(changing),
            operation: tokio::sync::Mutex::new(()),
            storing: tokio::sync::Mutex::new(()),
            ended,
            level: OnceLock::new(),
        }
    }

    /// Keeps a level for as long as the container is there.
    pub(super) fn hold(&self, level: Option<Held>) {
        if let Some(level) = level {
            // Set once, when the container comes to be known.
            let _ = self.level.set(level);
        }
    }

    fn changing<T>(&self, act: impl FnOnce(&mut Changing) -> T) -> T {
        // Each change is one assignment, so a panic elsewhere leaves nothing half done.
        act(&mut self.changing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn phase(&self) -> Phase {
        self.changing(|c| c.phase.clone())
    }

    /// Moves on. An ended container stays as it ended: the first end counts.
    pub(super) fn set_phase(&self, phase: Phase) -> bool {
        let ends = matches!(phase, Phase::Ended(_));
        let moved = self.changing(|c| {
            if matches!(c.phase, Phase::Ended(_)) {
                return false;
            }
            if ends {
                c.reader = None;
            }
            c.phase = phase;
            true
        });
        if moved && ends {
            self.ended.send_replace(true);
        }
        moved
    }

    /// Resolves when the container has ended.
    pub(super) async fn ended(&self) {
        // The sender is in `self`, so it cannot be gone.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// True for the first caller only: the stop signal is sent once.
    pub(super) fn claim_stop_signal(&self) -> bool {
        self.changing(|c| !std::mem::replace(&mut c.stop_signalled, true))
    }

    /// Says whether the monitor answers: else the phase is the last one known.
    pub(super) fn set_silent(&self, silent: bool) {
        self.changing(|c| c.silent = silent);
    }

    /// Refuses what only the monitor can do while it does not answer.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(super) fn heard(&self) -> Result<()> {
        match self.changing(|c| c.silent) {
            false => Ok(()),
            true => {
                let text = format!("the monitor of container {} does not answer", self.id);
                Err(Error::new(Kind::Unavailable, text))
            }
        }
    }

    pub(super) fn resources(&self) -> Option<LinuxContainerResources> {
        self.changing(|c| c.resources.clone())
    }

    pub(super) fn set_resources(&self, resources: LinuxContainerResources) {
        self.changing(|c| c.resources = Some(resources));
    }

    /// Keeps a reading of processor time (when, nanoseconds used) and returns the one before.
    pub(super) fn exchange_cpu(&self, reading: (i64, u64)) -> Option<(i64, u64)> {
        self.changing(|c| c.cpu.replace(reading))
    }

    /// What reads the usage of its processes. It has files open, so it goes with them.
    pub(super) fn reader(&self) -> std::io::Result<Arc<Reader>> {
        if let Some(kept) = self.changing(|c| c.reader.clone()) {
            return Ok(kept);
        }
        let made = Arc::new(Reader::new(Cgroup::new(&self.record.cgroup)?));
        Ok(self.changing(|c| match &c.phase {
            Phase::Ended(_) => made,
            _ => Arc::clone(c.reader.get_or_insert(made)),
        }))
    }

    pub(super) fn state(&self) -> ContainerState {
        self.changing(|c| c.state())
    }

    /// Whether a list has it: not while it is being made.
    pub(super) fn listed(&self) -> bool {
        self.changing(|c| !matches!(c.phase, Phase::Creating))
    }

    pub(super) fn matches(&self, filter: &ContainerFilter) -> bool {
        let config = &self.record.config;
        filter.state.is_none_or(|wanted| wanted.state == self.state())
            && filter
                .label_selector
                .iter()
                .all(|(k, v)| config.labels.get(k) == Some(v))
            && filter
                .tag_selector
                .iter()
                .all(|(k, v)| config.tags.get(k) == Some(v))
    }

    pub(super) fn summary(&self) -> Container {
        let config = &self.record.config;
        Container {
            id: self.id.clone(),
            metadata: config.metadata.clone(),
            image: self.record.image(),
            image_ref: self.record.image_ref.clone(),
            state: self.state(),
            created_at: self.record.created_at,
            labels: config.labels.clone(),
            image_id: self.record.image_id.clone(),
            annotations: config.annotations.clone(),
            tags: config.tags.clone(),
        }
    }

    /// What `write` makes of it, kept for as long as it is in this state: nothing else of a summary changes.
    pub(super) fn written(&self, write: fn(Container) -> Option<Bytes>) -> Option<Bytes> {
        let kept = self.changing(|c| c.written.clone().filter(|(state, _)| *state == c.state()));
        if let Some((_, written)) = kept {
            return written;
        }
        let summary = self.summary();
        let (state, written) = (summary.state, write(summary));
        self.changing(|c| c.written = Some((state, written.clone())));
        written
    }

    pub(super) fn status(&self) -> ContainerStatus {
        let config = &self.record.config;
        let mut status = ContainerStatus {
            id: self.id.clone(),
            metadata: config.metadata.clone(),
            state: self.state(),
            created_at: self.record.created_at,
            image: self.record.image(),
            image_ref: self.record.image_ref.clone(),
            labels: config.labels.clone(),
            mounts: config.mounts.clone(),
            log_path: self.record.log_path.clone(),
            image_id: self.record.image_id.clone(),
            annotations: config.annotations.clone(),
            tags: config.tags.clone(),
            user: Some(self.record.user.clone()),
            resources: self.resources(),
            stop_signal: self.record.stop_signal.clone(),
            tty: config.tty,
            stdin: config.stdin,
            ..ContainerStatus::default()
        };
        match self.phase() {
            Phase::Creating => {}
            Phase::Created(live) | Phase::Running(live) => {
                status.started_at = live.started_at;
                status.pid = Some(live.pid);
                if self.changing(|c| c.silent) {
                    status.reason = "MonitorSilent".into();
                    status.message =
                        "the monitor of the container does not answer; this is the last state known".into();
                }
            }
            Phase::Ended(end) => {
                status.started_at = end.started_at;
                status.finished_at = end.finished_at;
                status.exit_code = end.exit_code;
                status.reason = end.reason;
                status.message = end.message;
            }
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::index::tests::entry;

    #[test]
    fn a_container_is_written_once_in_each_state_and_what_is_left_out_stays_out() {
        // The state, and where the text is: what is kept is not made again.
        fn write(from: Container) -> Option<Bytes> {
            from.tags
                .contains_key("mine")
                .then(|| format!("{:?} {}", from.state, from.id).into())
        }
        let mine = entry("a", &[("mine", "1")]);
        let written = || mine.written(write).unwrap();

        let first = written();
        assert_eq!(
            (first.as_ref(), written().as_ptr()),
            (b"Created a".as_slice(), first.as_ptr())
        );
        mine.set_phase(Phase::Ended(End::default()));
        assert_eq!(written(), "Exited a");
        assert_eq!(written().as_ptr(), written().as_ptr());
        let other = entry("b", &[]);
        assert_eq!([other.written(write), other.written(write)], [None, None]);
    }
}
