//! What the engine leaves open and this runtime closes. Each of these fails when the hole opens again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::PathBuf;

use k8s_cri::v1;
use libtest_mimic::Trial;
use sha2::{Digest, Sha256};

use crate::harness::container::Made;
use crate::harness::daemon::shared;
use crate::harness::node::{hierarchies, shell};
use crate::harness::pod::{Pod, resources, security};
use crate::harness::trials;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        an_exec_has_the_containers_filter,
        a_filter_denies_what_it_says,
        cgroups_of_version_1_cannot_be_written,
        a_volume_can_be_below_the_cgroups,
        privileges_can_be_gained_under_a_filter_unless_forbidden,
        signals_are_as_a_new_process_expects,
        each_mount_has_its_own_propagation,
        the_program_of_the_runtime_cannot_be_reached,
        a_volume_below_a_private_directory_can_be_used,
        the_hosts_dev_can_be_a_volume,
    ]
}

fn filtered(config: &mut v1::ContainerConfig) {
    security(config).seccomp = Some(v1::SecurityProfile {
        profile_type: v1::security_profile::ProfileType::RuntimeDefault.into(),
        localhost_ref: String::new(),
    });
}

/// A value of a process's status file.
async fn status(container: &Made<'_>, process: &str, key: &str) -> String {
    // Not by way of a shell, which has ideas of its own about signals.
    let file = format!("/proc/{process}/status");
    let line = container.exec(&["grep", &format!("^{key}:"), &file]).await.stdout;
    line.split_whitespace().nth(1).unwrap().to_owned()
}

async fn an_exec_has_the_containers_filter() {
    let pod = Pod::run(shared().await, "seccomp").await;
    let with = pod.start_with("with", &["sleep", "infinity"], filtered).await;
    let without = pod.idle("without").await;

    assert_eq!(status(&with, "1", "Seccomp").await, "2");
    assert_eq!(status(&with, "self", "Seccomp").await, "2");
    assert_eq!(status(&with, "self", "Seccomp_filters").await, "1");
    assert_eq!(status(&without, "1", "Seccomp").await, "0");
    assert_eq!(status(&without, "self", "Seccomp").await, "0");
    pod.remove().await;
}

async fn a_filter_denies_what_it_says() {
    let pod = Pod::run(shared().await, "localhost").await;
    let profile = pod.logs().join("no-mkdir.json");
    let denied = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}"#;
    fs::write(&profile, denied).unwrap();
    let container = pod
        .start_with(
            "main",
            &["sh", "-c", "mkdir /x 2>&1; exec sleep infinity"],
            |config| {
                security(config).seccomp = Some(v1::SecurityProfile {
                    profile_type: v1::security_profile::ProfileType::Localhost.into(),
                    localhost_ref: profile.to_str().unwrap().to_owned(),
                });
            },
        )
        .await;

    let of_exec = container.exec(&["mkdir", "/x"]).await;

    container.printed("Operation not permitted").await;
    assert!(of_exec.stderr.contains("Operation not permitted"), "{of_exec:?}");
    pod.remove().await;
}

async fn cgroups_of_version_1_cannot_be_written() {
    const LIMIT: i64 = 64 * 1024 * 1024;
    let pod = Pod::run(shared().await, "cgroup-ro").await;
    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            resources(config).memory_limit_in_bytes = LIMIT;
        })
        .await;

    // Whatever is found below the mount, by any name: no file may be written, no cgroup made.
    let script = "cd /sys/fs/cgroup && for f in $(find . -name memory.limit_in_bytes -o -name memory.max); do \
                  echo $f $(cat $f); echo 199999488 >$f && echo WRITTEN; done 2>&1; \
                  for d in $(find . -type d); do mkdir $d/new 2>/dev/null && echo MADE $d; done; true";
    let output = container.sh(script).await;

    assert!(
        output.contains(&format!(" {LIMIT}")),
        "the container sees its own limit: {output}"
    );
    assert!(
        !output.contains("WRITTEN") && !output.contains("MADE"),
        "{output}"
    );
    // The root of no hierarchy shows: it would have the cgroups of all others.
    let others = container.sh("find /sys/fs/cgroup -name 'coracle-e2e*'").await;
    assert_eq!(others, "");
    if hierarchies().len() > 1 {
        let systemd = container
            .sh("ls /sys/fs/cgroup/systemd 2>/dev/null | grep -v '^\\(cgroup\\|tasks\\|notify\\)' || true")
            .await;
        assert_eq!(systemd, "");
    }
    pod.remove().await;
}

