//! The audit: nothing is found where nothing is wrong, however busy the node; each kind of leak is found, put right, and
//! gone.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use coracle::state::{Record, Store};
use coracle::sys::step::board::{Action, Board};
use futures_util::future::join_all;
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::harness::daemon::{Daemon, Place};
use crate::harness::node::{hierarchies, node, shell};
use crate::harness::pod::{Pod, namespaces};
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_busy_node_is_clean,
        a_node_in_churn_is_clean,
        a_node_is_clean_at_rest,
        leaks_are_found_and_put_right_beside_a_daemon,
        leaks_are_found_and_put_right_at_rest,
        a_monitor_that_a_killed_daemon_had_not_let_go_is_no_leak,
        what_a_lost_record_leaves_is_taken_apart,
        a_record_that_cannot_be_read_is_told_and_still_owns,
        a_damaged_store_goes_on_and_containers_with_it,
        a_check_that_cannot_be_made_says_so,
    ]
}

/// Ids that no pod and no container has.
fn stray_id(digit: char) -> String {
    String::from(digit).repeat(64)
}

/// A pod with everything a pod can have.
async fn full_pod<'a>(daemon: &'a Daemon, name: &str) -> Pod<'a> {
    let pod = Pod::run_with(daemon, name, |config| {
        namespaces(config).pid = k8s_cri::v1::NamespaceMode::Pod.into();
    })
    .await;
    pod.idle("main").await;
    pod
}

async fn a_busy_node_is_clean() {
    let daemon = Daemon::with_images("check-busy").await;
    daemon.check().await;
    let pods = join_all((0..4).map(|_| full_pod(&daemon, "busy"))).await;
    let ended = pods[0].start("ended", &["true"]).await;
    ended.exited().await;
    pods[1].create("waiting", &["true"]).await;
    pods[2].stop().await;

    daemon.check().await;

    let pods: Vec<_> = pods
        .iter()
        .map(|pod| (pod.id.clone(), pod.config.clone()))
        .collect();
    let place = daemon.kill().await;
    place.check().await;
    let daemon = Daemon::start(place).await;
    daemon.check().await;
    for (id, config) in &pods {
        Pod::adopted(&daemon, id, config).remove().await;
    }
    daemon.check().await;
}

async fn a_node_in_churn_is_clean() {
    let daemon = Daemon::with_images("check-churn").await;
    let churn = join_all((0..4).map(async |_| {
        for _ in 0..6 {
            let pod = full_pod(&daemon, "churn").await;
            pod.start("short", &["true"]).await;
            pod.remove().await;
        }
    }));
    let checks = async {
        for _ in 0..25 {
            daemon.check().await;
        }
    };

    tokio::join!(churn, checks);

    daemon.check().await;
}

async fn a_node_is_clean_at_rest() {
    let daemon = Daemon::with_images("check-rest").await;
    let pod = full_pod(&daemon, "rest").await;
    let (id, config) = (pod.id.clone(), pod.config.clone());

    let (place, _) = daemon.stop().await;
    place.check().await;

    let daemon = Daemon::start(place).await;
    Pod::adopted(&daemon, &id, &config).remove().await;
    let (place, _) = daemon.stop().await;
    place.check().await;
}

