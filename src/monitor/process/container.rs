//! The only caller of libcontainer: create, start, delete. Each runs in a worker of its own, because libcontainer changes
//! the process it runs in (dumpable flag, working directory) and leaves descriptors and children behind on failure.

use crate::monitor::process::last_stage::LastStage;
use crate::monitor::process::worker::{Outcome, Report};
use crate::monitor::process::{clamp, devices, failure, proc_mounts, rootfs, trace};
use crate::monitor::protocol::{CreateRequest, FIRST_NAMESPACE, Failure, FailureKind, Stdio};
use crate::monitor::seccomp::Filter;
use crate::sys::cgroup::Cgroup;
use crate::sys::{fds, namespace, proc, pty, signal, socket, step};
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long removal waits for processes that the kernel has not finished with.
const DYING: Duration = Duration::from_secs(2);

/// What a create worker is given, beside the request.
#[derive(Debug)]
pub(super) struct Inputs {
    /// The container's directory, for a socket.
    pub(super) dir: PathBuf,
    /// Mount namespace to leave from.
    pub(super) lean: OwnedFd,
    /// Standard streams; not with a terminal.
    pub(super) stdio: Option<[OwnedFd; 3]>,
    /// Mount trees.
    pub(super) trees: Vec<OwnedFd>,
    /// Namespaces to join.
    pub(super) namespaces: Vec<OwnedFd>,
    /// The last stage's report.
    pub(super) failure: OwnedFd,
    /// Held by every process that has a hand in this, whatever becomes of the monitor.
    pub(super) making: OwnedFd,
}

/// What stays of a create request.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    /// Container id.
    pub(super) id: String,
    /// The engine's directory.
    pub(super) state_root: PathBuf,
    /// The container's cgroup.
    pub(super) cgroup: Cgroup,
}

impl Engine {
    fn state(&self) -> PathBuf {
        self.state_root.join(&self.id)
    }

    fn load(&self) -> Result<Container, LibcontainerError> {
        Container::load(self.state())
    }
}

/// Our last stage in libcontainer's place for it: inside the container's first process, after "start".
#[derive(Clone)]
struct Stage(Arc<Mutex<Option<LastStage>>>);

impl Executor for Stage {
    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        match self.0.lock().map(|mut stage| stage.take()) {
            Ok(Some(stage)) => stage.run(),
            _ => Err(ExecutorError::InvalidArg),
        }
    }

    /// Nothing to check beforehand: `execve` itself is asked, and its errno is reported.
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }

    /// The environment goes to `execve` directly.
    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

/// Creates the container. On failure nothing of it is left but what is still busy.
pub(super) fn create(engine: &Engine, request: CreateRequest, inputs: Inputs) -> Outcome {
    let result = build(engine, request, inputs);
    if result.is_err() {
        undo(engine);
    }
    result
}

fn build(engine: &Engine, mut request: CreateRequest, mut inputs: Inputs) -> Outcome {
    let warnings = clamp::clamp(&mut request.process);
    let user = request.idmap.map(|number| {
        let missing = || failure::of(FailureKind::Invalid, "no user namespace came with the call");
        inputs.namespaces.get(number).ok_or_else(missing)
    });
    let trees = std::mem::take(&mut inputs.trees);
    rootfs::prepare(&request, &inputs.lean, trees, user.transpose()?)?;
    // The trees are attached and their numbers free again: these have theirs for certain.
    let mut joined = vec![];
    for (number, namespace) in (FIRST_NAMESPACE..).zip(&inputs.namespaces) {
        joined.push(fds::copy_to(namespace, number).map_err(failure::at("namespace descriptor"))?);
    }
    if let Some(score) = request.process.oom_score_adj {
        // Inherited by the container; the engine would set it on us as well, but not report why it cannot.
        proc::set_oom_score_adj(score).map_err(failure::at("set oom_score_adj"))?;
    }
    std::fs::create_dir_all(&request.state_root).map_err(failure::at("make the engine's directory"))?;
    let (console, owner) = (Console::listen(&inputs.dir, request.stdio)?, request.stdio_owner);
    let bundle = request.bundle.clone();
    let pid = run_engine(engine, request, inputs, &console)?;
    step("worker.created");
    proc_mounts::check(pid, &bundle)?;
    devices::restrict(&engine.cgroup, &bundle)?;
    step("worker.restricted");
    let master = console.accept(owner)?;
    Ok((
        Report {
            pid,
            warnings,
            error: None,
        },
        master,
    ))
}