async fn a_volume_can_be_below_the_cgroups() {
    if hierarchies().len() < 2 {
        // On version 2 that is a directory in a cgroup, which a container may not make.
        return;
    }
    let pod = Pod::run(shared().await, "below-cgroups").await;
    let volume = pod.logs().join("volume");
    fs::create_dir_all(&volume).unwrap();
    fs::write(volume.join("file"), "inside\n").unwrap();
    let script = "cat /sys/fs/cgroup/new/file /sys/fs/cgroup/memory/file; touch /sys/fs/cgroup/file 2>&1; \
                  grep ' - cgroup ' /proc/self/mountinfo | grep -vc ' ro,nosuid,nodev,noexec'; true";
    let output = pod
        .output_with("main", script, |config| {
            config.mounts = ["new", "memory"]
                .map(|name| v1::Mount {
                    container_path: format!("/sys/fs/cgroup/{name}"),
                    host_path: volume.to_str().unwrap().into(),
                    ..Default::default()
                })
                .into();
        })
        .await;

    let refused = "touch: /sys/fs/cgroup/file: Read-only file system\n";
    assert_eq!(output, format!("inside\ninside\n{refused}0\n"));
    pod.remove().await;
}

async fn privileges_can_be_gained_under_a_filter_unless_forbidden() {
    let pod = Pod::run(shared().await, "nnp").await;
    let check = async |name: &str, no_new_privs: bool, expected: &str| {
        let container = pod
            .start_with(name, &["sleep", "infinity"], |config| {
                filtered(config);
                let security = security(config);
                security.run_as_user = Some(v1::Int64Value { value: 1000 });
                security.no_new_privs = no_new_privs;
            })
            .await;
        assert_eq!(container.sh("/suid-id -u").await.trim(), expected, "{name}");
        assert_eq!(
            status(&container, "1", "NoNewPrivs").await,
            u8::from(no_new_privs).to_string()
        );
        assert_eq!(
            status(&container, "self", "NoNewPrivs").await,
            u8::from(no_new_privs).to_string()
        );
        assert_eq!(status(&container, "1", "Seccomp").await, "2");
    };

    check("allowed", false, "0").await;
    check("forbidden", true, "1000").await;
    pod.remove().await;
}

async fn signals_are_as_a_new_process_expects() {
    let pod = Pod::run(shared().await, "signals").await;
    // `sleep` changes neither mask nor handlers: what shows is what it was given.
    let container = pod.idle("main").await;

    for process in ["1", "self"] {
        for set in ["SigBlk", "SigIgn"] {
            assert_eq!(
                status(&container, process, set).await,
                "0000000000000000",
                "{set} of {process}"
            );
        }
        assert_eq!(status(&container, process, "Umask").await, "0022", "{process}");
    }
    // A writer whose reader has gone is ended by SIGPIPE, not told of an error.
    let broken = container
        .sh("(yes; echo $? >/tmp/code) | head -n 1 >/dev/null; cat /tmp/code")
        .await;
    assert_eq!(broken, "141\n");
    pod.remove().await;
}

async fn each_mount_has_its_own_propagation() {
    let pod = Pod::run_with(shared().await, "propagation", |config| {
        crate::harness::pod::host_network(config);
        let linux = config.linux.as_mut().unwrap();
        linux.security_context.as_mut().unwrap().privileged = true;
    })
    .await;
    let volume = |name: &str| pod.logs().join(name);
    for name in ["private", "slave", "shared"] {
        let path = volume(name);
        fs::create_dir_all(&path).unwrap();
        // In the namespace of the daemon, which is the node's.
        let path = path.display();
        shell(&format!(
            "mount -t tmpfs {name} {path} && mount --make-shared {path} && mkdir {path}/host {path}/own"
        ));
    }
    let mount = |name: &str, propagation: v1::MountPropagation| v1::Mount {
        container_path: format!("/{name}"),
        host_path: volume(name).to_str().unwrap().to_owned(),
        propagation: propagation.into(),
        ..Default::default()
    };
    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            security(config).privileged = true;
            config.mounts = vec![
                mount("private", v1::MountPropagation::PropagationPrivate),
                mount("slave", v1::MountPropagation::PropagationHostToContainer),
                mount("shared", v1::MountPropagation::PropagationBidirectional),
            ];
        })
        .await;

    for name in ["private", "slave", "shared"] {
        shell(&format!(
            "mount -t tmpfs later {0}/host && touch {0}/host/seen",
            volume(name).display()
        ));
        container
            .sh(&format!(
                "mount -t tmpfs own /{name}/own && touch /{name}/own/seen"
            ))
            .await;
    }

    let seen = container
        .sh("for n in private slave shared; do [ -e /$n/host/seen ] && echo $n; done; true")
        .await;
    assert_eq!(seen, "slave\nshared\n");
    let back: Vec<&str> = ["private", "slave", "shared"]
        .into_iter()
        .filter(|name| volume(name).join("own/seen").exists())
        .collect();
    assert_eq!(back, ["shared"]);
    pod.remove().await;
    for name in ["private", "slave", "shared"] {
        shell(&format!("umount -R {}", volume(name).display()));
    }
}

