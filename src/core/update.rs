//! UpdateContainerResources: the limits of a created or running container.

use std::sync::Arc;

use super::Core;
use super::registry::{Entry, Phase};
use crate::model::{Error, LinuxContainerResources, Result, UpdateContainerResourcesRequest};
use crate::spec::{merge_resources, resources};
use crate::sys::cgroup::Cgroup;
use crate::sys::cgroup::update::Limits;
use crate::sys::step;

impl Core {
    pub(super) async fn update(&self, request: UpdateContainerResourcesRequest) -> Result<()> {
        let entry = self.inner.registry.find(&request.container_id)?;
        let asked = request.linux.unwrap_or_default();
        // Checked by the same rules as at creation, before anything is touched.
        resources(&asked, &self.inner.settings.host)?;
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
        step("update.cgroup");
        let (path, v2) = (
            entry.record.cgroup.clone(),
            self.inner.settings.host.cgroups.is_v2(),
        );
        let (old, new) = (limits(&before, v2), limits(&asked, v2));
        let change = tokio::task::spawn_blocking(move || {
            let group = Cgroup::new(&path).map_err(|e| Error::internal("cgroup").because(e))?;
            group.update(&new).map_err(|refusal| {
                // All or nothing: what was set before the refused one goes back.
                if let Err(error) = group.update(&old) {
                    tracing::error!(cgroup = path, %error, "limits not restored after a refused update");
                }
                Error::invalid("limits refused by the kernel").because(refusal)
            })
        });
        change
            .await
            .map_err(|e| Error::internal("update ended badly").because(e))??;
        entry.set_resources(after.clone());
        step("update.record");
        let mut record = entry.record.clone();
        record.resources = Some(after);
        self.inner.store.put(&entry.id, &record).await?;
        step("update.done");
        Ok(())
    }
}

fn limits(from: &LinuxContainerResources, v2: bool) -> Limits {
    let number = |value: i64| u64::try_from(value).ok().filter(|n| *n != 0);
    let signed = |value: i64| (value != 0).then_some(value);
    let text = |value: &String| (!value.is_empty()).then(|| value.clone());
    Limits {
        cpu_shares: number(from.cpu_shares),
        cpu_quota: signed(from.cpu_quota),
        cpu_period: number(from.cpu_period),
        cpuset_cpus: text(&from.cpuset_cpus),
        cpuset_mems: text(&from.cpuset_mems),
        memory: signed(from.memory_limit_in_bytes),
        memory_and_swap: signed(from.memory_swap_limit_in_bytes),
        pids: None,
        hugepages: from
            .hugepage_limits
            .iter()
            .map(|h| (h.page_size.clone(), h.limit))
            .collect(),
        // Files of the unified hierarchy do not exist on v1; creation says so in a warning.
        unified: match v2 {
            true => from
                .unified
                .iter()
                .map(|(file, value)| (file.clone(), value.clone()))
                .collect(),
            false => vec![],
        },
    }
}
