//! What a container must and must not see: each test fails when a hole of the engine or of ours opens again.

use crate::monitor::protocol::{Propagation, ReadOnly, Rlimit, StagedTree};
use crate::monitor::seccomp;
use crate::monitor::tests::fixture::{Host, Running, Wanted};
use crate::sys::mount;
use oci_spec::runtime::LinuxSeccomp;
use serde_json::json;
use std::collections::HashMap;
use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Fields of `/proc/PID/status` text.
fn fields(status: &str) -> HashMap<&str, &str> {
    status
        .lines()
        .filter_map(|l| l.split_once(':'))
        .map(|(key, value)| (key, value.trim()))
        .collect()
}

/// A filter under which `mkdir` fails, whoever asks.
fn no_mkdir(host: &Host) -> PathBuf {
    let profile: LinuxSeccomp = serde_json::from_value(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13 }],
    }))
    .unwrap();
    seccomp::compile(&profile, &host.path("seccomp")).unwrap()
}

async fn started(wanted: Wanted, host: &Host) -> Running {
    let container = wanted.create(host).await.unwrap();
    container.client.start().await.unwrap();
    container
}

#[tokio::test]
async fn a_filter_holds_in_start_and_exec_with_and_without_new_privileges() {
    let Some(host) = Host::new() else { return };
    for no_new_privileges in [false, true] {
        let id = format!("a{no_new_privileges}");
        let script =
            "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status; mkdir /tmp/x 2>&1; : >/tmp/said; sleep 1000";
        let mut wanted = host.container(&id, &["sh", "-c", script]);
        wanted.request.process.seccomp = Some(no_mkdir(&host));
        wanted.request.process.no_new_privileges = no_new_privileges;
        let container = started(wanted, &host).await;

        let seen = container
            .sh("grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status; mkdir /tmp/x 2>&1; until [ -e /tmp/said ]; do :; done")
            .await;
        container.client.signal(9).await.unwrap();
        container.exited().await;

        let expected = ["NoNewPrivs", "Seccomp"].map(|key| {
            format!(
                "{key}:\t{}",
                if key == "Seccomp" {
                    2
                } else {
                    i32::from(no_new_privileges)
                }
            )
        });
        let denied = "mkdir: can't create directory '/tmp/x': Permission denied";
        assert_eq!(
            seen.lines().collect::<Vec<_>>(),
            [&expected[0], &expected[1], denied]
        );
        let logged = container.log("stdout");
        assert_eq!(
            logged,
            [&expected[0], &expected[1], denied].map(|l| format!("F {l}"))
        );
        container.delete().await;
    }
}

#[tokio::test]
async fn a_filter_that_allows_little_more_than_execve_works() {
    let Some(host) = Host::new() else { return };
    let profile: LinuxSeccomp = serde_json::from_value(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["setuid", "setresuid", "setgid", "setresgid", "setgroups", "capset", "prctl", "seccomp",
            "prlimit64", "chdir"], "action": "SCMP_ACT_ERRNO" }],
    }))
    .unwrap();
    let mut wanted = host.container("a", &["echo", "ran"]);
    wanted.request.process.seccomp = Some(seccomp::compile(&profile, &host.path("seccomp")).unwrap());
    wanted.request.process.uid = 1000;

    let container = started(wanted, &host).await;

    assert_eq!(
        (container.exited().await.code, container.log("stdout")),
        (0, vec!["F ran".to_owned()])
    );
    container.delete().await;
}

#[tokio::test]
async fn a_process_has_the_identity_and_limits_that_were_asked_for() {
    let Some(host) = Host::new() else { return };
    let mut wanted = host.container("a", &["sleep", "1000"]);
    let process = &mut wanted.request.process;
    (process.uid, process.gid, process.groups, process.umask) = (1000, 1001, vec![2000, 3000], Some(0o27));
    process.capabilities.effective = 0;
    (process.capabilities.inheritable, process.capabilities.ambient) = (1 << 10, 1 << 10);
    process.rlimits = vec![Rlimit {
        resource: 7,
        soft: 100,
        hard: 200,
    }];
    process.cwd = "/made/for/it".into();
    let container = started(wanted, &host).await;

    let own = fs::read_to_string(format!("/proc/{}/status", container.created.pid)).unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", container.created.pid)).unwrap();
    let exec = container
        .sh("cat /proc/self/status; cat /proc/self/oom_score_adj; busybox pwd")
        .await;

    for status in [&own, &exec] {
        let found = fields(status);
        let ids = ["Uid", "Gid", "Groups"].map(|key| found[key]);
        assert_eq!(
            ids,
            ["1000\t1000\t1000\t1000", "1001\t1001\t1001\t1001", "2000 3000"]
        );
        let sets = ["CapPrm", "CapEff", "CapAmb"].map(|key| found[key]);
        assert_eq!(sets, ["0000000000000400"; 3]);
        assert_eq!((found["CapBnd"], found["Umask"]), ("00000000a80425fb", "0027"));
    }
    assert!(exec.ends_with("\n500\n/made/for/it\n"), "{exec}");
    let files = limits.lines().find(|l| l.starts_with("Max open files")).unwrap();
    assert_eq!(
        files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(),
        ["100", "200"]
    );
    container.delete().await;
}

