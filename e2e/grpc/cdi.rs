//! Devices that are described by the Container Device Interface: what they bring, and what is refused before anything
//! is made.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_cri::v1;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tonic::Code;

use crate::harness::daemon::{Daemon, refused};
use crate::harness::pod::Pod;
use crate::harness::{eventually, trials};
use crate::userns;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_described_device_brings_nodes_mounts_variables_and_groups,
        annotations_name_devices_as_well,
        hooks_run_while_a_container_is_created,
        a_pod_in_a_user_namespace_gets_the_hosts_own_nodes,
        a_failing_hook_fails_the_creation_and_leaves_nothing,
        a_device_that_is_not_there_is_refused_by_name,
        a_description_that_changes_counts_at_once,
        wrong_descriptions_are_told_and_refused,
    ]
}

/// A daemon of these tests' own: its descriptions are read by no other.
async fn described() -> &'static Daemon {
    static DAEMON: OnceCell<Daemon> = OnceCell::const_new();
    DAEMON
        .get_or_init(|| async {
            let daemon = Daemon::with_images("cdi").await;
            fs::create_dir_all(daemon.place.descriptions()).unwrap();
            daemon
        })
        .await
}

/// Describes device `d` of `kind`. The file is there as a whole or not at all.
fn describe(daemon: &Daemon, kind: &str, edits: &Value) {
    let document = json!({
        "cdiVersion": "1.0.0", "kind": kind, "devices": [{"name": "d", "containerEdits": edits}]
    });
    put(
        daemon,
        &format!("{}.json", kind.replace('/', "-")),
        &document.to_string(),
    );
}

fn put(daemon: &Daemon, name: &str, text: &str) {
    let dir = daemon.place.descriptions();
    let new = dir.join(format!("{name}.new"));
    fs::write(&new, text).unwrap();
    fs::rename(new, dir.join(name)).unwrap();
}

fn ask(config: &mut v1::ContainerConfig, device: &str) {
    config.cdi_devices.push(v1::CdiDevice {
        name: device.to_owned(),
    });
}

/// A program of the host, on a file system that containers are not made from.
fn program(daemon: &Daemon, name: &str, script: &str) -> PathBuf {
    let path = daemon.place.descriptions().with_extension(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Why a container with this device is refused.
async fn refusal(pod: &Pod<'_>, device: &str) -> tonic::Status {
    let mut config = pod.container_config("refused", &["true"]);
    ask(&mut config, device);
    let request = pod.create_request(config);
    let before = containers(pod).await;
    let refusal = refused(pod.daemon.runtime().create_container(request)).await;
    assert_eq!(containers(pod).await, before, "{refusal}");
    refusal
}

/// The ids of a pod's containers.
async fn containers(pod: &Pod<'_>) -> BTreeSet<String> {
    let listed = v1::ListContainersRequest {
        filter: Some(v1::ContainerFilter {
            pod_sandbox_id: pod.id.clone(),
            ..Default::default()
        }),
    };
    let answer = pod.daemon.runtime().list_containers(listed).await.unwrap();
    answer.into_inner().containers.into_iter().map(|c| c.id).collect()
}

async fn problems(daemon: &Daemon) -> Value {
    let request = v1::StatusRequest { verbose: true };
    let status = daemon.runtime().status(request).await.unwrap().into_inner();
    let devices: Value = serde_json::from_str(&status.info["devices"]).unwrap();
    devices["problems"].clone()
}

async fn a_described_device_brings_nodes_mounts_variables_and_groups() {
    let daemon = described().await;
    let host = daemon.place.descriptions().with_extension("lib");
    fs::create_dir_all(&host).unwrap();
    fs::write(host.join("driver.so"), "driver").unwrap();
    describe(
        daemon,
        "e2e.test/whole",
        &json!({
            "env": ["DEVICE=d", "KEPT=device"],
            "additionalGids": [4711],
            "deviceNodes": [
                {"path": "/dev/e2e/control", "hostPath": "/dev/loop-control", "permissions": "r",
                 "fileMode": 0o640, "uid": 1000, "gid": 4711},
                {"path": "/dev/e2e/plain", "type": "c", "major": 1, "minor": 3},
                {"path": "/dev/e2e/seen", "hostPath": "/dev/loop-control", "permissions": "none"},
            ],
            "mounts": [{"hostPath": host, "containerPath": "/usr/lib/driver",
                        "options": ["ro", "nosuid", "nodev", "bind"]}],
        }),
    );
    let pod = Pod::run(daemon, "cdi-whole").await;

    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            ask(config, "e2e.test/whole=d");
            config.envs.push(v1::KeyValue {
                key: "KEPT".into(),
                value: "own".into(),
            });
        })
        .await;

    assert_eq!(container.sh("echo $DEVICE $KEPT").await, "d device\n");
    assert!(container.sh("id -G").await.contains("4711"));
    let nodes = container
        .sh("stat -c '%a %u %g %F' /dev/e2e/control /dev/e2e/plain")
        .await;
    assert_eq!(
        nodes,
        "640 1000 4711 character special file\n666 0 0 character special file\n"
    );
    assert_eq!(
        container.sh("echo x >/dev/e2e/plain && echo written").await,
        "written\n"
    );
    assert_eq!(container.sh(": </dev/e2e/control && echo read").await, "read\n");
    let denied = container.exec(&["sh", "-c", ": >/dev/e2e/control"]).await;
    assert!(denied.stderr.contains("not permitted"), "{denied:?}");
    assert_eq!(
        container.sh("test -c /dev/e2e/seen && echo there").await,
        "there\n"
    );
    assert_eq!(container.sh("cat /usr/lib/driver/driver.so").await, "driver");
    let options = container.sh("grep ' /usr/lib/driver ' /proc/mounts").await;
    assert!(options.contains(" ro,nosuid,nodev"), "{options}");
    pod.remove().await;
}

