//! Who the users of such a pod are, inside and on the node, and what they may do.

use std::fs;
use std::os::unix::fs::MetadataExt;

use k8s_cri::v1;
use libtest_mimic::Trial;
use tonic::Code;

use super::{ROOT, run, run_with, users_of};
use crate::harness::crictl::{crictl, transports};
use crate::harness::daemon::{refused, shared};
use crate::harness::pod::{Pod, host_network, namespaces, security};
use crate::harness::trials;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        root_inside_is_an_ordinary_user_of_the_node,
        the_image_and_what_is_written_belong_to_the_pods_users,
        a_users_streams_and_terminals_are_its_own,
        commands_are_run_by_root_of_the_pod,
        root_rules_the_network_that_its_pod_has,
        kernel_parameters_of_the_pod_are_set,
        a_pod_in_the_nodes_network_sees_it_and_does_not_rule_it,
        containers_of_a_shared_pid_namespace_see_each_other,
        a_privileged_container_is_root_of_its_namespace_alone,
        what_is_not_the_pods_is_refused_to_its_containers,
    ]
}

async fn root_inside_is_an_ordinary_user_of_the_node() {
    let pod = run(shared().await, "users").await;
    let container = pod.idle("main").await;

    let inside = container
        .sh("cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; id -u; id -g")
        .await;
    let words: Vec<&str> = inside.split_whitespace().collect();
    assert_eq!(
        words,
        ["0", "200000", "65536", "0", "200000", "65536", "allow", "0", "0"]
    );
    assert_eq!(
        users_of(container.pid().await),
        vec![ROOT.to_string(); 4].join(" ")
    );
    let status = pod.status().await;
    let options = status.linux.unwrap().namespaces.unwrap().options.unwrap();
    assert_eq!(options.userns_options, Some(super::user_namespace()));
    container.remove().await;
    pod.remove().await;
}

async fn the_image_and_what_is_written_belong_to_the_pods_users() {
    let pod = run(shared().await, "owners").await;
    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            security(config).run_as_user = Some(v1::Int64Value { value: 0 });
        })
        .await;

    let owners = "stat -c '%u:%g %n' / /bin/busybox /etc/passwd /etc/hosts /etc/hostname /etc/resolv.conf /dev /dev/shm /dev/pts";
    for line in container.sh(owners).await.lines() {
        assert!(line.starts_with("0:0 "), "{line}");
    }
    let write = "echo 10.0.0.1 friend >>/etc/hosts; echo root >/made; mkdir /d; echo app >/d/app; chown 1000:1000 /d/app; \
        echo shared >/dev/shm/x; rm /etc/passwd; echo >/dev/null; head -c 1 /dev/zero >/dev/null; stat -c %u:%g /made /d/app /dev/shm/x";
    assert_eq!(container.sh(write).await, "0:0\n1000:1000\n0:0\n");
    let root = format!("/proc/{}/root", container.pid().await);
    let owner = |path: &str| {
        let facts = fs::symlink_metadata(format!("{root}{path}")).unwrap();
        (facts.uid(), facts.gid())
    };
    assert_eq!(owner("/made"), (ROOT, ROOT));
    assert_eq!(owner("/d/app"), (ROOT + 1000, ROOT + 1000));
    assert_eq!(owner("/bin/busybox"), (ROOT, ROOT));
    container.remove().await;
    pod.remove().await;
}

async fn a_users_streams_and_terminals_are_its_own() {
    let daemon = shared().await;
    let pod = run(daemon, "streams").await;
    for (name, tty) in [("pipes", false), ("terminal", true)] {
        let script = "echo out >/dev/stdout; echo err >/dev/stderr; id -u; \
            [ -t 1 ] && stat -c 'console %u' /dev/console && echo said >/dev/console; sleep infinity";
        let container = pod
            .start_with(name, &["sh", "-c", script], |config| {
                security(config).run_as_user = Some(v1::Int64Value { value: 1000 });
                config.tty = tty;
            })
            .await;
        let last = if tty { "said" } else { "1000" };
        container.printed(last).await;
        let output = container.output();
        assert!(
            ["out", "err", "1000"].iter().all(|word| output.contains(word)),
            "{output}"
        );
        assert_eq!(output.contains("console 1000"), tty, "{output}");
        container.remove().await;
    }
    let container = pod.idle("exec").await;
    for &transport in transports() {
        let script = "id -u; cat /proc/self/uid_map; echo again >/dev/stdout";
        let arguments = ["exec", "-i", "-r", transport, &container.id, "sh", "-c", script];
        let output = crictl(daemon, &arguments).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let words: Vec<&str> = said.split_whitespace().collect();
        assert_eq!(
            words,
            ["0", "0", "200000", "65536", "again"],
            "{transport}: {output:?}"
        );
    }
    container.remove().await;
    pod.remove().await;
}

