//! The table of CreateContainer, the call with the most to get wrong.

use k8s_cri::v1;
use libtest_mimic::Trial;
use tonic::Code;

use super::{Table, at_rest, empty};
use crate::harness::daemon::Daemon;
use crate::harness::pod::{Pod, resources, security};
use crate::harness::trials;

pub(super) fn tests() -> Vec<Trial> {
    trials![create, create_in_what_is_no_ready_pod]
}

type Change = fn(&mut v1::ContainerConfig);

fn image(config: &mut v1::ContainerConfig, name: &str) {
    config.image.as_mut().unwrap().image = name.to_owned();
}

fn mount(config: &mut v1::ContainerConfig, change: fn(&mut v1::Mount)) {
    let mut mount = v1::Mount {
        container_path: "/mnt".into(),
        host_path: "/tmp".into(),
        ..Default::default()
    };
    change(&mut mount);
    config.mounts.push(mount);
}

fn env(config: &mut v1::ContainerConfig, key: &str, value: &str) {
    config.envs.push(v1::KeyValue {
        key: key.to_owned(),
        value: value.to_owned(),
    });
}

fn device(config: &mut v1::ContainerConfig, host_path: &str, permissions: &str) {
    config.devices.push(v1::Device {
        container_path: "/dev/x".into(),
        host_path: host_path.to_owned(),
        permissions: permissions.to_owned(),
    });
}

fn seccomp(config: &mut v1::ContainerConfig, kind: i32, reference: &str) {
    security(config).seccomp = Some(v1::SecurityProfile {
        profile_type: kind,
        localhost_ref: reference.to_owned(),
    });
}

fn number(value: i64) -> Option<v1::Int64Value> {
    Some(v1::Int64Value { value })
}

fn target(config: &mut v1::ContainerConfig, id: &str) {
    let options = security(config).namespace_options.as_mut().unwrap();
    options.pid = v1::NamespaceMode::Target.into();
    options.target_id = id.to_owned();
}

fn capability(config: &mut v1::ContainerConfig, name: &str) {
    security(config).capabilities = Some(v1::Capability {
        add_capabilities: vec![name.to_owned()],
        ..Default::default()
    });
}

const INVALID: Code = Code::InvalidArgument;

