//! Create, start, exit, delete; daemons and zygotes that come and go.

use crate::monitor::client::{MonitorClient, MonitorError, read_exit_record};
use crate::monitor::protocol::{FailureKind, Phase};
use crate::monitor::tests::fixture::{Host, ended};
use std::path::Path;

fn failure(error: MonitorError) -> (FailureKind, String) {
    match error {
        MonitorError::Failed(failure) => (failure.kind, failure.text),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_container_runs_from_create_to_delete() {
    let Some(host) = Host::new() else { return };

    let container = host
        .container("a", &["sh", "-c", "echo out; echo err >&2; exit 42"])
        .create(&host)
        .await
        .unwrap();
    let created = container.client.state().await.unwrap();
    container.client.start().await.unwrap();
    let exit = container.exited().await;

    assert_eq!(
        (created.phase, created.pid),
        (Phase::Created, container.created.pid)
    );
    assert_eq!(
        (exit.code, exit.signal, exit.oom_killed, exit.reason.as_deref()),
        (42, None, false, None)
    );
    assert_eq!(container.log("stdout"), ["F out"]);
    assert_eq!(container.log("stderr"), ["F err"]);
    assert_eq!(read_exit_record(&container.dir).unwrap(), Some(exit));
    let (dir, cgroup) = (container.dir.clone(), format!("{}/a", host.cgroup.path()));
    container.delete().await;
    assert!(!host.path("state/a").exists());
    assert!(!crate::sys::cgroup::Cgroup::new(&cgroup).unwrap().exists());
    assert!(matches!(
        MonitorClient::connect(&dir).await,
        Err(MonitorError::Unreachable { .. })
    ));
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_named_by_start() {
    let Some(host) = Host::new() else { return };
    let container = host.container("a", &["/nope"]).create(&host).await.unwrap();

    let (kind, text) = failure(container.client.start().await.unwrap_err());

    assert_eq!(
        (kind, text.as_str()),
        (FailureKind::Command, r#"exec "/nope": no such file or directory"#)
    );
    let exit = container.exited().await;
    assert_eq!((exit.code, exit.reason), (128, Some(text)));
    container.delete().await;
}

#[tokio::test]
async fn a_failed_create_says_the_cause_and_leaves_nothing() {
    let Some(host) = Host::new() else { return };
    let mut wanted = host.container("a", &["true"]);
    wanted.mount(serde_json::json!({ "destination": "/mnt", "type": "bind", "source": "/does/not/exist", "options": ["rbind"] }));

    let Err(error) = wanted.create(&host).await else {
        panic!("created")
    };

    let (kind, text) = failure(error);
    assert_eq!(kind, FailureKind::Runtime);
    assert!(
        text.contains("/does/not/exist") || text.contains("ENOENT"),
        "{text}"
    );
    assert!(!host.path("state/a").exists());
}

#[tokio::test]
async fn a_signal_ends_a_container_and_is_recorded() {
    let Some(host) = Host::new() else { return };
    let container = host.run("a", &["sleep", "1000"]).await;

    container.client.signal(9).await.unwrap();
    let exit = container.exited().await;

    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    assert_eq!(
        failure(container.client.signal(15).await.unwrap_err()).0,
        FailureKind::Phase
    );
    container.delete().await;
}

#[tokio::test]
async fn deleting_a_running_container_kills_it() {
    let Some(host) = Host::new() else { return };
    let container = host.run("a", &["sleep", "1000"]).await;

    let pid = container.created.pid;
    container.delete().await;

    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn a_later_daemon_finds_the_container_and_its_end() {
    let Some(host) = Host::new() else { return };
    let mut container = host.run("a", &["sleep", "1000"]).await;

    container.client = MonitorClient::connect(&container.dir).await.unwrap();
    let state = container.client.state().await.unwrap();
    container.client.signal(9).await.unwrap();
    let first = container.exited().await;
    container.client = MonitorClient::connect(&container.dir).await.unwrap();
    let second = container.exited().await;

    assert_eq!(
        (state.pid, state.start_time),
        (container.created.pid, container.created.start_time)
    );
    assert_eq!(first, second);
    container.delete().await;
}

#[tokio::test]
async fn a_dead_zygote_is_replaced_and_containers_do_not_notice() {
    let Some(host) = Host::new() else { return };
    let before = host.run("a", &["sleep", "1000"]).await;
    let pid = host.zygote.pid().unwrap();

    // Here it is two processes, of which the second dies with the first, a moment later.
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let children = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap());
    // Whichever of the harness's threads forked it.
    let inner: Vec<i32> = children
        .flat_map(|pids| {
            pids.split_whitespace()
                .map(|pid| pid.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(inner.len(), 1, "{inner:?}");
    let inner = crate::sys::pidfd::open(inner[0]).unwrap();
    let victim = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(victim, rustix::process::Signal::KILL).unwrap();
    assert!(ended(inner).await);
    let after = host.run("b", &["sleep", "1000"]).await;

    assert_ne!(host.zygote.pid(), Some(pid));
    assert_eq!(before.sh("echo alive").await, "alive\n");
    before.delete().await;
    after.delete().await;
    // Monitors of the dead zygote are ours now.
    while crate::sys::fork::reap().is_some() {}
}

#[tokio::test]
async fn a_monitor_with_neither_container_nor_client_ends() {
    let Some(host) = Host::new() else { return };
    let dir = host.path("a");
    std::fs::create_dir(&dir).unwrap();

    let client = MonitorClient::spawn(&host.zygote, &dir).await.unwrap();
    let pid = client.state().await.unwrap().monitor_pid;
    let fd = crate::sys::pidfd::open(pid).unwrap();
    drop(client);

    assert!(ended(fd).await);
}

#[tokio::test]
async fn a_call_out_of_phase_is_refused() {
    let Some(host) = Host::new() else { return };
    let container = host
        .container("a", &["sleep", "1000"])
        .create(&host)
        .await
        .unwrap();

    let exec = container.exec(container.request(&["true"])).await.unwrap_err();
    container.client.start().await.unwrap();
    let again = container.client.start().await.unwrap_err();

    assert_eq!(failure(exec).0, FailureKind::Phase);
    assert_eq!(failure(again).0, FailureKind::Phase);
    container.delete().await;
}

#[tokio::test]
async fn an_oom_kill_is_told_and_recorded() {
    let Some(host) = Host::new() else { return };
    let mut wanted = host.container("a", &["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"]);
    wanted.config["linux"]["resources"]["memory"] =
        serde_json::json!({ "limit": 16 << 20, "swap": 16 << 20 });
    let container = wanted.create(&host).await.unwrap();

    container.client.start().await.unwrap();
    let exit = container.exited().await;

    assert_eq!((exit.code, exit.signal, exit.oom_killed), (137, Some(9), true));
    assert!(*container.client.oom_kills().borrow() > 0);
    container.delete().await;
}

#[tokio::test]
async fn an_idle_monitor_has_little_memory_of_its_own() {
    let Some(host) = Host::new() else { return };
    let container = host.run("a", &["sleep", "1000"]).await;
    container.sh("true").await;
    let monitor = container.client.state().await.unwrap().monitor_pid;

    let areas = std::fs::read_to_string(format!("/proc/{monitor}/smaps")).unwrap();
    let program = std::fs::read_link(format!("/proc/{monitor}/exe")).unwrap();
    let program = program.to_string_lossy();
    container.delete().await;

    // Pages of the executable are shared by all monitors and the zygote.
    let (mut own, mut kib) = (true, 0);
    for line in areas.lines() {
        match line.strip_prefix("Private_Dirty:") {
            Some(count) if own => kib += count.trim().trim_end_matches(" kB").parse::<u32>().unwrap(),
            None if line.contains("-p ") || line.contains("p 0") => own = !line.ends_with(&*program),
            _ => {}
        }
    }
    // Not optimized, and with the harness's thread: a release build has about half.
    assert!((20..=160).contains(&kib), "{kib} KiB");
}

#[tokio::test]
async fn a_monitor_that_cannot_serve_says_why() {
    let Some(host) = Host::new() else { return };
    let dir = host.path("a");
    std::fs::create_dir_all(dir.join("monitor.sock/in-the-way")).unwrap();

    let error = MonitorClient::spawn(&host.zygote, &dir).await.unwrap_err();

    assert!(error.to_string().contains("directory"), "{error}");
}
