//! The three processes of a run, each this same program:
//!
//! ```text
//!  outside   what cargo started. Makes the directory, waits, removes what is left
//!   `- init  PID 1 of a PID namespace, in mount and network namespaces of its own: adopts and reaps
//!                what the tests, the daemons and the dead leave. When it ends the kernel kills all of them
//!       `- tests   builds the node and runs the tests
//! ```
//!
//! Beside a runtime that is not ours there is no `init`: its namespaces are those of all three.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{Pid, Uid};

use super::node::{self, Node};
use super::{block_on, endpoint};

const STAGE: &str = "CORACLE_E2E_STAGE";
const DIRECTORY: &str = "CORACLE_E2E_DIR";

/// Runs the stage that the environment names. `tests` is called in the last one.
pub(crate) fn main(tests: fn() -> Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of a test's time is waiting for something to end.
    arguments.test_threads.get_or_insert(8);
    match std::env::var(STAGE).as_deref() {
        Ok("init") => init(),
        Ok("tests") => inside(&arguments, tests()),
        _ if arguments.list => libtest_mimic::run(&arguments, tests()).exit_code(),
        _ => outside(),
    }
}

fn outside() -> ExitCode {
    assert!(Uid::effective().is_root(), "these tests need root");
    // Memory when there is any: flushing to a slow disk would drown what is tested.
    let parent = Some("/dev/shm").filter(|shm| Path::new(shm).is_dir());
    let parent = parent.map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::Builder::new()
        .prefix("coracle-e2e-")
        // Passed by the roots of user namespaces.
        .permissions(fs::Permissions::from_mode(0o711))
        .tempdir_in(parent)
        .unwrap();
    if endpoint::given().is_some() {
        return beside(directory.path());
    }
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID).unwrap();
    private_mounts();

    let status = again("init", directory.path()).status().unwrap();

    node::remove_cgroups(&node::cgroup_parent(directory.path()));
    if let Some(logs) = std::env::var_os("CORACLE_E2E_LOGS") {
        keep_logs(directory.path(), Path::new(&logs));
    }
    exit_code(status)
}

/// Runs the tests beside a runtime that is not ours, in the namespaces that are here: they have to be its own.
fn beside(directory: &Path) -> ExitCode {
    let mut tests = again("tests", directory).process_group(0).spawn().unwrap();
    let status = tests.wait().unwrap();
    // What the tests have started and not ended.
    let group = Pid::from_raw(i32::try_from(tests.id()).unwrap());
    let _none = killpg(group, Signal::SIGKILL);
    node::unmount_below(directory);
    // What a runtime says is stopped holds its cgroup for a moment.
    let parent = node::cgroup_parent(directory);
    for _ in 0..100 {
        if !node::is_busy(&parent) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    node::remove_cgroups(&parent);
    exit_code(status)
}

fn init() -> ExitCode {
    // The namespaces are the last holders of the mounts below, so nothing has to be unmounted.
    set_pdeathsig(Signal::SIGKILL).unwrap();
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    private_mounts();
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None::<&str>,
    )
    .unwrap();
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    #[allow(clippy::zombie_processes, reason = "waited for below, with all the others")]
    let tests = again("tests", &directory).spawn().unwrap();
    let tests = Pid::from_raw(i32::try_from(tests.id()).unwrap());
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if pid == tests => {
                return ExitCode::from(u8::try_from(code).unwrap_or(1));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == tests => {
                return ExitCode::from(128 + signal as u8);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => panic!("cannot wait for the tests: {error}"),
        }
    }
}

fn inside(arguments: &Arguments, tests: Vec<Trial>) -> ExitCode {
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    if endpoint::given().is_some() {
        set_pdeathsig(Signal::SIGKILL).unwrap();
        endpoint::be_quiet_about_skips();
        Node::visit(directory);
    } else {
        Node::build(directory);
    }
    let conclusion = libtest_mimic::run(arguments, tests);
    if let Some(socket) = endpoint::given() {
        block_on(endpoint::leave(&socket));
    }
    conclusion.exit_code()
}

/// This program once more, with the same arguments, as `stage`.
fn again(stage: &str, directory: &Path) -> Command {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(arguments)
        .env(STAGE, stage)
        .env(DIRECTORY, directory);
    // Proxies are not for addresses of pods, nor for registries on loopback.
    for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy).env_remove(proxy.to_uppercase());
    }
    command
}

fn private_mounts() {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
}

/// Copies the daemons' logs to where the caller wants them.
fn keep_logs(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        if entry.path().extension().is_some_and(|kind| kind == "log") {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
