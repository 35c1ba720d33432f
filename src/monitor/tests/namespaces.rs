//! Pinned namespaces, the reaper, user namespaces.

use crate::monitor::protocol::FIRST_NAMESPACE;
use crate::monitor::tests::fixture::{Host, Wanted};
use crate::sys::zygote::{IdMapping, PinRequest, Reaper, ReaperRequest, UserPin};
use crate::sys::{mount, namespace};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn pins(host: &Host) -> PinRequest {
    let dir = host.path("pins");
    fs::create_dir_all(&dir).unwrap();
    PinRequest {
        net: Some(dir.join("net")),
        ipc: Some(dir.join("ipc")),
        uts: Some(dir.join("uts")),
        hostname: Some("pinned".into()),
        sysctls: vec![
            ("net.ipv4.ip_unprivileged_port_start".into(), "80".into()),
            ("kernel.shm_rmid_forced".into(), "1".into()),
        ],
        ..PinRequest::default()
    }
}

fn unpin(request: &PinRequest) {
    let user = request.user.as_ref().map(|u| &u.path);
    for path in [&request.net, &request.ipc, &request.uts]
        .into_iter()
        .flatten()
        .chain(user)
    {
        namespace::unpin(path).unwrap();
        namespace::unpin(path).unwrap();
    }
}

/// Joins namespaces by descriptor.
fn join(wanted: &mut Wanted, kind: &str, path: &Path) {
    let number = FIRST_NAMESPACE + wanted.descriptors.namespaces.len() as i32;
    wanted.descriptors.namespaces.push(namespace::open(path).unwrap());
    let entry = json!({ "type": kind, "path": format!("/proc/self/fd/{number}") });
    let list = wanted.config["linux"]["namespaces"].as_array_mut().unwrap();
    list.retain(|n: &Value| n["type"] != kind);
    list.push(entry);
}

const SHOW: &str = "busybox hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced; \
    busybox ip -o link show lo | grep -c UP";

#[tokio::test]
async fn containers_share_pinned_namespaces() {
    let Some(host) = Host::new() else { return };
    let request = pins(&host);
    host.zygote.pin(request.clone()).unwrap();
    for id in ["a", "b"] {
        let mut wanted = host.container(id, &["sleep", "1000"]);
        join(&mut wanted, "network", request.net.as_ref().unwrap());
        join(&mut wanted, "ipc", request.ipc.as_ref().unwrap());
        join(&mut wanted, "uts", request.uts.as_ref().unwrap());
        let container = wanted.create(&host).await.unwrap();
        container.client.start().await.unwrap();

        assert_eq!(container.sh(SHOW).await, "pinned\n80\n1\n1\n");
        container.delete().await;
    }
    unpin(&request);
}

