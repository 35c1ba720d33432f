//! Network plugins that misbehave: no pod waits for them longer than it must, and no address is lost.

use k8s_cri::v1;
use libtest_mimic::Trial;
use serde_json::json;
use tonic::Code;

use crate::harness::daemon::{Daemon, Place, refused};
use crate::harness::pod::{Pod, config};
use crate::harness::wild::{Wild, detail, status};
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_pod_that_cannot_be_attached_leaves_nothing,
        a_plugin_that_hangs_is_killed_and_undone,
        a_plugin_that_succeeds_after_its_deadline_keeps_no_address,
        processes_that_outlive_a_plugin_hold_up_nothing,
        deleting_a_pod_does_not_wait_for_its_network,
        a_debt_that_lasts_is_told_and_paid_in_the_end,
        status_neither_runs_a_plugin_nor_waits_for_one,
        what_nobody_holds_is_collected_at_the_start,
        no_address_is_lost_when_three_calls_in_ten_fail,
    ]
}

/// Longer than any real plugin takes, on a loaded machine too.
const PATIENT: u32 = 60;
/// For tests that wait for it to pass.
const SHORT: u32 = 5;

async fn node_with(version: &str, timeout_seconds: u32) -> (Daemon, Wild) {
    let place = Place::new("wild");
    let wild = Wild::new(&place, version, timeout_seconds);
    (Daemon::start(place).await, wild)
}

async fn refusal(daemon: &Daemon, name: &str) -> tonic::Status {
    let request = v1::RunPodSandboxRequest {
        config: Some(config(daemon, name)),
        ..Default::default()
    };
    refused(daemon.runtime().run_pod_sandbox(request)).await
}

async fn pods(daemon: &Daemon) -> Vec<v1::PodSandbox> {
    let request = v1::ListPodSandboxRequest::default();
    daemon
        .runtime()
        .list_pod_sandbox(request)
        .await
        .unwrap()
        .into_inner()
        .items
}

/// Waits until the network holds nothing, and nobody thinks that it does.
async fn nothing_is_left(daemon: &Daemon, wild: &Wild) {
    eventually("no debts, no addresses, no interfaces", async || {
        let debts = detail(daemon, "networkDebts").await;
        (debts == json!({}) && wild.leases().is_empty() && wild.interfaces() == 0).then_some(())
    })
    .await;
    assert!(pods(daemon).await.is_empty());
}

async fn a_pod_that_cannot_be_attached_leaves_nothing() {
    let (daemon, wild) = node_with("1.0.0", PATIENT).await;
    for (what, expected) in [
        ("fail", "plugin wild refused ADD: refuses as told (code 100)"),
        ("fail-late", "refuses as told"),
        ("oops", "no readable error; it wrote \"oops\""),
        ("garbage", "the answer \"oops\" is not JSON"),
        ("half", "no valid result"),
        ("flood", "answered ADD with more than 1 MiB"),
        ("killed", "signal: 9"),
    ] {
        wild.tell("ADD", what);

        let refusal = refusal(&daemon, "refused").await;

        assert!(refusal.message().contains(expected), "{what}: {refusal}");
        assert_eq!(refusal.code(), Code::Internal, "{what}: {refusal}");
        assert!(pods(&daemon).await.is_empty(), "{what}");
        assert_eq!(wild.leases(), [], "{what}");
    }
    wild.behave();
    let pod = Pod::run_with(&daemon, "after", |_| {}).await;
    assert_eq!(wild.leases().len(), 1);
    pod.remove().await;
    nothing_is_left(&daemon, &wild).await;
}

async fn a_plugin_that_hangs_is_killed_and_undone() {
    let (daemon, wild) = node_with("1.0.0", SHORT).await;
    wild.tell("ADD", "hang");

    let refusal = refusal(&daemon, "hangs").await;

    assert!(refusal.message().contains("was killed after"), "{refusal}");
    nothing_is_left(&daemon, &wild).await;
}

async fn a_plugin_that_succeeds_after_its_deadline_keeps_no_address() {
    let (daemon, wild) = node_with("1.0.0", SHORT).await;
    wild.tell("ADD", "late");

    let refusal = refusal(&daemon, "late").await;
    eventually("the late call is over", async || wild.late_done().then_some(())).await;

    assert!(refusal.message().contains("once more later"), "{refusal}");
    nothing_is_left(&daemon, &wild).await;
}

async fn processes_that_outlive_a_plugin_hold_up_nothing() {
    let (daemon, wild) = node_with("1.0.0", PATIENT).await;
    wild.tell("ADD", "orphan");
    wild.tell("DEL", "orphan");

    let pod = Pod::run_with(&daemon, "orphans", |_| {}).await;
    let ip = pod.ip().await;
    let held = wild.leases();
    pod.remove().await;

    assert_eq!(held[0].0, ip);
    nothing_is_left(&daemon, &wild).await;
}

async fn deleting_a_pod_does_not_wait_for_its_network() {
    let (daemon, wild) = node_with("1.0.0", PATIENT).await;
    for what in ["fail", "oops", "hang"] {
        let pod = Pod::run_with(&daemon, "deleted", |_| {}).await;
        wild.tell("DEL", what);

        pod.remove().await;

        assert!(pods(&daemon).await.is_empty(), "{what}");
        let debts = detail(&daemon, "networkDebts").await;
        let owed = debts[&pod.id]["sandbox"].as_str().unwrap_or_default();
        assert!(owed.starts_with("e2e/deleted"), "{what}: {debts}");
        assert_eq!(wild.leases().len(), 1, "{what}");
        wild.behave();
        nothing_is_left(&daemon, &wild).await;
    }
    let counts = detail(&daemon, "networkDebtCounts").await;
    assert_eq!(
        (&counts["takenOn"], &counts["paid"]),
        (&json!(3), &json!(3)),
        "{counts}"
    );
}