const REFUSED: &[(&str, Code, &str, Change)] = &[
    ("no metadata", INVALID, "metadata", |c| c.metadata = None),
    ("no name", INVALID, "metadata.name", |c| {
        c.metadata.as_mut().unwrap().name.clear()
    }),
    ("a name that is a path", INVALID, "metadata.name", |c| {
        c.metadata.as_mut().unwrap().name = "../x".into()
    }),
    ("no image", INVALID, "image", |c| c.image = None),
    ("an empty image", INVALID, "image", |c| image(c, "")),
    (
        "an unknown image",
        Code::NotFound,
        "registry.example/no/such:image",
        |c| image(c, "registry.example/no/such:image"),
    ),
    (
        "an image id that is unknown",
        Code::NotFound,
        "sha256:0000",
        |c| image(c, &format!("sha256:{}", "0".repeat(64))),
    ),
    ("a malformed image", INVALID, "image", |c| {
        image(c, "Not A Name@@")
    }),
    (
        "a mount without a place",
        INVALID,
        "mounts[0].container_path",
        |c| mount(c, |m| m.container_path.clear()),
    ),
    ("a mount without a source", INVALID, "mounts[0].host_path", |c| {
        mount(c, |m| m.host_path.clear())
    }),
    ("a relative place", INVALID, "mounts[0].container_path", |c| {
        mount(c, |m| m.container_path = "mnt".into())
    }),
    ("a relative source", INVALID, "mounts[0].host_path", |c| {
        mount(c, |m| m.host_path = "tmp".into())
    }),
    ("a source that is missing", INVALID, "mounts[0].host_path", |c| {
        mount(c, |m| m.host_path = "/no/such/source".into())
    }),
    ("an unknown propagation", INVALID, "mounts[0].propagation", |c| {
        mount(c, |m| m.propagation = 9)
    }),
    (
        "writable and read-only in depth",
        INVALID,
        "mounts[0].recursive_read_only",
        |c| mount(c, |m| m.recursive_read_only = true),
    ),
    ("a variable without a name", INVALID, "envs[0].key", |c| {
        env(c, "", "x")
    }),
    ("a variable with = in its name", INVALID, "envs[0].key", |c| {
        env(c, "A=B", "x")
    }),
    ("a variable with a NUL", INVALID, "envs[0].value", |c| {
        env(c, "A", "x\0y")
    }),
    ("a word with a NUL", INVALID, "command[1]", |c| {
        c.command = vec!["echo".into(), "a\0b".into()]
    }),
    ("an argument with a NUL", INVALID, "args[0]", |c| {
        c.args = vec!["\0".into()]
    }),
    ("a relative working directory", INVALID, "working_dir", |c| {
        c.working_dir = "tmp".into()
    }),
    ("a log above its directory", INVALID, "log_path", |c| {
        c.log_path = "../../x.log".into()
    }),
    ("a device that is missing", INVALID, "devices[0].host_path", |c| {
        device(c, "/dev/no-such-device", "rwm")
    }),
    ("a device that is none", INVALID, "devices[0].host_path", |c| {
        device(c, "/etc/passwd", "rwm")
    }),
    ("unknown permissions", INVALID, "devices[0].permissions", |c| {
        device(c, "/dev/null", "rwx")
    }),
    ("a capability that is none", INVALID, "CAP_OF_INVISIBILITY", |c| {
        capability(c, "CAP_OF_INVISIBILITY")
    }),
    ("an empty capability", INVALID, "add_capabilities[0]", |c| {
        capability(c, "")
    }),
    ("a negative user", INVALID, "run_as_user", |c| {
        security(c).run_as_user = number(-1)
    }),
    ("a user beyond the last", INVALID, "run_as_user", |c| {
        security(c).run_as_user = number(1 << 32)
    }),
    ("a group without a user", INVALID, "run_as_group", |c| {
        security(c).run_as_group = number(5)
    }),
    ("a user by number and by name", INVALID, "run_as_username", |c| {
        security(c).run_as_user = number(0);
        security(c).run_as_username = "root".into();
    }),
    (
        "a user that the image does not know",
        INVALID,
        "no-such-user",
        |c| security(c).run_as_username = "no-such-user".into(),
    ),
    ("a negative group", INVALID, "supplemental_groups[1]", |c| {
        security(c).supplemental_groups = vec![1, -1]
    }),
    (
        "an unknown policy of groups",
        INVALID,
        "supplemental_groups_policy",
        |c| security(c).supplemental_groups_policy = 9,
    ),
    ("privileged in a pod that is not", INVALID, "privileged", |c| {
        security(c).privileged = true
    }),
    ("an unknown kind of profile", INVALID, "profile_type", |c| {
        seccomp(c, 9, "")
    }),
    ("a local profile without a name", INVALID, "localhost_ref", |c| {
        seccomp(c, 2, "")
    }),
    (
        "a local profile that is missing",
        INVALID,
        "/no/such/profile.json",
        |c| seccomp(c, 2, "/no/such/profile.json"),
    ),
    ("a local profile that is none", INVALID, "seccomp profile", |c| {
        seccomp(c, 2, "/etc/passwd")
    }),
    (
        "a masked path that is relative",
        INVALID,
        "masked_paths[0]",
        |c| security(c).masked_paths = vec!["proc".into()],
    ),
    ("a target without an id", INVALID, "target_id", |c| target(c, "")),
    (
        "a target that is unknown",
        Code::NotFound,
        "no-such-container",
        |c| target(c, "no-such-container"),
    ),
    ("an unknown pid mode", INVALID, "pid", |c| {
        security(c).namespace_options.as_mut().unwrap().pid = 9
    }),
    ("a level that is none", INVALID, "selinux_options.level", |c| {
        security(c).selinux_options = Some(v1::SeLinuxOption {
            level: "s0,c4,c5".into(),
            ..v1::SeLinuxOption::default()
        });
    }),
    ("an oom score beyond the last", INVALID, "oom_score_adj", |c| {
        resources(c).oom_score_adj = 1001
    }),
    ("a negative period", INVALID, "cpu_period", |c| {
        resources(c).cpu_period = -1
    }),
    ("a processor that is missing", INVALID, "cpuset", |c| {
        resources(c).cpuset_cpus = "4095".into()
    }),
    (
        "huge pages of no size",
        INVALID,
        "hugepage_limits[0].page_size",
        |c| {
            resources(c).hugepage_limits.push(v1::HugepageLimit::default());
        },
    ),
    (
        "less memory with swap than without",
        INVALID,
        "memory_swap_limit_in_bytes",
        |c| {
            resources(c).memory_limit_in_bytes = 64 << 20;
            resources(c).memory_swap_limit_in_bytes = 32 << 20;
        },
    ),
    (
        "an ambient capability that is none",
        INVALID,
        "add_ambient",
        |c| {
            security(c).capabilities = Some(v1::Capability {
                add_ambient_capabilities: vec!["NO_SUCH_THING".into()],
                ..Default::default()
            });
        },
    ),
    ("a file outside the cgroup", INVALID, "unified", |c| {
        resources(c).unified.insert("../memory.max".into(), "1".into());
    }),
];

