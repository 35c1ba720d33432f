//! The step points, each once, by the process that passes it: the daemon, the zygote, a monitor, its workers, a first
//! process in its last stage. A test holds this table and the marks in the sources to each other.

/// Every name that [`step`](super::step()) is called with.
pub const POINTS: &[&str] = &[
    "adapter.pin.memory",
    "adapter.pin.namespaces",
    "adapter.pin.reaper",
    "adapter.release.memory",
    "adapter.release.namespace",
    "adapter.release.reaper",
    "adapter.remove.containers",
    "adapter.remove.directory",
    "adapter.remove.done",
    "adapter.remove.record",
    "adapter.run.attached",
    "adapter.run.directory",
    "adapter.run.done",
    "adapter.run.file",
    "adapter.run.files",
    "adapter.run.network",
    "adapter.run.pin",
    "adapter.run.ready",
    "adapter.run.record",
    "adapter.settle.directory",
    "adapter.settle.release",
    "adapter.stop.containers",
    "adapter.stop.detached",
    "adapter.stop.network",
    "adapter.stop.record",
    "adapter.stop.release",
    "adapter.update.record",
    "api.log.remove",
    "apparmor.load",
    "cgroup.above",
    "cgroup.cpuset",
    "create.cgroup",
    "create.container",
    "create.directory",
    "create.done",
    "create.label",
    "create.mark",
    "create.monitor",
    "create.network",
    "create.observation",
    "create.record",
    "create.scope",
    "create.snapshot",
    "create.volume",
    "end.record",
    "end.release",
    "image.discard",
    "image.discarded",
    "image.layer.content",
    "image.layer.describe",
    "image.layer.done",
    "image.layer.publish",
    "image.layer.sync",
    "image.snapshot.give",
    "image.snapshot.make",
    "image.snapshot.publish",
    "image.stage",
    "image.sweep",
    "image.volume.publish",
    "monitor.begin",
    "monitor.close",
    "monitor.create",
    "monitor.created",
    "monitor.death",
    "monitor.delete",
    "monitor.deleted",
    "monitor.door",
    "monitor.exec",
    "monitor.exit.record",
    "monitor.exit.recorded",
    "monitor.log",
    "monitor.signal",
    "monitor.start",
    "monitor.started",
    "network.append",
    "network.forget",
    "network.orphans",
    "network.plugin",
    "network.plugin.ran",
    "network.plugin.runs",
    "network.record",
    "network.recorded",
    "network.write",
    "node.directory.make",
    "node.directory.remember",
    "node.file.back",
    "node.file.forget",
    "node.file.remember",
    "node.file.write",
    "node.install.command",
    "node.install.current",
    "node.install.program",
    "node.install.record",
    "node.install.started",
    "node.restore.begin",
    "node.restore.started",
    "node.restore.vacated",
    "node.switch.begin",
    "node.switch.started",
    "node.switch.stopped",
    "node.switch.vacated",
    "node.uninstall.program",
    "node.uninstall.stopped",
    "stage.begin",
    "stage.end",
    "start.done",
    "start.monitor",
    "start.observation",
    "state.commit",
    "state.committed",
    "stop.kill",
    "stop.signal",
    "teardown.cgroup",
    "teardown.directory",
    "teardown.done",
    "teardown.monitor",
    "teardown.record",
    "teardown.scope",
    "teardown.snapshot",
    "update.cgroup",
    "update.done",
    "update.record",
    "update.scope",
    "worker.create",
    "worker.created",
    "worker.delete",
    "worker.delete.engine",
    "worker.delete.state",
    "worker.exec.fork",
    "worker.exec.joined",
    "worker.mounts",
    "worker.overlay",
    "worker.restricted",
    "worker.start",
    "worker.started",
    "zygote.answer",
    "zygote.begin",
    "zygote.fork",
    "zygote.pinned",
    "zygote.placeholder",
    "zygote.ready",
    "zygote.reaper.go",
    "zygote.reaper.note",
    "zygote.worker",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// The names in the sources' calls of `step`, one for each call.
    fn marks(dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                marks(&path, found);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                let calls = text.split("step(\"").skip(1);
                found.extend(calls.filter_map(|rest| Some(rest.split_once("\")")?.0.to_owned())));
            }
        }
    }

    #[test]
    fn the_table_has_every_point_of_the_sources_once_and_no_other() {
        let mut found = vec![];
        for module in [
            "api",
            "app",
            "cli",
            "cni",
            "core",
            "cri",
            "image",
            "monitor",
            "state",
            "sys/cgroup",
        ] {
            marks(
                &Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(module),
                &mut found,
            );
        }
        found.sort();

        assert_eq!(found, POINTS);
    }
}
