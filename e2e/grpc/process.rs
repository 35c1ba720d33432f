//! What a container's first process finds: user, environment, directory, file systems, limits.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use coracle::cri::wire::v1 as ours;
use k8s_cri::v1;
use libtest_mimic::Trial;
use prost::Message as _;

use crate::harness::daemon::{image_name, refused, rich_image_name, shared};
use crate::harness::pod::{Pod, security};
use crate::harness::trials;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        the_image_says_what_the_request_does_not,
        users_and_groups_are_those_asked_for,
        a_user_that_the_image_does_not_know_is_refused,
        environment_values_are_bytes,
        a_missing_working_directory_is_made,
        a_declared_volume_has_the_images_content,
        the_root_can_be_read_only,
        masked_and_readonly_paths_hold,
        mounts_are_where_they_were_asked_for,
        a_read_only_mount_can_be_so_in_depth,
        capabilities_are_added_and_dropped,
        the_command_takes_the_place_of_the_entrypoint,
        nothing_of_ours_is_open_in_a_container,
        a_privileged_container_sees_the_nodes_devices,
    ]
}

fn rich(config: &mut v1::ContainerConfig) {
    config.image.as_mut().unwrap().image = rich_image_name();
}

async fn the_image_says_what_the_request_does_not() {
    let pod = Pod::run(shared().await, "image-says").await;

    let by_itself = pod.start_with("itself", &[], rich).await;
    by_itself.exited().await;
    let told = pod
        .output_with("told", "id -un; pwd; echo $FROM_IMAGE; echo $HOME", rich)
        .await;
    let overridden = pod
        .output_with("overridden", "pwd; echo $FROM_IMAGE; id -u", |config| {
            rich(config);
            config.working_dir = "/tmp".into();
            config.envs.push(v1::KeyValue {
                key: "FROM_IMAGE".into(),
                value: "no".into(),
            });
            security(config).run_as_user = Some(v1::Int64Value { value: 0 });
        })
        .await;

    assert_eq!(by_itself.output(), "from the image\n");
    assert_eq!(told, "app\n/work\nyes\n/tmp\n");
    assert_eq!(overridden, "/tmp\nno\n0\n");
    pod.remove().await;
}

async fn users_and_groups_are_those_asked_for() {
    let pod = Pod::run(shared().await, "users").await;
    let number = |value: i64| Some(v1::Int64Value { value });
    let check =
        async |name: &str, change: &dyn Fn(&mut v1::LinuxContainerSecurityContext), expected: &str| {
            let output = pod
                .output_with(name, "echo $(id -u) $(id -g) $(id -G)", |config| {
                    change(security(config))
                })
                .await;
            assert_eq!(output.trim(), expected, "{name}");
        };

    check("root", &|_| {}, "0 0 0").await;
    check(
        "by-id",
        &|context| context.run_as_user = number(1000),
        "1000 1000 1000 50000",
    )
    .await;
    check(
        "by-name",
        &|context| context.run_as_username = "app".into(),
        "1000 1000 1000 50000",
    )
    .await;
    check(
        "unknown-id",
        &|context| context.run_as_user = number(4242),
        "4242 0 0",
    )
    .await;
    let with_group = |context: &mut v1::LinuxContainerSecurityContext| {
        context.run_as_user = number(1000);
        context.run_as_group = number(2000);
        context.supplemental_groups = vec![3000];
    };
    check("merged", &with_group, "1000 2000 2000 3000 50000").await;
    let strict = |context: &mut v1::LinuxContainerSecurityContext| {
        with_group(context);
        context.supplemental_groups_policy = v1::SupplementalGroupsPolicy::Strict.into();
    };
    check("strict", &strict, "1000 2000 2000 3000").await;
    pod.remove().await;
}

async fn a_user_that_the_image_does_not_know_is_refused() {
    let pod = Pod::run(shared().await, "no-user").await;
    let mut config = pod.container_config("main", &["true"]);
    security(&mut config).run_as_username = "nobody-knows".into();

    let request = pod.create_request(config);
    let refusal = refused(shared().await.runtime().create_container(request)).await;

    assert!(refusal.message().contains("nobody-knows"), "{refusal}");
    pod.remove().await;
}