async fn a_debt_that_lasts_is_told_and_paid_in_the_end() {
    let (daemon, wild) = node_with("1.0.0", PATIENT).await;
    let pod = Pod::run_with(&daemon, "owes", |_| {}).await;
    wild.tell("DEL", "fail");
    pod.remove().await;
    let id = pod.id;

    let told = eventually("the debt is a condition", async || {
        let conditions = status(&daemon).await.status.unwrap().conditions;
        conditions.into_iter().find(|c| c.r#type == "NetworkReleased")
    })
    .await;
    let (place, _) = daemon.stop().await;
    let daemon = Daemon::start(place).await;
    let after = detail(&daemon, "networkDebts").await;
    wild.behave();
    let (place, _) = daemon.stop().await;
    let daemon = Daemon::start(place).await;
    nothing_is_left(&daemon, &wild).await;

    assert!(!told.status);
    assert_eq!(told.reason, "NetworkDebts");
    assert!(
        told.message.contains("e2e/owes") && told.message.contains("refuses as told"),
        "{told:?}"
    );
    assert!(after.get(&id).is_some(), "{after}");
}

async fn status_neither_runs_a_plugin_nor_waits_for_one() {
    let place = Place::new("wild");
    let wild = Wild::new(&place, "1.1.0", SHORT);
    wild.tell("STATUS", "hang");
    wild.tell("ADD", "hang");
    let daemon = Daemon::start(place).await;
    eventually("the plugin is asked how it is", async || {
        wild.calls()
            .iter()
            .any(|call| call.starts_with("STATUS"))
            .then_some(())
    })
    .await;
    let before = wild.calls();

    let mut answers = Vec::new();
    for _ in 0..50 {
        answers.push(status(&daemon).await);
    }
    let after = wild.calls();

    // The daemon itself asks a plugin that did not answer again, one at a time and seconds later.
    assert!(after.len() <= before.len() + 1, "{before:?} {after:?}");
    for answer in answers {
        let conditions = answer.status.unwrap().conditions;
        let network = conditions.iter().find(|c| c.r#type == "NetworkReady").unwrap();
        assert!(!network.status, "{network:?}");
    }
    wild.behave();
    eventually("the network is ready", async || {
        let conditions = status(&daemon).await.status.unwrap().conditions;
        conditions
            .iter()
            .any(|c| c.r#type == "NetworkReady" && c.status)
            .then_some(())
    })
    .await;
}

async fn what_nobody_holds_is_collected_at_the_start() {
    let (daemon, wild) = node_with("1.1.0", PATIENT).await;
    let pod = Pod::run_with(&daemon, "holds", |_| {}).await;
    let (id, config) = (pod.id, pod.config);
    let held = wild.leases();
    wild.lose_address();
    let lost = wild.leases();

    let (place, _) = daemon.stop().await;
    let daemon = Daemon::start(place).await;

    eventually("the lost address is given back", async || {
        (wild.leases() == held).then_some(())
    })
    .await;
    assert_eq!((held.len(), lost.len()), (1, 2));
    Pod::adopted(&daemon, &id, &config).remove().await;
    nothing_is_left(&daemon, &wild).await;
}

async fn no_address_is_lost_when_three_calls_in_ten_fail() {
    let pods: usize = match std::env::var("CORACLE_E2E_PODS") {
        Ok(number) => number.parse().unwrap(),
        Err(_) => 60,
    };
    let (daemon, wild) = node_with("1.0.0", PATIENT).await;
    wild.tell("ADD", "some");
    wild.tell("DEL", "some");

    let mut failed = 0;
    let mut left = pods;
    while left > 0 {
        let batch = left.min(8);
        let runs = (0..batch).map(|_| run_as_a_kubelet(&daemon));
        failed += futures_util::future::join_all(runs)
            .await
            .into_iter()
            .sum::<usize>();
        left -= batch;
    }
    let calls = wild.calls();
    wild.behave();
    // Debts are tried at once at the start.
    let (place, _) = daemon.stop().await;
    let daemon = Daemon::start(place).await;
    nothing_is_left(&daemon, &wild).await;

    assert!(failed > 0, "no call failed");
    eprintln!(
        "{pods} pods, {} plugin calls, {failed} failed attempts, 0 addresses lost",
        calls.len()
    );
}

/// Runs a pod until that succeeds, and removes it; returns how often it did not.
async fn run_as_a_kubelet(daemon: &Daemon) -> usize {
    let mut config = config(daemon, "churn");
    for failed in 0.. {
        let request = v1::RunPodSandboxRequest {
            config: Some(config.clone()),
            ..Default::default()
        };
        match daemon.runtime().run_pod_sandbox(request).await {
            Ok(answer) => {
                let id = answer.into_inner().pod_sandbox_id;
                Pod::adopted(daemon, &id, &config).remove().await;
                return failed;
            }
            Err(_) => config.metadata.as_mut().unwrap().attempt += 1,
        }
    }
    unreachable!("the loop has no end of its own")
}
