//! A configuration that changes while the daemon runs: what is taken, what is refused, what has to wait.

use std::fs;
use std::os::unix::fs::symlink;

use k8s_cri::v1;
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::daemon::{Daemon, Place, refused};
use crate::harness::image::Packing;
use crate::harness::node::node;
use crate::harness::pod::Pod;
use crate::harness::registry::Registry;
use crate::harness::{eventually, trials};
use crate::pulls::{image, request};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        changed_files_change_what_is_done_from_then_on,
        a_signal_reads_files_that_no_watch_sees,
        a_broken_file_is_refused_and_the_old_values_stay,
        keys_that_need_a_new_start_are_named,
        what_is_logged_changes_at_run_time,
    ]
}

/// The names of the daemon's handlers.
async fn handlers(daemon: &Daemon) -> Vec<String> {
    let status = daemon.runtime().status(v1::StatusRequest::default()).await;
    let handlers = status.unwrap().into_inner().runtime_handlers;
    handlers.into_iter().map(|handler| handler.name).collect()
}

/// Waits until a handler is there, or is not there any more.
async fn until(daemon: &Daemon, handler: &str, there: bool) {
    eventually(&format!("handler {handler} is there: {there}"), async || {
        let known = handlers(daemon).await.iter().any(|name| name == handler);
        (known == there).then_some(())
    })
    .await;
}

/// Waits until the daemon has written a line with all of these words, and returns it.
async fn told(daemon: &Daemon, words: &[&str]) -> String {
    eventually(&format!("the log says {words:?}"), async || {
        let log = fs::read_to_string(daemon.place.log()).unwrap();
        let mut lines = log.lines();
        let found = lines.find(|line| words.iter().all(|word| line.contains(word)));
        found.map(str::to_owned)
    })
    .await
}

async fn changed_files_change_what_is_done_from_then_on() {
    let daemon = Daemon::with_images("changed").await;
    let registry = Registry::start().await;
    registry.push("e2e/large", "1", &image(Packing::Plain)).await;
    let name = format!("{}/e2e/large:1", registry.host);
    let pod = Pod::run(&daemon, "changed").await;
    let limit = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; true";
    let before = pod.output("before", limit).await;

    daemon.place.set(
        "[runtimes.live]\nread_only = true\n[containers]\npids_limit = 77\n[images]\nmax_layer_bytes = 1\n",
    );
    until(&daemon, "live", true).await;
    told(
        &daemon,
        &["configuration is read again", "images.max_layer_bytes"],
    )
    .await;

    assert_ne!(before, "77\n");
    assert_eq!(pod.output("after", limit).await, "77\n");
    let refusal = refused(daemon.images().pull_image(request(&name, None))).await;
    assert!(refusal.message().contains("max_layer_bytes"), "{refusal}");
    let mut config = pod.config.clone();
    config.metadata.as_mut().unwrap().name = "by-live".to_owned();
    let run = v1::RunPodSandboxRequest {
        config: Some(config.clone()),
        runtime_handler: "live".to_owned(),
    };
    let id = daemon
        .runtime()
        .run_pod_sandbox(run)
        .await
        .unwrap()
        .into_inner()
        .pod_sandbox_id;
    let by_live = Pod::adopted(&daemon, &id, &config);
    let written = by_live.output("root", "touch /file 2>&1").await;
    assert!(written.contains("Read-only file system"), "{written}");
    daemon.place.unset();
    until(&daemon, "live", false).await;
    daemon.images().pull_image(request(&name, None)).await.unwrap();
    by_live.remove().await;
    pod.remove().await;
}

async fn a_signal_reads_files_that_no_watch_sees() {
    let place = Place::new("signal");
    // A link to a file elsewhere: what is written there changes no directory that is watched.
    let elsewhere = node().directory.join(format!("elsewhere-{}", node().number()));
    fs::create_dir(&elsewhere).unwrap();
    let target = elsewhere.join("handlers.toml");
    fs::write(&target, "[runtimes.first]\n").unwrap();
    place.set("");
    symlink(&target, place.drop_ins().join("99-link.toml")).unwrap();
    let daemon = Daemon::start(place).await;
    until(&daemon, "first", true).await;

    fs::write(&target, "[runtimes.second]\n").unwrap();
    kill(Pid::from_raw(daemon.pid()), Signal::SIGHUP).unwrap();

    until(&daemon, "second", true).await;
    until(&daemon, "first", false).await;
    kill(Pid::from_raw(daemon.pid()), Signal::SIGHUP).unwrap();
    told(&daemon, &["configuration is read again, and as it was"]).await;
}

async fn a_broken_file_is_refused_and_the_old_values_stay() {
    let place = Place::new("broken");
    place.set("[runtimes.kept]\n");
    let daemon = Daemon::start(place).await;

    daemon.place.set("[runtimes.new]\nread_olny = true\n");
    told(
        &daemon,
        &[
            "configuration is refused",
            "runtimes.new.read_olny",
            "did you mean",
        ],
    )
    .await;

    let names = handlers(&daemon).await;
    assert!(
        names.contains(&"kept".to_owned()) && !names.contains(&"new".to_owned()),
        "{names:?}"
    );
    daemon.place.unset();
    daemon.place.set("[runtimes.new]\nread_only = true\n");
    until(&daemon, "new", true).await;
    until(&daemon, "kept", false).await;
}

async fn keys_that_need_a_new_start_are_named() {
    let daemon = Daemon::start(Place::new("waiting")).await;

    daemon
        .place
        .set("cgroup_parent = '/other'\n[cni]\ntimeout_seconds = 7\n[runtimes.beside]\n");

    let line = told(&daemon, &["take effect when the daemon starts anew"]).await;
    assert!(line.contains("cgroup_parent, cni.timeout_seconds"), "{line}");
    assert!(!line.contains("runtimes"), "{line}");
    until(&daemon, "beside", true).await;
}

async fn what_is_logged_changes_at_run_time() {
    let daemon = Daemon::start(Place::new("logged")).await;
    let call = async |times: usize| {
        for _ in 0..times {
            let request = v1::RuntimeConfigRequest {};
            daemon.runtime().runtime_config(request).await.unwrap();
        }
    };
    let logged = async |times: usize| {
        eventually(&format!("{times} calls are logged"), async || {
            let log = fs::read_to_string(daemon.place.log()).unwrap();
            let calls = log
                .lines()
                .filter(|line| line.contains("RuntimeConfig") && line.contains("call succeeded"));
            (calls.count() == times).then_some(())
        })
        .await;
    };
    call(2).await;
    logged(2).await;

    daemon.place.set("[log]\nfilter = 'error'\n[runtimes.quiet]\n");
    until(&daemon, "quiet", true).await;
    call(10).await;
    daemon.place.unset();
    until(&daemon, "quiet", false).await;
    call(3).await;

    // Not fifteen: of those in between nothing was written.
    logged(5).await;
}
