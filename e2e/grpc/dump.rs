//! `coracle debug dump`: what is told for a report of a bug, and what is not.

use k8s_cri::v1;
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::daemon::{Daemon, Place};
use crate::harness::pod::{Pod, host_network};
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_dump_has_state_and_locks_and_no_secrets,
        a_dump_without_a_daemon_says_so,
    ]
}

const SECRET: &str = "correct horse battery staple";

async fn dump(daemon: &Daemon) -> Value {
    let output = daemon.cli(&["debug", "dump"]).await;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains(SECRET), "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The one with this id.
fn of<'a>(things: &'a Value, id: &str) -> &'a Value {
    let mut things = things.as_array().unwrap().iter();
    things.find(|thing| thing["id"] == id).unwrap()
}

async fn a_dump_has_state_and_locks_and_no_secrets() {
    let place = Place::new("dump");
    place.set(&format!("[runtimes.x.default_annotations]\nnote = '{SECRET}'\n"));
    let daemon = Daemon::with_images_in(place).await;
    let pod = Pod::run_with(&daemon, "dump", |config| {
        host_network(config);
        config.annotations = [("token".to_owned(), SECRET.to_owned())].into();
    });
    let pod = pod.await;
    let container = pod.create_with("main", &["sh", "-c", "sleep infinity"], |config| {
        config.envs.push(v1::KeyValue {
            key: "PASSWORD".to_owned(),
            value: SECRET.into(),
        });
        config.args = vec![SECRET.to_owned()];
        config.annotations = [("token".to_owned(), SECRET.to_owned())].into();
    });
    let container = container.await;

    let quiet = dump(&daemon).await;

    assert_eq!(of(&quiet["adapter"]["pods"], &pod.id)["phase"], "Ready");
    assert_eq!(of(&quiet["adapter"]["pods"], &pod.id)["locks"]["gate"], false);
    let told = of(&quiet["core"]["containers"], &container.id);
    assert_eq!(
        (&told["phase"], &told["locks"]["operation"]),
        (&"created".into(), &false.into())
    );
    assert_eq!(
        quiet["configuration"]["runtimes"]["x"]["default_annotations"]["note"],
        "(left out)"
    );
    assert_eq!(quiet["process"]["pid"], daemon.pid());

    // Its start waits for a monitor that does not run, and holds the lock of the container meanwhile.
    let monitor = Pid::from_raw(container.monitor().await);
    kill(monitor, Signal::SIGSTOP).unwrap();
    let mut runtime = daemon.runtime();
    let container_id = container.id.clone();
    let start = tokio::spawn(async move {
        let request = v1::StartContainerRequest { container_id };
        runtime.start_container(request).await
    });
    eventually("the lock is told to be held", async || {
        let busy = dump(&daemon).await;
        let held = of(&busy["core"]["containers"], &container.id)["locks"]["operation"] == true;
        let metrics = busy["metrics"].as_array().unwrap();
        let under_way = metrics
            .iter()
            .any(|line| line == "coracle_work_in_flight{stage=\"start\"} 1");
        (held && under_way).then_some(())
    })
    .await;
    kill(monitor, Signal::SIGCONT).unwrap();
    start.await.unwrap().unwrap();
    pod.remove().await;
}

async fn a_dump_without_a_daemon_says_so() {
    let place = Place::new("no-dump");

    let output = place.command(&["debug", "dump"]).output().unwrap();

    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(told.contains(place.socket.to_str().unwrap()), "{told}");
}
