//! UpdateContainerResources: the limits of a created or running container, all of them or none. And what the kernel holds
//! of them, for whoever asks for a container's status.

use std::sync::Arc;

use super::Core;
use super::entry::{Entry, Phase};
use super::scope;
use crate::model::{
    ContainerStatus, Error, HugepageLimit, Kind, LinuxContainerResources, Result,
    UpdateContainerResourcesRequest,
};
use crate::spec::{merge_resources, resources};
use crate::sys::cgroup::Cgroup;
use crate::sys::cgroup::update::{Journal, LimitError, Limits};
use crate::sys::{proc, step};

impl Core {
    pub(super) async fn update(&self, request: UpdateContainerResourcesRequest) -> Result<()> {
        let entry = self.inner.registry.find(&request.container_id)?;
        let asked = request.linux.unwrap_or_default();
        // Checked by the same rules as at creation, before anything is touched.
        self.limits(&asked)?;
        let core = self.clone();
        self.detached(async move { core.update_now(&entry, asked).await })
            .await
    }

    async fn update_now(&self, entry: &Arc<Entry>, asked: LinuxContainerResources) -> Result<()> {
        let _operation = entry.operation.lock().await;
        if !matches!(entry.phase(), Phase::Created(_) | Phase::Running(_)) {
            let state = entry.state().name();
            return Err(Error::precondition(format!(
                "container {} is in state {state}",
                entry.id
            )));
        }
        let before = entry.resources().unwrap_or_default();
        let after = merge_resources(&before, &asked);
        if after == before {
            return Ok(());
        }
        let (old, new) = (self.limits(&before)?, self.limits(&after)?);
        let of = old.clone();
        step("update.cgroup");
        let journal = blocking(entry, move |group| apply(group, &of, &new)).await?;
        entry.set_resources(after.clone());
        step("update.record");
        if let Err(error) = self.store_record(entry).await {
            entry.set_resources(before);
            blocking(entry, move |group| {
                restore(group, &old, journal);
                Ok(())
            })
            .await?;
            return Err(error);
        }
        if after.oom_score_adj != before.oom_score_adj {
            let score = i32::try_from(after.oom_score_adj).unwrap_or_default();
            blocking(entry, move |group| {
                score_processes(group, score);
                Ok(())
            })
            .await?;
        }
        step("update.done");
        Ok(())
    }

    /// The status of a container, with the limits that its control group really has.
    pub(super) fn status_held(&self, entry: &Entry) -> ContainerStatus {
        let mut status = entry.status();
        let (Phase::Created(live) | Phase::Running(live)) = entry.phase() else {
            return status;
        };
        let set = status.resources.clone().unwrap_or_default();
        let (Ok(limits), Ok(reader)) = (self.limits(&set), entry.reader()) else {
            return status;
        };
        let pid = i32::try_from(live.pid).unwrap_or_default();
        // The kernel makes these few lines at once: another thread would cost more than they do.
        let mut held = told(set, &limits, reader.held(&limits));
        if let Ok(score) = proc::oom_score_adj_of(pid) {
            held.oom_score_adj = score.into();
        }
        // One that ended meanwhile has none any more.
        if entry.state() == status.state && (status.resources.is_some() || held != Default::default()) {
            status.resources = Some(held);
        }
        status
    }

    /// Limits in the kernel's terms, less what this machine cannot control.
    pub(super) fn limits(&self, from: &LinuxContainerResources) -> Result<Limits> {
        let linux = resources(from, &self.inner.settings.host)?.linux;
        let (cpu, memory) = (linux.cpu().as_ref(), linux.memory().as_ref());
        let hugepages = linux.hugepage_limits().iter().flatten();
        Ok(Limits {
            cpu_shares: cpu.and_then(|cpu| cpu.shares()),
            cpu_quota: cpu.and_then(|cpu| cpu.quota()),
            cpu_period: cpu.and_then(|cpu| cpu.period()),
            cpuset_cpus: cpu.and_then(|cpu| cpu.cpus().clone()),
            cpuset_mems: cpu.and_then(|cpu| cpu.mems().clone()),
            memory: memory.and_then(|memory| memory.limit()),
            memory_and_swap: memory.and_then(|memory| memory.swap()),
            hugepages: hugepages
                .map(|of| (of.page_size().clone(), of.limit().try_into().unwrap_or_default()))
                .collect(),
            unified: linux.unified().clone().into_iter().flatten().collect(),
        })
    }
}