async fn commands_are_run_by_root_of_the_pod() {
    let pod = run(shared().await, "commands").await;
    let container = pod.idle("main").await;
    let before = format!("/proc/{}/ns", container.pid().await);

    let ran = container
        .sh("id -u; (sleep 1000 & echo $!) | head -n 1; readlink /proc/self/ns/user")
        .await;
    let lines: Vec<&str> = ran.lines().collect();
    let namespace = fs::read_link(format!("{before}/user")).unwrap();
    assert_eq!((lines[0], lines[2]), ("0", namespace.to_str().unwrap()));
    assert_ne!(namespace, fs::read_link("/proc/self/ns/user").unwrap());
    container.remove().await;
    pod.remove().await;
}

/// Adds capabilities.
fn with(names: &[&str]) -> impl FnOnce(&mut v1::ContainerConfig) {
    let add_capabilities = names.iter().map(|name| (*name).to_owned()).collect();
    move |config| {
        security(config).capabilities = Some(v1::Capability {
            add_capabilities,
            ..Default::default()
        });
    }
}

async fn root_rules_the_network_that_its_pod_has() {
    let pod = run(shared().await, "rules").await;
    let command = ["sleep", "infinity"];
    let ruler = pod
        .start_with("ruler", &command, with(&["NET_ADMIN", "SYS_ADMIN"]))
        .await;
    let subject = pod.idle("subject").await;

    let rule = "ip addr add 10.200.0.1/32 dev lo; echo 1 >/proc/sys/net/ipv4/ip_forward; hostname ruled; \
        mkdir /m; mount -t tmpfs none /m; cat /proc/sys/net/ipv4/ip_forward";
    assert_eq!(ruler.sh(rule).await, "1\n");
    let seen = subject.sh("hostname; ip addr show lo").await;
    assert!(
        seen.starts_with("ruled\n") && seen.contains("10.200.0.1"),
        "{seen}"
    );
    let tried = subject
        .exec(&["ip", "addr", "add", "10.200.0.2/32", "dev", "lo"])
        .await;
    assert_ne!(tried.code, 0, "{tried:?}");
    // What is not a namespace's own is the node's, whatever the capabilities.
    let tried = ruler
        .exec(&["sh", "-c", "echo 1 >/proc/sys/vm/drop_caches"])
        .await;
    assert_ne!(tried.code, 0, "{tried:?}");
    let tried = ruler.exec(&["sh", "-c", "mknod /disk b 7 0"]).await;
    assert_ne!(tried.code, 0, "{tried:?}");
    for container in [ruler, subject] {
        container.remove().await;
    }
    pod.remove().await;
}

async fn kernel_parameters_of_the_pod_are_set() {
    let pod = run_with(shared().await, "sysctls", |config| {
        let sysctls = &mut config.linux.as_mut().unwrap().sysctls;
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "80".to_owned());
        sysctls.insert("kernel.shm_rmid_forced".to_owned(), "1".to_owned());
    })
    .await;

    let show = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced";
    assert_eq!(pod.output("main", show).await, "80\n1\n");
    pod.remove().await;
}

async fn a_pod_in_the_nodes_network_sees_it_and_does_not_rule_it() {
    let pod = run_with(shared().await, "host-network", host_network).await;
    let command = ["sleep", "infinity"];
    let container = pod.start_with("main", &command, with(&["NET_ADMIN"])).await;

    let seen = container
        .sh("ls /sys/class/net; cat /proc/self/uid_map; grep -c ' /sys ' /proc/mounts")
        .await;
    assert!(
        seen.contains("node0\n") && seen.contains("200000") && seen.ends_with("\n1\n"),
        "{seen}"
    );
    let below = container.sh("grep ' /sys/' /proc/mounts | cut -d' ' -f2").await;
    assert!(
        below
            .lines()
            .all(|point| point.starts_with("/sys/fs/cgroup") || point == "/sys/firmware"),
        "{below}"
    );
    for tried in [
        "ip addr add 10.200.0.3/32 dev lo",
        "echo 0 >/proc/sys/net/ipv4/ip_forward",
        "touch /sys/x",
    ] {
        let ran = container.exec(&["sh", "-c", tried]).await;
        assert_ne!(ran.code, 0, "{tried}: {ran:?}");
    }
    container.remove().await;
    pod.remove().await;
}