/// Bound to its place at once, it would have the engine make its nodes among the host's, and link the host's ptmx anew.
async fn the_hosts_dev_can_be_a_volume() {
    let nodes = || -> BTreeMap<OsString, Option<PathBuf>> {
        let entries = fs::read_dir("/dev").unwrap().map(Result::unwrap);
        entries
            .map(|entry| (entry.file_name(), fs::read_link(entry.path()).ok()))
            .collect()
    };
    shell("ln -sf null /dev/coracle-of-the-host");
    let before = nodes();
    let pod = Pod::run(shared().await, "dev").await;
    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            config.mounts = vec![v1::Mount {
                container_path: "/dev".to_owned(),
                host_path: "/dev".to_owned(),
                ..Default::default()
            }];
        })
        .await;

    let seen = container
        .sh("readlink /dev/coracle-of-the-host; echo x > /dev/null && echo written")
        .await;

    assert_eq!(seen, "null\nwritten\n");
    assert_eq!(nodes(), before);
    pod.remove().await;
    shell("rm /dev/coracle-of-the-host");
}

/// CVE-2019-5736: a container whose program is `/proc/self/exe` has the runtime execute itself inside, and writes to
/// it from there.
async fn the_program_of_the_runtime_cannot_be_reached() {
    let program = env!("CARGO_BIN_EXE_coracle");
    let hash = || Sha256::digest(fs::read(program).unwrap());
    let before = hash();
    let pod = Pod::run(shared().await, "self-exe").await;
    let container = pod.idle("main").await;
    container
        .sh("printf '#!/proc/self/exe\\n' >/trap && chmod 755 /trap && cp /bin/sh /bin/sh.kept")
        .await;

    // As an exec, and as a container of its own.
    let request = container.exec_request(&["/trap"], 5);
    let _any = shared().await.runtime().exec_sync(request).await;
    let script = "printf '#!/proc/self/exe\\n' >/trap; chmod 755 /trap; exec /trap";
    pod.start("trap", &["sh", "-c", script]).await;
    // Every program that runs here while an exec goes through its last stage, opened for writing.
    let writer = container.sh(
        "i=0; while [ $i -lt 2000 ]; do for e in /proc/[0-9]*/exe; do case $(readlink $e) in \
         /bin/*|/usr/bin/*|/suid-id|'') ;; *) readlink $e; printf x >>$e && echo REACHED;; esac; done; i=$((i+1)); \
         [ -e /tmp/enough ] && break; done 2>&1; true",
    );
    let execs = async {
        for _ in 0..20 {
            container.sh("true").await;
        }
        container.sh("touch /tmp/enough").await;
    };
    let (seen, ()) = tokio::join!(writer, execs);

    assert!(!seen.contains("REACHED"), "{seen}");
    assert_eq!(hash(), before);
    // The daemon's children run by a mount that cannot be written: no matter that the file is busy now.
    let ours = of_this_program(shared().await.pid());
    assert!(!ours.is_empty());
    for pid in ours {
        let program = format!("/proc/{pid}/exe");
        assert!(fs::OpenOptions::new().write(true).open(&program).is_err());
        let same = fs::metadata(&program).unwrap().permissions();
        let changed = fs::set_permissions(&program, same).unwrap_err();
        assert_eq!(changed.raw_os_error(), Some(libc::EROFS), "the program of {pid}");
    }
    pod.remove().await;
}

/// The zygotes and monitors that run the daemon's program.
fn of_this_program(daemon: i32) -> Vec<i32> {
    let program = |pid: i32| {
        let file = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
        Some((file.st_dev(), file.st_ino()))
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let named = numbers.filter(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        matches!(name.trim(), "coracle-zygote" | "coracle-monitor")
    });
    named.filter(|pid| program(*pid) == program(daemon)).collect()
}

async fn a_volume_below_a_private_directory_can_be_used() {
    use std::os::unix::fs::PermissionsExt;

    let pod = Pod::run(shared().await, "private-parent").await;
    let parent = pod.logs().join("closed");
    fs::create_dir_all(parent.join("volume")).unwrap();
    fs::write(parent.join("volume/file"), "inside\n").unwrap();
    fs::set_permissions(&parent, fs::Permissions::from_mode(0o700)).unwrap();

    let output = pod
        .output_with("main", "cat /v/file", |config| {
            security(config).run_as_user = Some(v1::Int64Value { value: 1000 });
            config.mounts.push(v1::Mount {
                container_path: "/v".into(),
                host_path: parent.join("volume").to_str().unwrap().into(),
                ..Default::default()
            });
        })
        .await;

    assert_eq!(output, "inside\n");
    pod.remove().await;
}
