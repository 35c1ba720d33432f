//! What the tests stand on: a node, daemons on it, images, registries, and short words for pods and containers.

pub(crate) mod api;
pub(crate) mod cgroup;
pub(crate) mod collector;
pub(crate) mod container;
pub(crate) mod crictl;
pub(crate) mod daemon;
pub(crate) mod endpoint;
pub(crate) mod image;
pub(crate) mod node;
pub(crate) mod place;
pub(crate) mod pod;
pub(crate) mod registry;
pub(crate) mod results;
pub(crate) mod stage;
pub(crate) mod tricky;
pub(crate) mod websocket;
pub(crate) mod wild;

use std::future::Future;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

/// Longest wait for anything. Far beyond what is normal even on a loaded machine: only a failure takes it.
const PATIENCE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(20);

/// Makes a [`libtest_mimic::Trial`] of each named `async fn()`.
macro_rules! trials {
    ($($test:ident),+ $(,)?) => {
        vec![$(libtest_mimic::Trial::ignorable_test(
            concat!(module_path!(), "::", stringify!($test)).split_once("::").unwrap().1,
            || crate::harness::endpoint::trial($test()),
        )),+]
    };
}
pub(crate) use trials;

/// Runs a test on the threads that all share: connections outlive the test that opened them.
pub(crate) fn block_on<F: Future>(test: F) -> F::Output {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap()).block_on(test)
}

/// Waits until `probe` has an answer, and returns it. The only place where a test waits for what it cannot be told.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let limit = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(Instant::now() < limit, "waited in vain for this: {what}");
        tokio::time::sleep(INTERVAL).await;
    }
}