async fn containers_of_a_shared_pid_namespace_see_each_other() {
    let daemon = shared().await;
    let pod = run_with(daemon, "shared-pid", |config| {
        namespaces(config).pid = v1::NamespaceMode::Pod.into();
    })
    .await;
    let share = |config: &mut v1::ContainerConfig| {
        let options = security(config).namespace_options.as_mut().unwrap();
        options.pid = v1::NamespaceMode::Pod.into();
    };
    let first = pod.start_with("first", &["sleep", "1111"], share).await;
    let second = pod.start_with("second", &["sleep", "2222"], share).await;

    let seen = second
        .sh("cat /proc/[0-9]*/cmdline; cat /proc/1/comm; stat -c %u /proc/1")
        .await;
    assert!(
        seen.contains("1111") && seen.contains("coracle-reaper\n"),
        "{seen}"
    );
    second
        .sh("kill -9 $(grep -l '^sleep.1111' /proc/[0-9]*/cmdline | sed 's/[^0-9]//g')")
        .await;
    assert_eq!(first.exited().await.exit_code, 137);
    for container in [first, second] {
        container.remove().await;
    }
    pod.remove().await;
}

async fn a_privileged_container_is_root_of_its_namespace_alone() {
    let pod = run_with(shared().await, "privileged", |config| {
        let linux = config.linux.as_mut().unwrap();
        linux.security_context.as_mut().unwrap().privileged = true;
    })
    .await;
    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            security(config).privileged = true
        })
        .await;

    assert_eq!(users_of(container.pid().await).split(' ').next(), Some("200000"));
    container
        .sh("mkdir /m && mount -t tmpfs none /m && echo >/dev/null && test -c /dev/zero")
        .await;
    for tried in [
        "echo 1 >/proc/sys/vm/drop_caches",
        "echo x >/proc/sys/kernel/core_pattern",
        "mknod /disk b 7 0",
    ] {
        let ran = container.exec(&["sh", "-c", tried]).await;
        assert_ne!(ran.code, 0, "{tried}: {ran:?}");
    }
    container.remove().await;
    pod.remove().await;
}

/// Each names what is wrong, and leaves nothing.
async fn what_is_not_the_pods_is_refused_to_its_containers() {
    let daemon = shared().await;
    let (pod, plain) = (run(daemon, "refuses").await, Pod::run(daemon, "plain").await);
    let check = async |pod: &Pod<'_>, change: fn(&mut v1::ContainerConfig), text: &str| {
        let mut config = pod.container_config("main", &["true"]);
        change(&mut config);
        let status = refused(daemon.runtime().create_container(pod.create_request(config))).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(text), "{status}");
    };

    check(&pod, |c| other_users(c, 300_000), "differ from the pod sandbox's").await;
    check(&plain, |c| other_users(c, ROOT), "differ from the pod sandbox's").await;
    let unknown = "linux.security.user is 65536, which the user namespace does not map";
    check(
        &pod,
        |c| security(c).run_as_user = Some(v1::Int64Value { value: 65_536 }),
        unknown,
    )
    .await;
    check(
        &pod,
        |c| security(c).supplemental_groups = vec![70_000],
        "is 70000, which the user namespace does not map",
    )
    .await;
    check(
        &pod,
        |c| security(c).namespace_options.as_mut().unwrap().pid = v1::NamespaceMode::Node.into(),
        "linux.namespaces.pid cannot be the host's beside a user namespace",
    )
    .await;
    check(
        &plain,
        |c| c.mounts = vec![super::mapped("/tmp".as_ref(), "/mnt")],
        "mounts[0].uid_mappings need a pod sandbox in a user namespace",
    )
    .await;
    check(
        &pod,
        |c| {
            c.mounts = vec![super::mapped("/tmp".as_ref(), "/mnt")];
            c.mounts[0].gid_mappings[0].length = 9;
        },
        "mounts[0].gid_mappings differ from the pod sandbox's",
    )
    .await;
    for pod in [pod, plain] {
        pod.remove().await;
    }
}

fn other_users(config: &mut v1::ContainerConfig, host_id: u32) {
    let mut user = super::user_namespace();
    user.uids[0].host_id = host_id;
    security(config)
        .namespace_options
        .as_mut()
        .unwrap()
        .userns_options = Some(user);
}