/// `k8s-cri` has values as text; the API, since 1.36, as bytes.
async fn environment_values_are_bytes() {
    let daemon = shared().await;
    let pod = Pod::run(daemon, "env").await;
    let env = |key: &str, value: &[u8]| ours::KeyValue {
        key: key.to_owned(),
        value: value.to_vec(),
    };
    let config = ours::ContainerConfig {
        metadata: Some(ours::ContainerMetadata {
            name: "main".into(),
            attempt: 0,
        }),
        image: Some(ours::ImageSpec {
            image: image_name(),
            ..Default::default()
        }),
        command: vec![
            "sh".into(),
            "-c".into(),
            "printf %s \"$ODD\" | hexdump -e '/1 \"%02x\"'; echo; sleep infinity".into(),
        ],
        envs: vec![
            env("ODD", b"\xff=\x80 a"),
            env("ODD_TOO", b"first"),
            env("ODD_TOO", b"last"),
        ],
        log_path: "main.log".into(),
        ..Default::default()
    };
    let of_the_pod = ours::PodSandboxConfig::decode(pod.config.encode_to_vec().as_slice()).unwrap();
    let request = ours::CreateContainerRequest {
        pod_sandbox_id: pod.id.clone(),
        config: Some(config),
        sandbox_config: Some(of_the_pod),
    };
    let mut client = daemon.own_runtime();
    let id = client
        .create_container(request)
        .await
        .unwrap()
        .into_inner()
        .container_id;
    let container = crate::harness::container::Made::adopted(daemon, &id, &pod.logs().join("main.log"));
    container.start().await;
    // By then the kernel has its environment in place, too: a start is told of a moment before.
    container.printed("ff3d802061").await;

    for (name, expected) in [("ODD", &b"ODD=\xff=\x80 a\n"[..]), ("ODD_TOO", b"ODD_TOO=last\n")] {
        let script =
            format!("tr '\\0' '\\n' </proc/1/environ | grep -a '^{name}=' | hexdump -v -e '/1 \"%02x\"'");
        let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(container.sh(&script).await, expected);
    }
    pod.remove().await;
}

async fn a_missing_working_directory_is_made() {
    let pod = Pod::run(shared().await, "workdir").await;

    let output = pod
        .output_with("main", "pwd", |config| {
            config.working_dir = "/made/for/this".into()
        })
        .await;

    assert_eq!(output, "/made/for/this\n");
    pod.remove().await;
}

async fn a_declared_volume_has_the_images_content() {
    let pod = Pod::run(shared().await, "volume").await;
    let script = "cat /data/seed; stat -c '%u %g %a' /data /data/seed; echo more >/data/new; grep -c ' /data ' /proc/self/mounts";

    let first = pod.output_with("first", script, rich).await;
    let second = pod.output_with("second", "ls /data", rich).await;

    assert_eq!(first, "from the image\n1000 1000 750\n1000 1000 640\n1\n");
    assert_eq!(second, "seed\n");
    pod.remove().await;
}

async fn the_root_can_be_read_only() {
    let pod = Pod::run(shared().await, "readonly").await;
    let script = "touch /file 2>&1; touch /dev/shm/file && echo shm; echo >/etc/hosts; grep -c ' / .* ro' /proc/self/mountinfo";

    let output = pod
        .output_with("main", script, |config| security(config).readonly_rootfs = true)
        .await;

    assert!(output.contains("touch: /file: Read-only file system"), "{output}");
    assert!(output.contains("shm\n"), "{output}");
    pod.remove().await;
}

async fn masked_and_readonly_paths_hold() {
    let pod = Pod::run(shared().await, "masked").await;
    let script = "cat /etc/passwd | wc -c; ls /bin | wc -l; touch /var/file 2>&1; (echo 1 >/proc/sys/kernel/core_uses_pid) 2>&1";

    let output = pod
        .output_with("main", script, |config| {
            let security = security(config);
            security.masked_paths = vec!["/etc/passwd".into(), "/root".into(), "/no/such/path".into()];
            security.readonly_paths = vec!["/var".into(), "/proc/sys".into()];
        })
        .await;

    assert!(output.starts_with("0\n"), "{output}");
    assert!(
        output.contains("touch: /var/file: Read-only file system"),
        "{output}"
    );
    assert!(
        output.contains("/proc/sys/kernel/core_uses_pid: Read-only file system"),
        "{output}"
    );
    pod.remove().await;
}

async fn mounts_are_where_they_were_asked_for() {
    let pod = Pod::run(shared().await, "mounts").await;
    let volume = pod.logs().join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "from the node\n").unwrap();
    // As the kubelet's directories are.
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(&volume, pod.logs().join("link")).unwrap();
    let mount = |container_path: &str, host: &str, readonly| v1::Mount {
        container_path: container_path.into(),
        host_path: pod.logs().join(host).to_str().unwrap().into(),
        readonly,
        ..Default::default()
    };
    let script =
        "cat /a/file /b/file /c/deep/file /etc/hosts; echo written >/a/new; (echo refused >/b/new) 2>&1";

    let output = pod
        .output_with("main", script, |config| {
            config.mounts = vec![
                mount("/a", "volume", false),
                mount("/b", "link", true),
                mount("/c/deep/file", "volume/file", false),
                mount("/etc/hosts", "volume/file", true),
            ];
        })
        .await;

    assert!(output.starts_with(&"from the node\n".repeat(4)), "{output}");
    assert!(output.contains("/b/new: Read-only file system"), "{output}");
    assert_eq!(fs::read_to_string(volume.join("new")).unwrap(), "written\n");
    pod.remove().await;
}

