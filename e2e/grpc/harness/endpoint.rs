//! A runtime that is not ours, named by its socket: which tests are not for it, and whose turn it is.
//!
//! A test that needs our daemon comes to a door of the harness that is closed then ([`ours`]), and is skipped with the
//! door's reason.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind, set_hook, take_hook};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use coracle::cri::client;
use k8s_cri::v1;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use libtest_mimic::{Completion, Failed};
use tokio::time::timeout;

use super::block_on;

/// Far more than any test takes.
const LONGEST: Duration = Duration::from_secs(120);
const VARIABLE: &str = "CORACLE_E2E_ENDPOINT";

/// What a test needs that only our daemon has.
struct NotOurs(&'static str);

/// The socket of the runtime under test, when it is not one that the tests start.
pub(crate) fn given() -> Option<PathBuf> {
    let socket = std::env::var(VARIABLE).ok()?;
    Some(socket.strip_prefix("unix://").unwrap_or(&socket).into())
}

/// Ends the test, as skipped, when the runtime is not ours. `what` it does goes on "the test …".
pub(crate) fn ours(what: &'static str) {
    if given().is_some() {
        panic_any(NotOurs(what));
    }
}

/// Has [`ours`] print nothing: it is no failure.
pub(crate) fn be_quiet_about_skips() {
    let hook = take_hook();
    set_hook(Box::new(move |panic| {
        if !panic.payload().is::<NotOurs>() {
            hook(panic);
        }
    }));
}

/// Runs a test in its turn.
pub(crate) fn trial(test: impl Future<Output = ()>) -> Result<Completion, Failed> {
    take(Turn::Shared);
    // Futures of tests are large, and the stacks of their threads are not.
    let test = Box::pin(test);
    let test = async {
        match given() {
            // What is not ours may leave a test waiting for ever.
            Some(_) => timeout(LONGEST, test).await.expect("the test ends"),
            None => test.await,
        }
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| block_on(test)));
    HELD.take();
    match outcome.map_err(<Box<dyn Any + Send>>::downcast::<NotOurs>) {
        Ok(()) => Ok(Completion::Completed),
        Err(Ok(needs)) => Ok(Completion::ignored_with(needs.0)),
        Err(Err(failure)) => resume_unwind(failure),
    }
}

/// Removes the pods that tests have left on it, those of a failed test among them.
pub(crate) async fn leave(socket: &Path) {
    let channel = client::channel(socket).await.unwrap();
    let mut runtime = RuntimeServiceClient::new(channel);
    let listed = runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default());
    let pods = listed.await.unwrap().into_inner().items;
    for pod in pods.into_iter().filter(is_of_tests) {
        let stop = v1::StopPodSandboxRequest {
            pod_sandbox_id: pod.id.clone(),
        };
        let stopped = runtime.stop_pod_sandbox(stop).await.map(drop);
        let remove = v1::RemovePodSandboxRequest {
            pod_sandbox_id: pod.id.clone(),
        };
        if let Err(error) = stopped.and(runtime.remove_pod_sandbox(remove).await.map(drop)) {
            eprintln!("pod {} stays: {error}", pod.id);
        }
    }
}

/// Whether a pod is one that tests make. On a runtime that is ours all are.
pub(crate) fn is_of_tests(pod: &v1::PodSandbox) -> bool {
    let namespace = pod.metadata.as_ref().map(|metadata| metadata.namespace.as_str());
    given().is_none() || matches!(namespace, Some("e2e" | "old"))
}

/// Tests of the one runtime that there is run beside each other, unless one compares all that it has before and after.
static TURNS: RwLock<()> = RwLock::new(());

thread_local! {
    /// The turn of the test on this thread.
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

#[expect(dead_code, reason = "held, not read")]
enum Held {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

#[derive(Clone, Copy)]
enum Turn {
    Shared,
    Alone,
}

/// Waits until no other test runs, and keeps it so to the end of this one.
pub(crate) fn alone() {
    take(Turn::Alone);
}

fn take(turn: Turn) {
    if given().is_none() {
        return;
    }
    HELD.take();
    let held = match turn {
        Turn::Shared => Held::Shared(TURNS.read().unwrap_or_else(PoisonError::into_inner)),
        Turn::Alone => Held::Alone(TURNS.write().unwrap_or_else(PoisonError::into_inner)),
    };
    HELD.set(Some(held));
}