#[test]
fn a_failed_pin_leaves_nothing_pinned() {
    let Some(host) = Host::new() else { return };
    let mut request = pins(&host);
    request
        .sysctls
        .push(("net.ipv4.no_such_setting".into(), "1".into()));

    let error = host.zygote.pin(request.clone()).unwrap_err();

    assert!(
        error.to_string().contains("net.ipv4.no_such_setting=1"),
        "{error}"
    );
    assert_eq!(fs::read_dir(host.path("pins")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_user_namespace_is_entered_by_start_and_exec() {
    let Some(host) = Host::new() else { return };
    let mappings = vec![IdMapping {
        inside: 0,
        outside: 100_000,
        size: 65_536,
    }];
    let user = UserPin {
        path: host.path("pins/user"),
        uid_mappings: mappings.clone(),
        gid_mappings: mappings,
    };
    let request = PinRequest {
        user: Some(user),
        ..pins(&host)
    };
    host.zygote.pin(request.clone()).unwrap();
    let mut wanted = host.container("a", &["sh", "-c", "echo err > /dev/stderr; sleep 1000"]);
    // What idmapped layers do in a real one: the root file system belongs to the mapped root.
    for dir in ["upper", "bundle/rootfs", "work"] {
        std::os::unix::fs::chown(wanted.dir.join(dir), Some(100_000), Some(100_000)).unwrap();
    }
    std::os::unix::fs::chown(host.path("layer"), Some(100_000), Some(100_000)).unwrap();
    for entry in fs::read_dir(host.path("layer")).unwrap().flatten() {
        std::os::unix::fs::lchown(entry.path(), Some(100_000), Some(100_000)).unwrap();
    }
    join(&mut wanted, "user", &host.path("pins/user"));
    join(&mut wanted, "network", request.net.as_ref().unwrap());
    join(&mut wanted, "ipc", request.ipc.as_ref().unwrap());
    join(&mut wanted, "uts", request.uts.as_ref().unwrap());
    let mapping = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    wanted.config["linux"]["uidMappings"] = mapping.clone();
    wanted.config["linux"]["gidMappings"] = mapping;
    wanted.request.stdio_owner = (100_000, 100_000);
    let container = wanted.create(&host).await.unwrap();
    container.client.start().await.unwrap();

    let seen = container
        .sh("cat /proc/self/uid_map; id -u; echo > /tmp/made; echo x > /dev/stdout")
        .await;
    let mut terminal = container.request(&["sh", "-c", "ls -ln /dev/pts/0"]);
    terminal.terminal = Some(crate::monitor::protocol::TerminalSize {
        width: 80,
        height: 24,
    });
    let mut exec = container
        .client
        .exec(terminal, crate::monitor::client::ExecStdio::Terminal)
        .await
        .unwrap();
    let exit = exec.wait().await.unwrap();

    let owner =
        std::os::unix::fs::MetadataExt::uid(&fs::metadata(container.dir.join("upper/tmp/made")).unwrap());
    assert_eq!(
        seen.split_whitespace().collect::<Vec<_>>(),
        ["0", "100000", "65536", "0", "x"]
    );
    assert_eq!((owner, exit.code), (100_000, 0));
    container.delete().await;
    unpin(&request);
}

#[tokio::test]
async fn a_reaper_holds_a_pid_namespace_for_several_containers() {
    let Some(host) = Host::new() else { return };
    let path = host.path("pid");
    let reaper = host
        .zygote
        .spawn_reaper(ReaperRequest {
            path: path.clone(),
            note: host.path("reaper.json"),
            user: None,
            label: None,
        })
        .unwrap();
    assert_eq!(Reaper::noted(&host.path("reaper.json")).unwrap(), Some(reaper));
    let mut containers = vec![];
    for id in ["a", "b"] {
        let mut wanted = host.container(id, &["sleep", if id == "a" { "1111" } else { "2222" }]);
        join(&mut wanted, "pid", &path);
        let container = wanted.create(&host).await.unwrap();
        container.client.start().await.unwrap();
        containers.push(container);
    }

    let seen = containers[0]
        .sh("cat /proc/[0-9]*/cmdline; cat /proc/1/comm; \
        setsid sh -c '(sleep 0.1 &)'; sleep 0.5; cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z '; true")
        .await;
    let root = fs::read_dir(format!("/proc/{}/root/", reaper.pid))
        .unwrap()
        .count();
    let status = fs::read_to_string(format!("/proc/{}/status", reaper.pid)).unwrap();
    for container in containers {
        container.delete().await;
    }
    assert!(reaper.is_alive());
    reaper.stop().unwrap();
    reaper.stop().unwrap();
    namespace::unpin(&path).unwrap();

    assert!(
        seen.contains("1111") && seen.contains("2222") && seen.contains("coracle-reaper"),
        "{seen}"
    );
    assert!(seen.ends_with("\n0\n"), "a zombie: {seen}");
    assert_eq!(root, 0);
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
    }
    assert!(status.contains("Uid:\t65534"));
}

#[test]
fn the_zygote_has_each_mount_that_is_needed_once_and_no_other() {
    let Some(host) = Host::new() else { return };
    // A fork of it, which stays where it is.
    let fork = host.zygote.placeholder().unwrap();
    let kept = host.root.path().canonicalize().unwrap();
    let is_needed = |point: &Path| {
        let always = ["/", "/proc", "/dev", "/sys"];
        always.iter().any(|needed| point == Path::new(needed))
            || point.starts_with("/sys/fs/cgroup")
            || kept.starts_with(point)
    };

    let mut needed = mount::points().unwrap();
    needed.retain(|point| is_needed(point));
    needed.sort();
    needed.dedup();
    let mut there = mount::points_of(&fork.pid().to_string()).unwrap();
    there.sort();

    assert_eq!(there, needed);
}