async fn annotations_name_devices_as_well() {
    let daemon = described().await;
    for kind in ["e2e.test/one", "e2e.test/two"] {
        describe(daemon, kind, &json!({"env": [format!("{}=yes", &kind[9..])]}));
    }
    let pod = Pod::run(daemon, "cdi-annotation").await;

    let output = pod
        .output_with("main", "echo $one $two", |config| {
            let devices = "e2e.test/one=d,e2e.test/two=d";
            config
                .annotations
                .insert("cdi.k8s.io/plugin".into(), devices.into());
            // The same one again: kubelets of some versions send both.
            ask(config, "e2e.test/one=d");
        })
        .await;

    assert_eq!(output, "yes yes\n");
    pod.remove().await;
}

async fn hooks_run_while_a_container_is_created() {
    let daemon = described().await;
    let told = daemon.place.descriptions().with_extension("state");
    let order = daemon.place.descriptions().with_extension("order");
    let outside = program(
        daemon,
        "outside",
        &format!("echo $1 >>{}; cat >{}", order.display(), told.display()),
    );
    let inside = program(
        daemon,
        "inside",
        "bundle=$(sed -n 's/.*\"bundle\":\"\\([^\"]*\\)\".*/\\1/p')\necho \"$1 $FROM\" >$bundle/../rootfs/from-hook",
    );
    let hook = |name: &str, path: &Path| json!({"hookName": name, "path": path, "args": ["hook", name], "env": ["FROM=device"]});
    describe(
        daemon,
        "e2e.test/hooks",
        &json!({"hooks": [
            hook("createContainer", &inside), hook("createRuntime", &outside), hook("prestart", &outside),
        ]}),
    );
    let pod = Pod::run(daemon, "cdi-hooks").await;

    let container = pod
        .create_with("main", &["cat", "/from-hook"], |config| {
            ask(config, "e2e.test/hooks=d")
        })
        .await;

    let state: Value = serde_json::from_slice(&fs::read(&told).unwrap()).unwrap();
    assert_eq!(
        (&state["id"], &state["status"]),
        (&json!(container.id), &json!("creating"))
    );
    assert!(state["pid"].as_i64().unwrap() > 1, "{state}");
    assert_eq!(fs::read_to_string(&order).unwrap(), "prestart\ncreateRuntime\n");
    container.start().await;
    container.exited().await;
    assert_eq!(container.output(), "createContainer device\n");
    pod.remove().await;
}

async fn a_pod_in_a_user_namespace_gets_the_hosts_own_nodes() {
    let daemon = described().await;
    let host = daemon.place.descriptions().with_extension("mapped");
    fs::create_dir_all(&host).unwrap();
    fs::write(host.join("driver.so"), "driver").unwrap();
    // Whoever is root in there is nobody out here.
    let told = daemon.place.descriptions().with_extension("users");
    fs::write(&told, "").unwrap();
    fs::set_permissions(&told, fs::Permissions::from_mode(0o666)).unwrap();
    let script = format!(
        "read -r _ host _ </proc/self/uid_map; echo $1 $host >>{}",
        told.display()
    );
    let hook = program(daemon, "told", &script);
    describe(
        daemon,
        "e2e.test/mapped",
        &json!({
            "deviceNodes": [{"path": "/dev/e2e", "hostPath": "/dev/loop-control", "permissions": "r",
                             "type": "c", "major": 10, "minor": 237}],
            "mounts": [{"hostPath": host, "containerPath": "/usr/lib/driver", "options": ["ro", "rbind"]}],
            "hooks": [{"hookName": "createRuntime", "path": hook, "args": ["hook", "outside"]},
                      {"hookName": "createContainer", "path": hook, "args": ["hook", "inside"]}],
        }),
    );
    describe(
        daemon,
        "e2e.test/elsewhere",
        &json!({"deviceNodes": [{"path": "/dev/e2e", "hostPath": "/dev/loop-control",
                                 "type": "c", "major": 1, "minor": 3}]}),
    );
    let pod = userns::run(daemon, "cdi-user").await;

    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            ask(config, "e2e.test/mapped=d");
        })
        .await;
    let refusal = refusal(&pod, "e2e.test/elsewhere=d").await;

    let seen = container
        .sh("stat -c '%t:%T' /dev/e2e; stat -c '%u' /usr/lib/driver/driver.so; cat /usr/lib/driver/driver.so")
        .await;
    assert_eq!(seen, "a:ed\n0\ndriver");
    assert_eq!(fs::read_to_string(&told).unwrap(), "outside 0\ninside 200000\n");
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    assert!(refusal.message().contains("other numbers"), "{refusal}");
    pod.remove().await;
}