/// Plants one leak of each kind; returns the class and what each is about.
fn plant(place: &Place, pod: &str, ended: &str) -> Vec<(&'static str, String)> {
    let mut planted: Vec<(&'static str, String)> = vec![];
    let path = |path: &Path| path.to_str().unwrap().to_owned();

    let group = format!("{}/{}", place.cgroup_parent(), stray_id('a'));
    for hierarchy in hierarchies() {
        fs::create_dir_all(hierarchy.join(&group[1..])).unwrap();
    }
    planted.push(("cgroup", group));

    let container = place.run.join("containers").join(stray_id('b'));
    fs::create_dir_all(container.join("mounted")).unwrap();
    shell(&format!(
        "mount -t tmpfs leak {}",
        path(&container.join("mounted"))
    ));
    planted.push(("mount", path(&container.join("mounted"))));
    planted.push(("directory", path(&container)));

    let sandbox = place.run.join("sandboxes").join(stray_id('c'));
    fs::create_dir_all(&sandbox).unwrap();
    let pin = path(&sandbox.join("net"));
    shell(&format!(
        "touch {pin} && unshare -n sh -c 'mount --bind /proc/$$/ns/net {pin}'"
    ));
    planted.push(("namespace", pin));
    planted.push(("directory", path(&sandbox)));

    let socket = place.run.join("containers").join(ended).join("monitor.sock");
    drop(UnixListener::bind(&socket).unwrap());
    planted.push(("socket", path(&socket)));

    for (class, name) in [
        ("snapshot", "c"),
        ("layer", "l"),
        ("layer", "m"),
        ("directory", "staging"),
    ] {
        // A number as layers have, in one place only.
        let stray = place.state.join("images").join(name).join(match name {
            "c" => stray_id('d'),
            "l" => "zzzl".into(),
            _ => "zzzm".into(),
        });
        fs::create_dir_all(stray.join("inner")).unwrap();
        planted.push((class, path(&stray)));
    }

    let (network, other) = (place.network(), stray_id('e'));
    let attachments = place.state.join("cni");
    let own = attachments.join(format!("{pod}:{network}:eth0.json"));
    let entry = fs::read_to_string(own).unwrap().replace(pod, &other);
    let stray = attachments.join(format!("{other}:{network}:eth0.json"));
    fs::write(&stray, entry).unwrap();
    planted.push(("attachment", path(&stray)));

    // No other test's plugin may run for the same owner.
    let (address, owner) = ("10.100.250.250", format!("{:064x}", node().number()));
    let file = node().addresses(&network).join(address);
    fs::write(file, format!("{owner}\r\neth0")).unwrap();
    planted.push(("address", format!("{address} of network {network}, for {owner}")));

    let number = node().number();
    shell(&format!(
        "ip link add leak{number} type veth peer name peer{number} && ip link set leak{number} master {network}"
    ));
    planted.push(("link", format!("leak{number}")));
    planted
}

async fn found_and_put_right(place: &Place, planted: &[(&'static str, String)]) {
    let found = place.audit(&[]).await;
    let repaired = place.audit(&["--repair"]).await;

    assert_eq!(found.code, 1, "{:#?}", found.findings);
    assert_eq!(repaired.code, 0, "{:#?}", repaired.findings);
    for (class, thing) in planted {
        assert!(
            found.of(class).contains(&(thing.clone(), false)),
            "{class} {thing} is not among {:#?}",
            found.findings
        );
        assert!(
            repaired.of(class).contains(&(thing.clone(), true)),
            "{class} {thing} is not among {:#?}",
            repaired.findings
        );
    }
    assert_eq!(found.findings.len(), planted.len(), "{:#?}", found.findings);
    place.check().await;
}

async fn leaks_are_found_and_put_right_beside_a_daemon() {
    let daemon = Daemon::with_images_in(Place::with_own_network("leaks")).await;
    let pod = full_pod(&daemon, "leaks").await;
    let ended = pod.start("ended", &["true"]).await;
    ended.exited().await;
    let running = pod.idle("running").await;
    daemon.check().await;

    let planted = plant(&daemon.place, &pod.id, &ended.id);
    found_and_put_right(&daemon.place, &planted).await;

    assert_eq!(running.sh("echo still here").await, "still here\n");
    pod.remove().await;
    daemon.check().await;
}

async fn leaks_are_found_and_put_right_at_rest() {
    let daemon = Daemon::with_images_in(Place::with_own_network("rest")).await;
    let pod = full_pod(&daemon, "leaks").await;
    let ended = pod.start("ended", &["true"]).await;
    ended.exited().await;
    let running = pod.idle("running").await;
    let (id, config, ended) = (pod.id.clone(), pod.config.clone(), ended.id.clone());
    let (container, log) = (running.id.clone(), running.log.clone());
    let (place, _) = daemon.stop().await;

    let planted = plant(&place, &id, &ended);
    found_and_put_right(&place, &planted).await;

    let daemon = Daemon::start(place).await;
    let running = crate::harness::container::Made::adopted(&daemon, &container, &log);
    assert_eq!(running.sh("echo still here").await, "still here\n");
    Pod::adopted(&daemon, &id, &config).remove().await;
    daemon.check().await;
}

async fn a_monitor_that_a_killed_daemon_had_not_let_go_is_no_leak() {
    let place = Place::new("check-end");
    let board = Board::create(&place.steps()).unwrap();
    let daemon = Daemon::with_images_in(place).await;
    let pod = Pod::run(&daemon, "end").await;
    let pid = pod.idle("main").await.pid().await;
    let (id, config) = (pod.id.clone(), pod.config.clone());
    board.arm("end.release", 1, Action::Die);
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    eventually("the daemon is dead", async || board.hit()).await;
    let place = daemon.kill().await;
    place.check().await;
    let daemon = Daemon::start(place).await;
    Pod::adopted(&daemon, &id, &config).remove().await;
    daemon.check().await;
}

/// Any container's record.
#[derive(Serialize, Deserialize)]
struct AnyContainer(serde_json::Value);

impl Record for AnyContainer {
    const TABLE: &'static str = "containers";
}

async fn what_a_lost_record_leaves_is_taken_apart() {
    let daemon = Daemon::with_images("check-lost").await;
    let pod = Pod::run(&daemon, "lost").await;
    let container = pod.idle("lost").await;
    let (id, pid, cgroup) = (container.id.clone(), container.pid().await, pod.cgroup());
    let place = daemon.kill().await;
    let store = Store::open(&place.state.join("state.redb")).unwrap();
    store.remove::<AnyContainer>(&id).await.unwrap();
    store.close().await;
    drop(store);

    let found = place.audit(&[]).await;
    let repaired = place.audit(&["--repair"]).await;

    let directory = place.run.join("containers").join(&id);
    let snapshot = place.state.join("images/c").join(&id);
    for (class, thing) in [
        ("directory", directory.display().to_string()),
        ("snapshot", snapshot.display().to_string()),
        ("cgroup", format!("{cgroup}/{id}")),
    ] {
        assert!(
            found.of(class).contains(&(thing, false)),
            "{class}: {:#?}",
            found.findings
        );
    }
    assert_eq!(found.of("process").len(), 1, "{:#?}", found.findings);
    assert_eq!(repaired.code, 0, "{:#?}", repaired.findings);
    place.check().await;
    eventually("the container is gone", async || {
        kill(Pid::from_raw(pid), None).is_err().then_some(())
    })
    .await;
}

/// The conditions of a daemon, by name.
async fn conditions(daemon: &Daemon) -> Vec<(String, bool, String)> {
    let request = k8s_cri::v1::StatusRequest::default();
    let answer = daemon.runtime().status(request).await.unwrap().into_inner();
    let conditions = answer.status.unwrap().conditions.into_iter();
    conditions
        .map(|condition| (condition.r#type, condition.status, condition.reason))
        .collect()
}

fn condition(name: &str, status: bool, reason: &str) -> (String, bool, String) {
    (name.to_owned(), status, reason.to_owned())
}

async fn a_record_that_cannot_be_read_is_told_and_still_owns() {
    let daemon = Daemon::with_images("check-quarantine").await;
    assert!(
        conditions(&daemon)
            .await
            .contains(&condition("StoreHealthy", true, ""))
    );
    let pod = Pod::run(&daemon, "quarantine").await;
    let container = pod.idle("main").await;
    let (id, pid) = (container.id.clone(), container.pid().await);
    let place = daemon.kill().await;
    let store = Store::open(&place.state.join("state.redb")).unwrap();
    store
        .put(&id, &AnyContainer(serde_json::json!({"of": "a later version"})))
        .await
        .unwrap();
    store.close().await;
    drop(store);

    let daemon = Daemon::start(place).await;

    let told = conditions(&daemon).await;
    assert!(
        told.contains(&condition("StoreHealthy", false, "RecordsQuarantined")),
        "{told:?}"
    );
    assert!(told.contains(&condition("RuntimeReady", true, "")), "{told:?}");
    let audit = daemon.place.audit(&["--repair"]).await;
    assert_eq!(audit.code, 1);
    assert_eq!(audit.of("quarantine"), [(format!("containers/{id}"), false)]);
    assert_eq!(audit.findings.len(), 1, "{:#?}", audit.findings);
    assert!(kill(Pid::from_raw(pid), None).is_ok(), "its container was ended");
}

async fn a_damaged_store_goes_on_and_containers_with_it() {
    let daemon = Daemon::with_images("check-damage").await;
    let pod = full_pod(&daemon, "damage").await;
    let container = pod.idle("second").await;
    let (id, log) = (container.id.clone(), container.log.clone());
    let (pod, config) = (pod.id.clone(), pod.config.clone());
    let (place, _) = daemon.stop().await;
    let file = place.state.join("state.redb");
    let good = fs::read(&file).unwrap();
    // What is written on every page of a tree: no page is left whole.
    let mut bad = good.clone();
    for page in bad.chunks_mut(4096).skip(1) {
        page[0] ^= 0x40;
    }
    fs::write(&file, bad).unwrap();

    let daemon = Daemon::start(place).await;

    let said = fs::read_to_string(daemon.place.log()).unwrap();
    assert!(said.contains("panicked"), "the database reads it all");
    let told = conditions(&daemon).await;
    assert!(
        told.contains(&condition("StoreHealthy", false, "StoreDamaged")),
        "{told:?}"
    );
    assert!(told.contains(&condition("RuntimeReady", true, "")), "{told:?}");
    let container = crate::harness::container::Made::adopted(&daemon, &id, &log);
    assert_eq!(container.sh("echo still here").await, "still here\n");
    let audit = daemon.place.audit(&[]).await;
    assert_eq!(audit.of("store").len(), 1, "{:#?}", audit.findings);
    assert_eq!(audit.findings.len(), 1, "{:#?}", audit.findings);
    fs::remove_file(&audit.of("store")[0].0).unwrap();
    Pod::adopted(&daemon, &pod, &config).remove().await;
    daemon.check().await;
    let told = conditions(&daemon).await;
    assert!(told.contains(&condition("StoreHealthy", true, "")), "{told:?}");
}

async fn a_check_that_cannot_be_made_says_so() {
    let output = Command::new(env!("CARGO_BIN_EXE_coracle"))
        .args(["--state-dir", "/nonexistent/state", "check", "--json"])
        .stdin(Stdio::null())
        .output()
        .unwrap();

    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("/nonexistent/state"), "{told}");
    assert!(!PathBuf::from("/nonexistent").exists());
}
