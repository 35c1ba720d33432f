//! Handlers, as a RuntimeClass names them: what each option changes, and what becomes of pods whose handler goes.

use std::fs;
use std::path::PathBuf;

use k8s_cri::v1;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tonic::Code;

use crate::harness::container::Made;
use crate::harness::daemon::{Daemon, Place, image_name, refused};
use crate::harness::node::node;
use crate::harness::pod::{self, Pod, host_network, security};
use crate::harness::trials;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        handlers_are_told_with_what_they_can_do,
        a_handler_without_options_changes_nothing,
        a_handler_makes_roots_read_only,
        a_handler_has_default_capabilities,
        a_handler_has_a_filter_of_its_own,
        a_handler_mounts_roots_with_options_of_its_own,
        a_handler_keeps_the_nodes_devices_from_privileged_containers,
        a_handler_has_a_network_of_its_own,
        a_handler_has_annotations_that_pods_need_not_bring,
        a_handler_has_kernel_parameters_that_pods_need_not_bring,
        a_profile_that_cannot_be_applied_keeps_the_containers_of_a_handler_from_being_made,
        images_for_a_handler_are_those_of_the_node,
        pods_outlive_their_handler,
        a_wrong_handler_keeps_the_daemon_from_starting,
    ]
}

/// A daemon with a handler for each option.
async fn daemon() -> &'static Daemon {
    static DAEMON: OnceCell<Daemon> = OnceCell::const_new();
    DAEMON.get_or_init(start).await
}

async fn start() -> Daemon {
    let place = Place::with_own_network("handlers");
    let (network, filter) = (second_network(&place), filter());
    place.set(&format!(
        "default_runtime = 'plain'\n\
         [runtimes.plain]\n\
         [runtimes.read-only]\nread_only = true\n\
         [runtimes.few-rights]\ndefault_capabilities = ['CHOWN', 'CAP_KILL']\n\
         [runtimes.filter]\nseccomp_profile = {filter}\n\
         [runtimes.volatile]\nmount_options = ['volatile']\n\
         [runtimes.no-devices]\nprivileged_without_host_devices = true\n\
         [runtimes.network]\ncni_conf_dir = {network}\n\
         [runtimes.notes.default_annotations]\n'example.com/a' = 'of the handler'\n'example.com/b' = 'too'\n\
         [runtimes.tuned.default_sysctls]\n'net.core.somaxconn' = '77'\n'kernel.msgmax' = '7777'\n\
         [runtimes.armoured]\napparmor_profile = 'no-such-profile'\n",
        filter = json!(filter),
        network = json!(node().network_conf(&network)),
    ));
    Daemon::with_images_in(place).await
}

/// The network of handler `network`, beside the daemon's own.
fn second_network(place: &Place) -> String {
    let name = format!("x{}", place.network());
    node().write_network(&name, &name);
    name
}

/// A filter that allows everything but directories.
fn filter() -> PathBuf {
    let path = node().directory.join("no-directories.json");
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EPERM}],
    });
    fs::write(&path, profile.to_string()).unwrap();
    path
}

fn request(config: v1::PodSandboxConfig, handler: &str) -> v1::RunPodSandboxRequest {
    v1::RunPodSandboxRequest {
        config: Some(config),
        runtime_handler: handler.to_owned(),
    }
}

/// Runs a pod by a handler.
async fn run_by<'a>(
    daemon: &'a Daemon,
    handler: &str,
    change: impl FnOnce(&mut v1::PodSandboxConfig),
) -> Pod<'a> {
    let mut config = pod::config(daemon, &format!("by-{handler}"));
    change(&mut config);
    let call = daemon
        .runtime()
        .run_pod_sandbox(request(config.clone(), handler))
        .await;
    Pod::adopted(daemon, &call.unwrap().into_inner().pod_sandbox_id, &config)
}

