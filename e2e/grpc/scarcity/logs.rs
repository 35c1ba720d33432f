//! A log disk without room: the container goes on, and what was dropped is counted and told.

use libtest_mimic::Trial;

use super::disk::Disk;
use crate::harness::daemon::Daemon;
use crate::harness::pod::Pod;
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_full_log_disk_does_not_hold_up_the_container,
        an_end_is_recorded_on_a_full_runtime_disk,
    ]
}

async fn a_full_log_disk_does_not_hold_up_the_container() {
    let daemon = Daemon::with_images("full-log").await;
    let disk = Disk::ext4(&daemon.place.logs(), "4M", "");
    let pod = Pod::run(&daemon, "full-log").await;
    let script = "i=0; echo begun; until [ -e /go ]; do sleep 0.02; done; \
                  while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo done >/done; \
                  until [ -e /end ]; do sleep 0.02; done; echo last";
    let container = pod.start("main", &["sh", "-c", script]).await;
    container.printed("begun").await;

    disk.fill(8);
    container.sh("touch /go").await;
    eventually("the container has printed all", async || {
        (container.exec(&["test", "-e", "/done"]).await.code == 0).then_some(())
    })
    .await;
    disk.free();
    container
        .printed("of output were lost: No space left on device")
        .await;
    container.sh("touch /end").await;
    assert_eq!(container.exited().await.exit_code, 0);

    let lines = container.lines();
    let printed = |text: &str| lines.iter().filter(|line| line.text.starts_with(text)).count();
    let notices: Vec<_> = lines.iter().filter(|l| l.text.starts_with("coracle: ")).collect();
    let lost: usize = notices
        .iter()
        .map(|line| line.text.split(' ').nth(1).unwrap().parse::<usize>().unwrap())
        .sum();
    // The one line that was cut is in the log in part, and counted.
    let whole = printed("line ");
    assert!(
        (20_000..=20_000 + notices.len()).contains(&(whole + lost)),
        "{whole} lines, {lost} lost"
    );
    assert!(lost > 0);
    assert_eq!(printed("last"), 1);
    let log = std::fs::read_to_string(daemon.place.log()).unwrap();
    assert!(log.contains("output cannot be logged") && log.contains("output is logged again"));
    pod.remove().await;
    daemon.check().await;
}

async fn an_end_is_recorded_on_a_full_runtime_disk() {
    let place = crate::harness::daemon::Place::new("full-run");
    let disk = Disk::tmpfs(&place.run, "size=1m");
    let daemon = Daemon::with_images_in(place).await;
    let pod = Pod::run(&daemon, "full-run").await;
    let script = "trap 'exit 42' USR1; echo ready; while :; do sleep 0.02; done";
    let container = pod.start("main", &["sh", "-c", script]).await;
    container.printed("ready").await;
    let pid = nix::unistd::Pid::from_raw(container.pid().await);
    let (id, log, run) = (
        container.id.clone(),
        container.log.clone(),
        daemon.place.run.clone(),
    );
    let (pod_id, config) = (pod.id.clone(), pod.config.clone());

    let place = daemon.kill().await;
    disk.fill(0);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGUSR1).unwrap();

    eventually("the end is on disk", async || {
        let record = std::fs::read(run.join("containers").join(&id).join("exit.json")).ok()?;
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        (record["code"] == 42).then_some(())
    })
    .await;
    let daemon = Daemon::start(place).await;
    let container = crate::harness::container::Made::adopted(&daemon, &id, &log);
    assert_eq!(container.exited().await.exit_code, 42);
    disk.free();
    Pod::adopted(&daemon, &pod_id, &config).remove().await;
    // The monitor was let go of a moment ago, and a last fork of it may still be on its way out.
    eventually("nothing is out of place", async || {
        (daemon.place.audit(&[]).await.code == 0).then_some(())
    })
    .await;
}