#[tokio::test]
async fn no_signal_state_environment_or_descriptor_of_ours_reaches_a_container() {
    let Some(host) = Host::new() else { return };
    let script = "cat /proc/self/status; ls -1 /proc/self/fd; busybox env";
    let container = host
        .run("a", &["sh", "-c", &format!("{script}; : >/tmp/said; sleep 1000")])
        .await;

    let exec = container.sh(script).await;
    container.sh("until [ -e /tmp/said ]; do :; done").await;
    container.client.signal(9).await.unwrap();
    container.exited().await;
    let logged: String = container
        .log("stdout")
        .iter()
        .map(|l| l[2..].to_owned() + "\n")
        .collect();

    for seen in [&exec, &logged] {
        let found = fields(seen);
        let signals = ["SigBlk", "SigIgn", "SigCgt"].map(|key| found[key]);
        assert_eq!(signals, ["0000000000000000"; 3]);
        assert_eq!(found["Umask"], "0022");
        let rest: Vec<&str> = seen.lines().skip_while(|l| *l != "0").collect();
        // `ls` has the directory open as 3. The shell adds what it always adds.
        let (numbers, rest): (Vec<&str>, Vec<&str>) =
            rest.iter().partition(|line| line.parse::<u32>().is_ok());
        assert_eq!(numbers, ["0", "1", "2", "3"]);
        let names: Vec<&str> = rest
            .iter()
            .filter_map(|l| l.split_once('='))
            .map(|(name, _)| name)
            .collect();
        assert!(
            names
                .iter()
                .all(|n| ["PATH", "HOME", "PWD", "SHLVL", "OLDPWD"].contains(n)),
            "{names:?}"
        );
    }
    container.delete().await;
}

#[tokio::test]
async fn the_executable_of_the_monitor_cannot_be_written() {
    let Some(host) = Host::new() else { return };
    let container = host.run("a", &["sleep", "1000"]).await;
    let monitor = container.client.state().await.unwrap().monitor_pid;

    let path = format!("/proc/{monitor}/exe");
    let (program, own) = (
        fs::metadata(&path).unwrap(),
        fs::metadata("/proc/self/exe").unwrap(),
    );
    let opened = fs::File::options().write(true).open(&path);
    let changed = fs::set_permissions(&path, program.permissions());

    assert!(opened.is_err());
    // Not for being run just now, which ends.
    assert_eq!(changed.unwrap_err().raw_os_error(), Some(libc::EROFS));
    assert_eq!((program.st_dev(), program.st_ino()), (own.st_dev(), own.st_ino()));
    container.delete().await;
}

