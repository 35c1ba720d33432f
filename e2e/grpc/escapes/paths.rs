//! Paths that lead elsewhere: of working directories, logs, kernel parameters.

use std::fs;
use std::os::unix::fs::symlink;

use k8s_cri::v1;
use libtest_mimic::Trial;
use nix::sys::stat::Mode;
use tonic::Code;

use super::{linked, uncreatable};
use crate::harness::daemon::{refused, shared};
use crate::harness::pod::{self, Pod, security};
use crate::harness::trials;

pub(super) fn tests() -> Vec<Trial> {
    trials![
        a_working_directory_does_not_lead_out,
        a_working_directory_of_an_image_does_not_lead_out,
        a_log_is_not_written_through_a_link,
        a_log_that_became_a_link_is_not_reopened,
        no_parameter_of_the_nodes_kernel_is_set,
    ]
}

/// Starts a container that must not start, and returns why.
async fn unstartable(pod: &Pod<'_>, name: &str, change: impl FnOnce(&mut v1::ContainerConfig)) -> String {
    let container = pod.create_with(name, &["pwd"], change).await;
    let request = v1::StartContainerRequest {
        container_id: container.id,
    };
    let status = refused(pod.daemon.runtime().start_container(request)).await;
    status.message().to_owned()
}

fn shares_the_nodes_processes(config: &mut v1::PodSandboxConfig) {
    pod::host_network(config);
    pod::namespaces(config).pid = v1::NamespaceMode::Node.into();
}

fn sees_the_nodes_processes(config: &mut v1::ContainerConfig) {
    security(config).namespace_options.as_mut().unwrap().pid = v1::NamespaceMode::Node.into();
}

/// CVE-2024-21626, and the node's root by way of a process of its own: neither entered nor made anything in.
async fn a_working_directory_does_not_lead_out() {
    let pod = Pod::run_with(shared().await, "cwd", shares_the_nodes_processes).await;
    let outside = pod.logs().join("made");
    for (number, cwd) in [
        format!("/proc/1/root{}", outside.display()),
        format!("/proc/1/cwd{}", outside.display()),
        "/proc/1/root".to_owned(),
        "/proc/self/root/proc/1/cwd".to_owned(),
    ]
    .into_iter()
    .chain((3..16).map(|fd| format!("/proc/self/fd/{fd}/../..")))
    .enumerate()
    {
        let error = unstartable(&pod, &format!("c{number}"), |config| {
            sees_the_nodes_processes(config);
            config.working_dir = cwd.clone();
        })
        .await;
        assert!(error.contains("directory"), "{cwd}: {error}");
    }

    assert!(!outside.exists(), "the container made {}", outside.display());
    pod.remove().await;
}

async fn a_working_directory_of_an_image_does_not_lead_out() {
    let daemon = shared().await;
    let pod = Pod::run_with(daemon, "cwd-image", shares_the_nodes_processes).await;
    let outside = pod.logs().join("made");
    let image = linked(
        daemon,
        &[("way", "/proc/1/root"), ("inside", "/tmp/of-the-image")],
    )
    .await;

    let error = unstartable(&pod, "out", |config| {
        sees_the_nodes_processes(config);
        config.image.as_mut().unwrap().image = image.clone();
        config.working_dir = format!("/way{}", outside.display());
    })
    .await;
    let inside = pod
        .output_with("in", "pwd", |config| {
            config.image.as_mut().unwrap().image = image.clone();
            config.working_dir = "/bin/../tmp/./of/../its/own".to_owned();
        })
        .await;

    assert!(error.contains("directory"), "{error}");
    assert!(!outside.exists());
    assert_eq!(inside, "/tmp/its/own\n");
    pod.remove().await;
}

async fn a_log_is_not_written_through_a_link() {
    let pod = Pod::run(shared().await, "log-link").await;
    let (logs, victim) = (pod.logs(), pod.logs().join("victim"));
    fs::write(&victim, "kept\n").unwrap();
    symlink(&victim, logs.join("link.log")).unwrap();
    symlink(logs.join("nothing"), logs.join("dangling.log")).unwrap();
    fs::create_dir(logs.join("real")).unwrap();
    symlink(logs.join("real"), logs.join("parent")).unwrap();
    nix::unistd::mkfifo(&logs.join("fifo.log"), Mode::S_IRWXU).unwrap();

    for path in ["link.log", "dangling.log", "parent/x.log", "fifo.log"] {
        let status = uncreatable(&pod, |config| config.log_path = path.to_owned()).await;
        assert!(status.message().contains("log"), "{path}: {status}");
    }

    assert_eq!(fs::read_to_string(victim).unwrap(), "kept\n");
    assert!(!logs.join("nothing").exists() && !logs.join("real/x.log").exists());
    pod.remove().await;
}

/// What a container can do that has the directory of its logs as a volume.
async fn a_log_that_became_a_link_is_not_reopened() {
    let daemon = shared().await;
    let pod = Pod::run(daemon, "log-reopen").await;
    let container = pod
        .start("main", &["sh", "-c", "while sleep 0.05; do echo line; done"])
        .await;
    container.printed("line").await;
    let victim = pod.logs().join("victim");
    fs::write(&victim, "kept\n").unwrap();
    let rotated = pod.logs().join("rotated");
    fs::rename(&container.log, &rotated).unwrap();
    symlink(&victim, &container.log).unwrap();

    let request = v1::ReopenContainerLogRequest {
        container_id: container.id.clone(),
    };
    let status = refused(daemon.runtime().reopen_container_log(request)).await;
    let before = fs::metadata(&rotated).unwrap().len();
    crate::harness::eventually("the old file goes on", async || {
        (fs::metadata(&rotated).unwrap().len() > before).then_some(())
    })
    .await;

    assert!(status.message().contains("log"), "{status}");
    assert_eq!(fs::read_to_string(victim).unwrap(), "kept\n");
    pod.remove().await;
}

async fn no_parameter_of_the_nodes_kernel_is_set() {
    const FILE: &str = "/proc/sys/kernel/core_pattern";
    let before = fs::read_to_string(FILE).unwrap();
    let daemon = shared().await;
    for name in [
        "net.//.kernel.core_pattern",
        "net/../kernel/core_pattern",
        "net...//.kernel.core_pattern",
        "fs.mqueue.//.//.kernel.core_pattern",
        "kernel.shm.//.core_pattern",
        "kernel.shm/../core_pattern",
        "/kernel/core_pattern",
        "../sys/kernel/core_pattern",
        "kernel.core_pattern",
        "net.ipv4\0.ip_forward",
    ] {
        let mut config = pod::config(daemon, "sysctl");
        let linux = config.linux.as_mut().unwrap();
        // The value there is: a hole shows by success, and harms nobody.
        linux.sysctls.insert(name.to_owned(), before.trim().to_owned());
        let request = v1::RunPodSandboxRequest {
            config: Some(config),
            ..Default::default()
        };
        let status = refused(daemon.runtime().run_pod_sandbox(request)).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{name:?}: {status}");
        assert!(status.message().contains("sysctls"), "{name:?}: {status}");
    }
    assert_eq!(fs::read_to_string(FILE).unwrap(), before);
}