async fn a_failing_hook_fails_the_creation_and_leaves_nothing() {
    let daemon = described().await;
    for (kind, name) in [
        ("e2e.test/bad-outside", "createRuntime"),
        ("e2e.test/bad-inside", "createContainer"),
    ] {
        let bad = program(daemon, &format!("bad-{name}"), "exit 7");
        describe(daemon, kind, &json!({"hooks": [{"hookName": name, "path": bad}]}));
    }
    let pod = Pod::run(daemon, "cdi-bad-hook").await;

    for kind in ["e2e.test/bad-outside", "e2e.test/bad-inside"] {
        let refusal = refusal(&pod, &format!("{kind}=d")).await;
        assert_eq!(refusal.code(), Code::Internal, "{refusal}");
        assert!(
            refusal.message().contains("hook") && refusal.message().contains('7'),
            "{refusal}"
        );
    }
    pod.remove().await;
}

async fn a_device_that_is_not_there_is_refused_by_name() {
    let daemon = described().await;
    let pod = Pod::run(daemon, "cdi-unknown").await;

    for name in ["e2e.test/none=d", "not-a-name"] {
        let refusal = refusal(&pod, name).await;
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
        assert!(refusal.message().contains(name), "{refusal}");
    }
    pod.remove().await;
}

async fn a_description_that_changes_counts_at_once() {
    let daemon = described().await;
    let pod = Pod::run(daemon, "cdi-change").await;

    for (name, value) in [("first", "one"), ("second", "two"), ("third", "three")] {
        describe(
            daemon,
            "e2e.test/changing",
            &json!({"env": [format!("VALUE={value}")]}),
        );
        let output = pod
            .output_with(name, "echo $VALUE", |config| ask(config, "e2e.test/changing=d"))
            .await;
        assert_eq!(output, format!("{value}\n"));
    }
    fs::remove_file(daemon.place.descriptions().join("e2e.test-changing.json")).unwrap();
    let refusal = refusal(&pod, "e2e.test/changing=d").await;
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    pod.remove().await;
}

async fn wrong_descriptions_are_told_and_refused() {
    let daemon = Daemon::with_images("cdi-wrong").await;
    let dir = daemon.place.descriptions();
    fs::create_dir_all(&dir).unwrap();
    let pod = Pod::run(&daemon, "cdi-wrong").await;
    describe(&daemon, "e2e.test/twice", &json!({"env": ["A=1"]}));
    let text = fs::read_to_string(dir.join("e2e.test-twice.json")).unwrap();
    put(&daemon, "again.json", &text);
    put(
        &daemon,
        "broken.yaml",
        "cdiVersion: 1.0.0\nkind: e2e.test/broken\ndevices: 7\n",
    );
    describe(
        &daemon,
        "e2e.test/late",
        &json!({"hooks": [{"hookName": "poststop", "path": "/bin/true"}]}),
    );

    // Nobody has asked for a device yet: the directory is watched.
    eventually("the status names the broken file", async || {
        let told = problems(&daemon).await;
        let broken = told[dir.join("broken.yaml").to_str().unwrap()].as_str()?;
        (broken.contains("malformed") && told["e2e.test/twice=d"].is_string()).then_some(())
    })
    .await;
    let twice = refusal(&pod, "e2e.test/twice=d").await;
    let broken = refusal(&pod, "e2e.test/broken=d").await;
    let late = refusal(&pod, "e2e.test/late=d").await;
    let audit = daemon.place.audit(&[]).await;

    assert_eq!(twice.code(), Code::InvalidArgument, "{twice}");
    assert!(
        twice.message().contains("again.json") && twice.message().contains("e2e.test-twice.json"),
        "{twice}"
    );
    assert_eq!(broken.code(), Code::InvalidArgument, "{broken}");
    assert!(broken.message().contains("broken.yaml"), "{broken}");
    assert_eq!(late.code(), Code::Unimplemented, "{late}");
    assert!(late.message().contains("poststop"), "{late}");
    let things: Vec<String> = audit.of("device").into_iter().map(|(thing, _)| thing).collect();
    assert_eq!(things.len(), 2, "{things:?}");
    assert!(
        things.iter().any(|thing| thing.ends_with("broken.yaml")),
        "{things:?}"
    );
    assert!(
        things.iter().any(|thing| thing == "e2e.test/twice=d"),
        "{things:?}"
    );

    fs::remove_dir_all(&dir).unwrap();
    eventually("nothing is wrong any more", async || {
        (problems(&daemon).await == json!({})).then_some(())
    })
    .await;
    pod.remove().await;
    daemon.check().await;
    daemon.stop().await;
}