async fn call(
    daemon: &Daemon,
    request: v1::CreateContainerRequest,
) -> Result<tonic::Response<v1::CreateContainerResponse>, tonic::Status> {
    daemon.runtime().create_container(request).await
}

async fn create() {
    let daemon = empty().await;
    let pod = Pod::run(&daemon, "create").await;
    pod.start("first", &["true"]).await.exited().await;
    at_rest(&daemon).await;
    let mut table = Table::new(&daemon).await;

    let mut request = pod.create_request(v1::ContainerConfig::default());
    request.config = None;
    table
        .refused("no configuration", INVALID, "config", call(&daemon, request))
        .await;
    for (row, code, names, change) in REFUSED {
        let mut config = pod.container_config("main", &["true"]);
        change(&mut config);
        let request = pod.create_request(config);
        table.refused(row, *code, names, call(&daemon, request)).await;
    }

    table.finish();
    // After all that, it still works.
    assert_eq!(pod.output("main", "echo fine").await, "fine\n");
}

async fn create_in_what_is_no_ready_pod() {
    let daemon = empty().await;
    let pod = Pod::run(&daemon, "create-order").await;
    let exited = pod.start("main", &["true"]).await;
    exited.exited().await;
    at_rest(&daemon).await;
    let stopped = Pod::run(&daemon, "create-stopped").await;
    stopped.stop().await;
    let mut table = Table::new(&daemon).await;
    let request = |id: &str| v1::CreateContainerRequest {
        pod_sandbox_id: id.to_owned(),
        ..pod.create_request(pod.container_config("other", &["true"]))
    };

    table
        .refused("no pod", INVALID, "pod_sandbox_id", call(&daemon, request("")))
        .await;
    table
        .refused(
            "an unknown pod",
            Code::NotFound,
            "no-such-pod",
            call(&daemon, request("no-such-pod")),
        )
        .await;
    table
        .refused("a path", Code::NotFound, "../..", call(&daemon, request("../..")))
        .await;
    table
        .refused(
            "a stopped pod",
            Code::FailedPrecondition,
            &stopped.id,
            call(&daemon, request(&stopped.id)),
        )
        .await;
    let ended = pod.create_request(pod.container_config("main", &["true"]));
    table
        .refused(
            "a container that has ended",
            Code::AlreadyExists,
            "main",
            call(&daemon, ended),
        )
        .await;
    let mut elsewhere = request(&pod.id);
    let other = Pod::run(&daemon, "create-other").await;
    let foreign = other.idle("foreign").await;
    target(elsewhere.config.as_mut().unwrap(), &foreign.id);
    let mut table = Table {
        before: super::world(&daemon).await,
        ..table
    };
    table
        .refused(
            "a target in another pod",
            INVALID,
            "target_id",
            call(&daemon, elsewhere),
        )
        .await;

    table.finish();
}