#[tokio::test]
async fn a_cgroup_tree_mounted_read_only_cannot_be_written() {
    let Some(host) = Host::new() else { return };
    if crate::sys::cgroup::version() != crate::sys::cgroup::Version::V1 {
        return eprintln!("skipped: needs cgroup v1");
    }
    let mut wanted = host.container("a", &["sleep", "1000"]);
    let group = crate::sys::cgroup::Cgroup::new(&wanted.request.cgroup).unwrap();
    group.create().unwrap();
    wanted.mount(json!({ "destination": "/sys", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] }));
    wanted.mount(
        json!({ "destination": "/sys/fs/cgroup/memory", "type": "bind", "source": group.dir("memory"),
        "options": ["rbind", "ro", "nosuid", "noexec", "nodev"] }),
    );
    wanted.request.process.capabilities.bounding |= 1 << 21;
    wanted.request.process.capabilities.effective |= 1 << 21;
    let container = started(wanted, &host).await;

    let attempt = container.exec(container.request(&["sh", "-c",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes; echo -1 > /sys/fs/cgroup/memory/memory.limit_in_bytes"]));
    let outcome = attempt.await.unwrap();

    assert_eq!(
        String::from_utf8_lossy(&outcome.stdout),
        format!("{}\n", 64 << 20)
    );
    assert!(
        String::from_utf8_lossy(&outcome.stderr).contains("Read-only file system"),
        "{outcome:?}"
    );
    container.delete().await;
}

/// Mounts a tmpfs with a nested one and stages it.
fn stage(wanted: &mut Wanted, volume: &Path, tree: StagedTree) {
    let number = wanted.request.trees.len();
    let source = wanted.request.staging.clone().unwrap().join(number.to_string());
    wanted.descriptors.trees.push(mount::clone_tree(volume).unwrap());
    wanted.request.trees.push(tree);
    wanted.mount(json!({ "destination": format!("/mnt/{number}"), "type": "bind", "source": source, "options": ["rbind"] }));
}

#[tokio::test]
async fn each_staged_mount_has_its_own_propagation_and_protection() {
    let Some(host) = Host::new() else { return };
    let volume = host.path("volume");
    fs::create_dir(&volume).unwrap();
    mount::tmpfs(&volume, "mode=755").unwrap();
    rustix::mount::mount_change(&volume, rustix::mount::MountPropagationFlags::SHARED).unwrap();
    for name in ["below", "late", "inside"] {
        fs::create_dir(volume.join(name)).unwrap();
    }
    mount::tmpfs(&volume.join("below"), "mode=755").unwrap();
    let mut wanted = host.container("a", &["sleep", "1000"]);
    for (propagation, read_only) in [
        (Propagation::Private, ReadOnly::No),
        (Propagation::Slave, ReadOnly::Yes),
        (Propagation::Shared, ReadOnly::No),
        (Propagation::Private, ReadOnly::Recursive),
    ] {
        stage(
            &mut wanted,
            &volume,
            StagedTree {
                propagation,
                read_only,
                ..StagedTree::default()
            },
        );
    }
    wanted.config["linux"]["rootfsPropagation"] = json!("shared");
    wanted.request.process.capabilities.bounding |= 1 << 21;
    wanted.request.process.capabilities.effective |= 1 << 21;
    let container = started(wanted, &host).await;

    mount::tmpfs(&volume.join("late"), "mode=755").unwrap();
    fs::write(volume.join("late/seen"), "").unwrap();
    let seen = container.sh("cd /mnt; ls -d */late/seen").await;
    let writable = container.sh("cd /mnt; for f in */x */below/x; do touch $f 2>/dev/null && echo $f; done; for d in 0 1 2 3; do touch $d/x 2>/dev/null && echo $d; touch $d/below/x 2>/dev/null && echo $d/below; done; true").await;
    container
        .sh("mount -t tmpfs tmpfs /mnt/0/inside; mount -t tmpfs tmpfs /mnt/2/inside")
        .await;
    let points = mount::points().unwrap();
    container.delete().await;

    assert_eq!(seen, "1/late/seen\n2/late/seen\n");
    let unique: Vec<&str> = ["0", "0/below", "1/below", "2", "2/below"].into();
    assert!(
        unique.iter().all(|u| writable.lines().any(|l| l == *u)),
        "{writable}"
    );
    assert!(
        !writable.lines().any(|l| l == "1" || l.starts_with('3')),
        "{writable}"
    );
    assert_eq!(points.iter().filter(|p| **p == volume.join("inside")).count(), 1);
    mount::detach(&volume).unwrap();
}

#[tokio::test]
async fn nothing_of_a_container_is_mounted_on_the_host() {
    let Some(host) = Host::new() else { return };
    let container = host.run("a", &["sleep", "1000"]).await;

    let points = mount::points().unwrap();

    assert!(
        points.iter().all(|p| !p.starts_with(host.root.path())),
        "{points:?}"
    );
    container.delete().await;
}

/// Minor number of a device of major 10 that anyone may open, and that is no default of any runtime.
fn misc_device() -> Option<u32> {
    let table = fs::read_to_string("/proc/misc").unwrap();
    let entry = |line: &str| {
        line.trim()
            .split_once(' ')
            .map(|(minor, name)| (name.to_owned(), minor.parse().unwrap()))
    };
    let found: HashMap<String, u32> = table.lines().filter_map(entry).collect();
    ["cpu_dma_latency", "loop-control", "fuse"]
        .iter()
        .find_map(|name| found.get(*name).copied())
}

#[tokio::test]
async fn only_devices_that_the_rules_allow_can_be_opened() {
    let (Some(host), Some(minor)) = (Host::new(), misc_device()) else {
        return;
    };
    let script = format!(
        "busybox mknod /tmp/d c 10 {minor}; for d in /tmp/d /dev/null; do (: < $d) 2>&- && echo $d; done; true"
    );
    for (allowed, expected) in [(false, "/dev/null\n"), (true, "/tmp/d\n/dev/null\n")] {
        let mut wanted = host.container(&format!("a{allowed}"), &["sleep", "1000"]);
        wanted.config["linux"]["resources"]["devices"] = json!([
            { "allow": false, "access": "rwm" },
            { "allow": allowed, "type": "c", "major": 10, "minor": minor, "access": "r" },
        ]);
        let container = started(wanted, &host).await;

        assert_eq!(container.sh(&script).await, expected);
        container.delete().await;
    }
}
