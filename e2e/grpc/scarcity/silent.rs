//! Monitors that are stopped: nobody waits for them, and their containers stay as they were last known.

use k8s_cri::v1;
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tonic::Code;

use crate::harness::container::Made;
use crate::harness::daemon::{Daemon, refused};
use crate::harness::pod::Pod;
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_stopped_monitor_does_not_keep_the_daemon_from_starting,
        a_container_whose_monitor_is_stopped_is_killed_without_it,
    ]
}

async fn a_stopped_monitor_does_not_keep_the_daemon_from_starting() {
    let daemon = Daemon::with_images("stopped-monitor").await;
    let pod = Pod::run(&daemon, "stopped-monitor").await;
    let running = pod.idle("running").await;
    let created = pod.create("created", &["sleep", "infinity"]).await;
    let other = pod.idle("other").await;
    let monitors = [running.monitor().await, created.monitor().await].map(Pid::from_raw);
    let names = [&running, &created, &other].map(|made| (made.id.clone(), made.log.clone()));
    let (id, config) = (pod.id.clone(), pod.config.clone());
    for monitor in monitors {
        kill(monitor, Signal::SIGSTOP).unwrap();
    }

    let daemon = Daemon::start(daemon.kill().await).await;

    let [running, created, other] = names.map(|(id, log)| Made::adopted(&daemon, &id, &log));
    for (made, state) in [
        (&running, v1::ContainerState::ContainerRunning),
        (&created, v1::ContainerState::ContainerCreated),
    ] {
        let status = made.status().await;
        assert_eq!((status.state(), status.reason.as_str()), (state, "MonitorSilent"));
        let exec = made.exec_request(&["true"], 0);
        let code = refused(daemon.runtime().exec_sync(exec)).await.code();
        assert!(
            matches!(code, Code::Unavailable | Code::FailedPrecondition),
            "{code:?}"
        );
    }
    let start = v1::StartContainerRequest {
        container_id: created.id.clone(),
    };
    assert_eq!(
        refused(daemon.runtime().start_container(start)).await.code(),
        Code::Unavailable
    );
    // All else is served.
    assert_eq!(other.sh("echo there").await, "there\n");
    let pod = Pod::adopted(&daemon, &id, &config);
    assert_eq!(pod.output("more", "echo more").await, "more\n");

    for monitor in monitors {
        kill(monitor, Signal::SIGCONT).unwrap();
    }
    for made in [&running, &created] {
        eventually("the monitor's word counts again", async || {
            made.status().await.reason.is_empty().then_some(())
        })
        .await;
    }
    created.start().await;
    assert_eq!(created.sh("echo started").await, "started\n");
    assert_eq!(running.sh("echo on").await, "on\n");
    running.stop(0).await;
    assert_eq!(running.status().await.exit_code, 137);
    pod.remove().await;
    daemon.check().await;
}

async fn a_container_whose_monitor_is_stopped_is_killed_without_it() {
    let daemon = Daemon::with_images("killed-without").await;
    let pod = Pod::run(&daemon, "killed-without").await;
    let container = pod.idle("main").await;
    let (pid, monitor) = (container.pid().await, Pid::from_raw(container.monitor().await));
    kill(monitor, Signal::SIGSTOP).unwrap();

    let stop = v1::StopContainerRequest {
        container_id: container.id.clone(),
        timeout: 1,
    };
    let mut runtime = daemon.runtime();
    let stopping = async {
        // It is a zombie until its monitor goes on.
        eventually("the first process is dead", async || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.contains(") Z ").then_some(())
        })
        .await;
        kill(monitor, Signal::SIGCONT).unwrap();
    };
    let (stopped, ()) = tokio::join!(runtime.stop_container(stop), stopping);

    stopped.unwrap();
    assert_eq!(container.exited().await.exit_code, 137);
    pod.remove().await;
    daemon.check().await;
}