async fn a_read_only_mount_can_be_so_in_depth() {
    let pod = Pod::run(shared().await, "rro").await;
    let volume = pod.logs().join("volume");
    fs::create_dir_all(volume.join("sub")).unwrap();
    crate::harness::node::shell(&format!("mount -t tmpfs sub {}", volume.join("sub").display()));
    let mount = |recursive_read_only| v1::Mount {
        container_path: "/v".into(),
        host_path: volume.to_str().unwrap().into(),
        readonly: true,
        recursive_read_only,
        ..Default::default()
    };

    let flat = pod
        .output_with("flat", "touch /v/sub/file && echo ok", |c| {
            c.mounts = vec![mount(false)]
        })
        .await;
    let deep = pod
        .output_with("deep", "touch /v/sub/file 2>&1", |c| c.mounts = vec![mount(true)])
        .await;

    assert_eq!(flat, "ok\n");
    assert_eq!(deep, "touch: /v/sub/file: Read-only file system\n");
    pod.remove().await;
    crate::harness::node::shell(&format!("umount {}", volume.join("sub").display()));
}

async fn capabilities_are_added_and_dropped() {
    const NET_ADMIN: u64 = 1 << 12;
    const CHOWN: u64 = 1;
    let pod = Pod::run(shared().await, "caps").await;
    let check = async |name: &str, add: &[&str], drop: &[&str], holds: &dyn Fn(u64) -> bool| {
        let script = "grep CapEff /proc/self/status";
        let output = pod
            .output_with(name, script, |config| {
                let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
                security(config).capabilities = Some(v1::Capability {
                    add_capabilities: owned(add),
                    drop_capabilities: owned(drop),
                    add_ambient_capabilities: vec![],
                });
            })
            .await;
        let hex = output.split_whitespace().nth(1).unwrap();
        assert!(holds(u64::from_str_radix(hex, 16).unwrap()), "{name}: {output}");
    };

    check("default", &[], &[], &|caps| {
        caps & NET_ADMIN == 0 && caps & CHOWN != 0
    })
    .await;
    check("added", &["NET_ADMIN"], &[], &|caps| {
        caps & NET_ADMIN != 0 && caps & CHOWN != 0
    })
    .await;
    check("dropped", &[], &["CAP_CHOWN"], &|caps| {
        caps & CHOWN == 0 && caps != 0
    })
    .await;
    check("none", &[], &["ALL"], &|caps| caps == 0).await;
    check("only", &["CHOWN"], &["ALL"], &|caps| caps == CHOWN).await;
    pod.remove().await;
}

async fn the_command_takes_the_place_of_the_entrypoint() {
    let pod = Pod::run(shared().await, "command").await;
    let check = async |name: &str, command: &[&str], args: &[&str], expected: &str| {
        let container = pod
            .start_with(name, command, |config| {
                rich(config);
                config.args = args.iter().map(|word| (*word).to_owned()).collect();
            })
            .await;
        container.exited().await;
        assert_eq!(container.output(), expected, "{name}");
    };

    check("neither", &[], &[], "from the image\n").await;
    check("args", &[], &["other", "words"], "other words\n").await;
    check("command", &["printf", "%s."], &[], ".").await;
    check("both", &["printf", "%s."], &["a", "b"], "a.b.").await;
    pod.remove().await;
}

async fn nothing_of_ours_is_open_in_a_container() {
    let pod = Pod::run(shared().await, "fds").await;
    let container = pod.idle("main").await;

    // `ls` itself opens the directory as 3.
    let of_exec = container.sh("ls /proc/self/fd").await;
    let of_first = container.sh("ls /proc/1/fd").await;
    // The kernel has the environment in place a moment after the start.
    let environment = container
        .sh("until grep -q . /proc/1/environ; do :; done; tr '\\0' '\\n' </proc/1/environ | cut -d= -f1 | sort")
        .await;

    assert_eq!(of_exec, "0\n1\n2\n3\n");
    assert_eq!(of_first, "0\n1\n2\n");
    assert_eq!(environment, "HOME\nHOSTNAME\nPATH\n");
    pod.remove().await;
}

async fn a_privileged_container_sees_the_nodes_devices() {
    let pod = Pod::run_with(shared().await, "privileged", |config| {
        crate::harness::pod::host_network(config);
        let linux = config.linux.as_mut().unwrap();
        linux.security_context.as_mut().unwrap().privileged = true;
    })
    .await;
    let script = "[ -e /dev/loop-control ] && echo device; grep Seccomp: /proc/self/status; mount -t tmpfs x /mnt 2>&1 || mkdir /m && mount -t tmpfs x /m && echo mounted";

    let with = pod
        .output_with("with", script, |config| security(config).privileged = true)
        .await;
    let without = pod.output_with("without", script, |_| {}).await;

    assert!(with.contains("device\n") && with.contains("mounted\n"), "{with}");
    assert!(
        !without.contains("device\n") && !without.contains("mounted\n"),
        "{without}"
    );
    pod.remove().await;
}