/// Has libcontainer make the container; returns its first process.
fn run_engine(
    engine: &Engine,
    request: CreateRequest,
    inputs: Inputs,
    console: &Console,
) -> Result<i32, Failure> {
    let filter = read_filter(request.process.seccomp.as_deref())?;
    let stage = LastStage {
        process: request.process,
        filter,
        make_cwd: true,
        proc: None,
        failure: inputs.failure,
    };
    let causes = trace::install().map_err(failure::at("prepare a worker"))?;
    // The engine writes to hooks, which may end without having read it.
    signal::ignore_broken_pipes();
    step("worker.create");
    let create = || {
        let mut builder = ContainerBuilder::new(engine.id.clone(), SyscallType::default())
            .with_root_path(&request.state_root)?
            .with_executor(Stage(Arc::new(Mutex::new(Some(stage)))));
        if let Some([stdin, stdout, stderr]) = inputs.stdio {
            builder = builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr);
        }
        builder
            .with_console_socket(console.path())
            .validate_id()?
            .as_init(&request.bundle)
            .with_systemd(false)
            .with_detach(true)
            .as_sibling(true)
            .build()
    };
    let container = create().map_err(|e| engine_failure(&e, Some(&causes)))?;
    Ok(container.pid().map_or(0, |pid| pid.as_raw()))
}

/// Lets the created process go on to its last stage.
pub(super) fn start(engine: &Engine) -> Outcome {
    step("worker.start");
    engine
        .load()
        .and_then(|mut container| container.start())
        .map_err(|e| engine_failure(&e, None))?;
    step("worker.started");
    Ok((Report::default(), None))
}

/// Removes cgroups and engine state of a container whose first process is gone. What is missing is fine.
/// Runs among the lean mounts, because the engine reads the mount table.
pub(super) fn delete(engine: &Engine, lean: &OwnedFd) -> Outcome {
    namespace::enter_one(lean).map_err(failure::at("enter the mount namespace"))?;
    step("worker.delete");
    // Processes of a shared PID namespace may have outlived the first one.
    engine
        .cgroup
        .kill()
        .map_err(failure::at("kill the container's processes"))?;
    engine.cgroup.remove_children();
    let removed = match engine.state().join("state.json").exists() {
        true => engine.load().and_then(|mut container| container.delete(true)),
        false => Ok(()),
    };
    step("worker.delete.engine");
    // The engine's own removal is not recursive and gives up on what is busy.
    engine
        .cgroup
        .remove(DYING)
        .map_err(failure::at("remove the container's cgroup"))?;
    step("worker.delete.state");
    match std::fs::remove_dir_all(engine.state()) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failure::at("remove engine state")(e)),
        // All is gone, so whatever the engine did not like has been cured.
        _ if removed.is_ok() || !engine.cgroup.exists() => Ok((Report::default(), None)),
        _ => removed
            .map(|()| Default::default())
            .map_err(|e| engine_failure(&e, None)),
    }
}

fn undo(engine: &Engine) {
    let _ = engine.cgroup.kill();
    let _ = engine.cgroup.remove(DYING);
    let _ = std::fs::remove_dir_all(engine.state());
}

/// Reads a compiled filter while the host's files are in sight.
pub(super) fn read_filter(path: Option<&Path>) -> Result<Option<Filter>, Failure> {
    path.map(Filter::read)
        .transpose()
        .map_err(failure::at("read the seccomp filter"))
}

fn engine_failure(error: &LibcontainerError, causes: Option<&trace::Causes>) -> Failure {
    let text = failure::chain(error);
    failure::of(
        FailureKind::Runtime,
        causes.map_or(text.clone(), |causes| causes.explain(text)),
    )
}

/// The socket on which libcontainer hands over a terminal's master side.
struct Console(Option<(PathBuf, OwnedFd)>);

impl Console {
    fn listen(dir: &Path, stdio: Stdio) -> Result<Console, Failure> {
        if !matches!(stdio, Stdio::Terminal(_) | Stdio::GivenTerminal(_)) {
            return Ok(Console(None));
        }
        let path = dir.join("console.sock");
        let listener = socket::listen_stream(&path).map_err(failure::at("console socket"))?;
        Ok(Console(Some((path, listener))))
    }

    fn path(&self) -> Option<PathBuf> {
        self.0.as_ref().map(|(path, _)| path.clone())
    }

    /// Takes the master side; gives the other side to the container's user.
    fn accept(self, owner: (u32, u32)) -> Result<Option<OwnedFd>, Failure> {
        let Some((path, listener)) = self.0 else {
            return Ok(None);
        };
        let take = || {
            let master = socket::accept_descriptor(&listener)?;
            let slave = pty::peer(&master)?;
            rustix::fs::fchown(&slave, Some(rustix::fs::Uid::from_raw(owner.0)), None)?;
            Ok(master)
        };
        let master = take().map_err(|e: std::io::Error| failure::at("take the terminal")(e));
        let _ = std::fs::remove_file(path);
        master.map(Some)
    }
}