fn bounding(output: &str) -> u64 {
    let mut lines = output.lines();
    let line = lines.find_map(|line| line.strip_prefix("CapBnd:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

async fn handlers_are_told_with_what_they_can_do() {
    let daemon = daemon().await;
    let status = daemon.runtime().status(v1::StatusRequest { verbose: true }).await;
    let status = status.unwrap().into_inner();

    let names: Vec<&str> = status.runtime_handlers.iter().map(|h| h.name.as_str()).collect();

    let expected = [
        "",
        "armoured",
        "coracle",
        "few-rights",
        "filter",
        "network",
        "no-devices",
        "notes",
        "plain",
        "read-only",
        "tuned",
        "volatile",
    ];
    assert_eq!(names, expected);
    let first = status.runtime_handlers[0].features.unwrap();
    assert!(first.recursive_read_only_mounts);
    let all = status.runtime_handlers.iter();
    assert!(
        all.map(|handler| handler.features.unwrap())
            .all(|features| features == first)
    );
    let info: Value = serde_json::from_str(&status.info["runtimeHandlers"]).unwrap();
    assert_eq!(info["plain"]["default"], true);
    assert_eq!(info["coracle"]["default"], false);
    assert_eq!(info["read-only"]["settings"]["readOnly"], true);
    assert_eq!(info["network"]["networkReady"], true);
}

async fn a_handler_without_options_changes_nothing() {
    let daemon = daemon().await;
    for handler in ["", "plain", "coracle"] {
        let pod = run_by(daemon, handler, host_network).await;
        let container = pod.idle("main").await;

        let made = container.sh("mkdir /made && touch /made/file && ls /made").await;

        assert_eq!(made, "file\n", "{handler:?}");
        assert_eq!(pod.status().await.runtime_handler, handler);
        pod.remove().await;
    }
}

async fn a_handler_makes_roots_read_only() {
    let pod = run_by(daemon().await, "read-only", host_network).await;
    let container = pod.idle("main").await;

    let ran = container.exec(&["touch", "/file"]).await;

    assert!(
        ran.code != 0 && ran.stderr.contains("Read-only file system"),
        "{ran:?}"
    );
    pod.remove().await;
}

async fn a_handler_has_default_capabilities() {
    const CHOWN: u64 = 1;
    const KILL: u64 = 1 << 5;
    const NET_ADMIN: u64 = 1 << 12;
    let pod = run_by(daemon().await, "few-rights", host_network).await;
    let script = "cat /proc/self/status";
    let capability = |add: &str, drop: &str| {
        let list = |name: &str| {
            Some(name.to_owned())
                .filter(|name| !name.is_empty())
                .into_iter()
                .collect()
        };
        Some(v1::Capability {
            add_capabilities: list(add),
            drop_capabilities: list(drop),
            ..Default::default()
        })
    };

    let plain = pod.output("plain", script).await;
    let changed = pod.output_with("changed", script, |config| {
        security(config).capabilities = capability("NET_ADMIN", "KILL");
    });
    let changed = changed.await;
    let none = pod.output_with("none", script, |config| {
        security(config).capabilities = capability("", "ALL");
    });

    assert_eq!(bounding(&plain), CHOWN | KILL);
    assert_eq!(bounding(&changed), CHOWN | NET_ADMIN);
    assert_eq!(bounding(&none.await), 0);
    pod.remove().await;
}

async fn a_handler_has_a_filter_of_its_own() {
    let pod = run_by(daemon().await, "filter", host_network).await;
    let script = "mkdir /directory 2>&1; echo $?";
    let profile = |kind: v1::security_profile::ProfileType| {
        move |config: &mut v1::ContainerConfig| {
            security(config).seccomp = Some(v1::SecurityProfile {
                profile_type: kind.into(),
                ..Default::default()
            });
        }
    };

    let default = pod.output_with(
        "default",
        script,
        profile(v1::security_profile::ProfileType::RuntimeDefault),
    );
    let default = default.await;
    let none = pod.output_with(
        "none",
        script,
        profile(v1::security_profile::ProfileType::Unconfined),
    );

    assert!(default.contains("Operation not permitted"), "{default}");
    assert_eq!(none.await, "0\n");
    pod.remove().await;
}

async fn a_handler_mounts_roots_with_options_of_its_own() {
    let daemon = daemon().await;
    let root = async |handler: &str| {
        let pod = run_by(daemon, handler, host_network).await;
        let container = pod.idle("main").await;
        let table = container
            .sh("touch /file && sync -f /file && cat /proc/self/mountinfo")
            .await;
        pod.remove().await;
        table
            .lines()
            .find(|line| line.contains(" / / "))
            .unwrap()
            .to_owned()
    };

    let (with, without) = (root("volatile").await, root("plain").await);

    assert!(with.contains("volatile"), "{with}");
    assert!(!without.contains("volatile"), "{without}");
}

async fn a_handler_keeps_the_nodes_devices_from_privileged_containers() {
    let daemon = daemon().await;
    let script = "ls /dev/loop-control 2>&1; mknod /node c 10 237 && : 2>&1 <>/node && echo opened";
    let tried = async |handler: &str| {
        let pod = run_by(daemon, handler, |config| {
            host_network(config);
            let linux = config.linux.as_mut().unwrap();
            linux.security_context.as_mut().unwrap().privileged = true;
        });
        let pod = pod.await;
        let output = pod.output_with("main", script, |config| security(config).privileged = true);
        let output = output.await;
        pod.remove().await;
        output
    };

    let (with, without) = (tried("plain").await, tried("no-devices").await);

    assert!(with.contains("opened"), "{with}");
    assert!(without.contains("No such file"), "{without}");
    assert!(!without.contains("opened"), "{without}");
}

async fn a_handler_has_a_network_of_its_own() {
    let daemon = daemon().await;
    let name = format!("x{}", daemon.place.network());
    let (here, there) = (
        run_by(daemon, "plain", |_| {}).await,
        run_by(daemon, "network", |_| {}).await,
    );
    let given = |network: &str, ip: &str| node().addresses(network).join(ip).exists();

    let (own, other) = (here.ip().await, there.ip().await);

    assert!(given(&daemon.place.network(), &own), "{own}");
    assert!(given(&name, &other), "{other}");
    here.remove().await;
    there.remove().await;
    assert!(!given(&name, &other), "{other}");
    daemon.check().await;
}

async fn a_handler_has_kernel_parameters_that_pods_need_not_bring() {
    const SOMAXCONN: &str = "/proc/sys/net/core/somaxconn";
    const MSGMAX: &str = "/proc/sys/kernel/msgmax";
    let read = async |pod: &Pod<'_>| {
        let container = pod.idle("main").await;
        container.exec(&["cat", SOMAXCONN, MSGMAX]).await.stdout
    };
    let of_the_node = |path: &str| fs::read_to_string(path).unwrap();
    let bare = run_by(daemon().await, "tuned", |_| {}).await;
    let own = run_by(daemon().await, "tuned", |config| {
        let linux = config.linux.get_or_insert_default();
        linux.sysctls.insert("net.core.somaxconn".into(), "78".into());
    });
    let own = own.await;
    let with_the_node = run_by(daemon().await, "tuned", host_network).await;

    assert_eq!(read(&bare).await, "77\n7777\n");
    assert_eq!(read(&own).await, "78\n7777\n");
    let expected = format!("{}7777\n", of_the_node(SOMAXCONN));
    assert_eq!(read(&with_the_node).await, expected);
    for pod in [bare, own, with_the_node] {
        pod.remove().await;
    }
}

async fn a_handler_has_annotations_that_pods_need_not_bring() {
    let daemon = daemon().await;
    let own = [("example.com/a".to_owned(), "of the pod".to_owned())];
    let pod = run_by(daemon, "notes", |config| config.annotations = own.clone().into()).await;
    let container = pod.create_with("main", &["true"], |config| {
        config.annotations = [("example.com/b".to_owned(), "of the container".to_owned())].into();
    });
    let container = container.await;

    let bundle = daemon
        .place
        .run
        .join("containers")
        .join(&container.id)
        .join("bundle/config.json");
    let written: Value = serde_json::from_slice(&fs::read(bundle).unwrap()).unwrap();
    let told = plugins_were_told(daemon, &pod.id);

    let expected = json!({"example.com/a": "of the handler", "example.com/b": "of the container"});
    assert_eq!(written["annotations"], expected);
    assert_eq!(
        told,
        json!({"example.com/a": "of the pod", "example.com/b": "too"})
    );
    assert_eq!(pod.status().await.annotations, own.into());
    assert_eq!(container.status().await.annotations.len(), 1);
    pod.remove().await;
}

/// The annotations that a pod's plugins could ask for, from the record of its attachment.
fn plugins_were_told(daemon: &Daemon, pod: &str) -> Value {
    let records = fs::read_dir(daemon.place.state.join("cni")).unwrap().flatten();
    let of_pod = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(pod);
    let record = records.into_iter().find(of_pod).unwrap();
    let record = fs::read_to_string(record.path()).unwrap();
    let record: Value = serde_json::from_str(record.lines().last().unwrap()).unwrap();
    record["capabilities"]["io.kubernetes.cri.pod-annotations"].clone()
}

async fn a_profile_that_cannot_be_applied_keeps_the_containers_of_a_handler_from_being_made() {
    let daemon = daemon().await;
    let pod = run_by(daemon, "armoured", host_network).await;
    let config = pod.container_config("main", &["true"]);

    // Where AppArmor is off the creation is refused, where it is on the start: the profile is not loaded.
    let created = daemon
        .runtime()
        .create_container(pod.create_request(config))
        .await;
    let refusal = match created {
        Err(refusal) => refusal,
        Ok(created) => {
            let container_id = created.into_inner().container_id;
            refused(
                daemon
                    .runtime()
                    .start_container(v1::StartContainerRequest { container_id }),
            )
            .await
        }
    };

    assert!(refusal.message().contains("no-such-profile"), "{refusal}");
    pod.remove().await;
}

async fn images_for_a_handler_are_those_of_the_node() {
    let daemon = daemon().await;
    let image = |handler: &str| {
        Some(v1::ImageSpec {
            image: image_name(),
            runtime_handler: handler.to_owned(),
            ..Default::default()
        })
    };
    let pod = run_by(daemon, "plain", host_network).await;

    let status = v1::ImageStatusRequest {
        image: image("read-only"),
        verbose: false,
    };
    let status = daemon.images().image_status(status).await.unwrap().into_inner();
    assert!(status.image.is_some());
    for own in ["plain", ""] {
        let name = format!("by-{own}");
        let container = pod
            .create_with(&name, &["true"], |config| config.image = image(own))
            .await;
        let told = container.status().await.image.unwrap();
        assert_eq!(told.runtime_handler, "", "images are told of as no handler's");
    }
    let mut other = pod.container_config("other", &["true"]);
    other.image = image("read-only");
    let refusal = refused(daemon.runtime().create_container(pod.create_request(other))).await;
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    assert!(
        refusal
            .message()
            .contains("config.image.runtime_handler read-only"),
        "{refusal}"
    );
    let pull = v1::PullImageRequest {
        image: image("kata"),
        ..Default::default()
    };
    let refusal = refused(daemon.images().pull_image(pull)).await;
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    assert!(
        refusal
            .message()
            .contains("runtime_handler kata is not configured"),
        "{refusal}"
    );
    pod.remove().await;
}

async fn pods_outlive_their_handler() {
    let place = Place::with_own_network("handler-goes");
    let network = second_network(&place);
    let conf = json!(node().network_conf(&network));
    place.set(&format!(
        "[runtimes.going]\nread_only = true\ncni_conf_dir = {conf}\n"
    ));
    let daemon = Daemon::with_images_in(place).await;
    let pod = run_by(&daemon, "going", |_| {}).await;
    let container = pod.idle("before").await;
    let (ip, log) = (pod.ip().await, container.log.clone());
    let (id, config, container) = (pod.id.clone(), pod.config.clone(), container.id.clone());
    let (place, _) = daemon.stop().await;
    place.unset();

    let daemon = Daemon::start(place).await;
    let pod = Pod::adopted(&daemon, &id, &config);

    let new = request(pod::config(&daemon, "new"), "going");
    let refusal = refused(daemon.runtime().run_pod_sandbox(new)).await;
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    assert!(
        refusal
            .message()
            .contains("runtime_handler going is not configured"),
        "{refusal}"
    );
    let again = daemon
        .runtime()
        .run_pod_sandbox(request(config.clone(), "going"))
        .await;
    assert_eq!(again.unwrap().into_inner().pod_sandbox_id, id);
    let listed = daemon
        .runtime()
        .list_pod_sandbox(v1::ListPodSandboxRequest::default())
        .await;
    let listed = listed.unwrap().into_inner().items;
    assert_eq!(
        listed
            .iter()
            .map(|pod| pod.runtime_handler.as_str())
            .collect::<Vec<_>>(),
        ["going"]
    );
    assert_eq!(
        Made::adopted(&daemon, &container, &log).sh("echo here").await,
        "here\n"
    );
    let later = pod.idle("later").await;
    assert_ne!(
        later.exec(&["touch", "/file"]).await.code,
        0,
        "the pod keeps what its handler said"
    );
    pod.remove().await;
    assert!(!node().addresses(&network).join(&ip).exists(), "{ip}");
    daemon.check().await;
}

async fn a_wrong_handler_keeps_the_daemon_from_starting() {
    let place = Place::new("wrong-handler");
    place.set("[runtimes.odd]\nmount_options = ['metacopy=on']\n");

    let output = place.command(&["config", "check"]).output().unwrap();

    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{output:?}");
    assert!(
        told.contains("runtimes.odd.mount_options must be some of volatile"),
        "{told}"
    );
}