/// Works on the control group of a container. Writing a control file can wait for a lock of the kernel's.
async fn blocking<T: Send + 'static>(
    entry: &Entry,
    work: impl FnOnce(&Cgroup) -> Result<T> + Send + 'static,
) -> Result<T> {
    let path = entry.record.cgroup.clone();
    let work = move || {
        let group = Cgroup::new(&path).map_err(|e| Error::internal("cgroup").because(e))?;
        work(&group)
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::internal("update ended badly").because(e))?
}

/// All or nothing: what was set before the refused one goes back. The files come first: they make room where there is too
/// little, and tell what the kernel thinks of it.
fn apply(group: &Cgroup, old: &Limits, new: &Limits) -> Result<Journal> {
    let mut journal = Journal::default();
    if let Err(refusal) = group.update(&new.changed_from(old), &mut journal) {
        restore_files(group, journal);
        return Err(refused(refusal));
    }
    if let Err(error) = scope::set_limits(group, new, &mut journal) {
        restore(group, old, journal);
        return Err(error);
    }
    Ok(journal)
}

fn restore(group: &Cgroup, old: &Limits, journal: Journal) {
    scope::restore_limits(group, old);
    restore_files(group, journal);
}

fn restore_files(group: &Cgroup, journal: Journal) {
    if let Err(error) = journal.restore() {
        tracing::error!(cgroup = group.path(), %error, "limits not restored after an update that failed");
    }
}

fn refused(refusal: LimitError) -> Error {
    let (kind, text) = match refusal.source.raw_os_error() {
        Some(libc::EBUSY) => (
            Kind::FailedPrecondition,
            "more than the limit is in use, and cannot be reclaimed",
        ),
        _ => (Kind::InvalidArgument, "limits refused by the kernel"),
    };
    Error::new(kind, text).because(refusal)
}

/// Gives every process of a group the score by which the kernel chooses whom to kill.
fn score_processes(group: &Cgroup, score: i32) {
    for pid in group.processes() {
        // One that is gone needs none. Below its lowest since the last privileged change takes CAP_SYS_RESOURCE.
        if let Err(error) = proc::set_oom_score_adj_of(pid, score)
            && proc::start_time(pid).is_ok()
        {
            tracing::warn!(cgroup = group.path(), pid, score, %error, "oom_score_adj is not set");
        }
    }
}

/// What was set, but for what the kernel holds otherwise.
fn told(set: LinuxContainerResources, limits: &Limits, held: Limits) -> LinuxContainerResources {
    fn number<T: Copy + PartialEq + TryInto<i64>>(told: i64, set: Option<T>, held: Option<T>) -> i64 {
        match held == set {
            true => told,
            false => held.and_then(|held| held.try_into().ok()).unwrap_or_default(),
        }
    }
    let text = |told: String, set: &Option<String>, held: Option<String>| match held == *set {
        true => told,
        false => held.unwrap_or_default(),
    };
    let mut hugepage_limits = set.hugepage_limits;
    for (page_size, limit) in held.hugepages {
        let of_size = |told: &&mut HugepageLimit| told.page_size == page_size;
        if let Some(told) = hugepage_limits.iter_mut().find(of_size) {
            told.limit = limit;
        }
    }
    LinuxContainerResources {
        cpu_shares: number(set.cpu_shares, limits.cpu_shares, held.cpu_shares),
        cpu_quota: number(set.cpu_quota, limits.cpu_quota, held.cpu_quota),
        cpu_period: number(set.cpu_period, limits.cpu_period, held.cpu_period),
        cpuset_cpus: text(set.cpuset_cpus, &limits.cpuset_cpus, held.cpuset_cpus),
        cpuset_mems: text(set.cpuset_mems, &limits.cpuset_mems, held.cpuset_mems),
        memory_limit_in_bytes: number(set.memory_limit_in_bytes, limits.memory, held.memory),
        memory_swap_limit_in_bytes: number(
            set.memory_swap_limit_in_bytes,
            limits.memory_and_swap,
            held.memory_and_swap,
        ),
        hugepage_limits,
        oom_score_adj: set.oom_score_adj,
        unified: set.unified,
    }
}
