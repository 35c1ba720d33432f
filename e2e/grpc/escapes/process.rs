//! What a container's processes hold, and what they see of ours.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use k8s_cri::v1;
use libtest_mimic::Trial;

use super::{attacked, attacker, script};
use crate::harness::container::Made;
use crate::harness::daemon::shared;
use crate::harness::node::node;
use crate::harness::pod::{self, Pod, security};
use crate::harness::trials;

pub(super) fn tests() -> Vec<Trial> {
    trials![
        no_descriptor_of_ours_is_open_in_a_container,
        no_keyring_is_shared,
        an_exec_holds_nothing_that_its_container_does_not,
        a_fresh_exec_shows_nothing_of_ours,
        no_exec_enters_a_user_namespace_as_the_nodes_root,
    ]
}

/// CVE-2024-21626: neither the first process nor an exec, with a terminal or without.
async fn no_descriptor_of_ours_is_open_in_a_container() {
    let pod = Pod::run(shared().await, "fds").await;
    for (name, tty) in [("plain", false), ("tty", true)] {
        let container = pod
            .start_with(name, &["sleep", "infinity"], |config| config.tty = tty)
            .await;
        let first = container.sh("ls -l /proc/1/fd | sed 's/.* -> //'").await;
        // The fourth is the directory that is listed.
        let exec = container.exec(&["ls", "-l", "/proc/self/fd"]).await.stdout;

        let first: Vec<&str> = first.lines().filter(|line| !line.starts_with("total")).collect();
        assert_eq!(first.len(), 3, "{name}: {first:?}");
        assert!(
            first
                .iter()
                .all(|to| to.starts_with("pipe:") || to.starts_with("/dev/")),
            "{name}: {first:?}"
        );
        assert_eq!(exec.lines().count(), 5, "{name}: {exec}");
        let cwd = container
            .sh("for link in 1/cwd self/cwd 1/root; do readlink /proc/$link; done")
            .await;
        assert_eq!(cwd, "/\n/\n/\n", "{name}");
    }
    pod.remove().await;
}

/// Runs a perl script in an attacking container, and returns what it printed.
async fn perl(container: &Made<'_>, body: &str) -> String {
    let words = script(body);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ran = container.exec(&words).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout
}

/// Keys of the user that started the daemon, or of another container, would be possessed through a common session.
async fn no_keyring_is_shared() {
    let pod = Pod::run(attacked().await, "keys").await;
    // keyctl(2): KEYCTL_GET_KEYRING_ID of the session's, and KEYCTL_SEARCH in it.
    let session = format!("syscall({}, 0, -3, 0)", libc::SYS_keyctl);
    let declare = "my ($t, $d, $p) = ('user', 'coracle-canary', 'x');";
    let put = format!(
        "{declare} print syscall({}, $t, $d, $p, 1, -3) > 0 ? 'put' : $!",
        libc::SYS_add_key
    );
    let find = format!(
        "{declare} print syscall({}, 10, -3, $t, $d, 0) > 0 ? 'found' : 'none'",
        libc::SYS_keyctl
    );
    let start = async |name: &str, body: &str| {
        let body = format!("$| = 1; print {session}, '\n'; {body}; print '\n'; sleep 1 while 1");
        let made = pod
            .create_with(name, &[], |config| {
                attacker(config);
                config.command = script(&body);
            })
            .await;
        made.start().await;
        made.printed("\n").await;
        made
    };

    let one = start("one", &put).await;
    one.printed("put").await;
    let two = start("two", &find).await;
    two.printed("none").await;
    let in_exec = perl(&one, &find).await;
    let of_exec = perl(&one, &format!("print {session}")).await;

    // An exec finds nothing of whoever started the daemon either: its keyring is its own.
    assert_eq!(in_exec, "none");
    let ids = [one.output(), two.output()].map(|text| text.lines().next().unwrap().to_owned());
    assert!(ids[0] != ids[1] && !ids.contains(&of_exec), "{ids:?}, {of_exec}");
    pod.remove().await;
}

/// The lines of a process's status that say what it may do.
async fn rights(container: &Made<'_>, process: &str) -> String {
    let file = format!("/proc/{process}/status");
    let pattern = "^(Cap...|Groups|Uid|Gid|NoNewPrivs|Seccomp):";
    container.exec(&["grep", "-E", pattern, &file]).await.stdout
}

/// CVE-2022-29162 among others: each row a kind of container.
async fn an_exec_holds_nothing_that_its_container_does_not() {
    let pod = Pod::run_with(shared().await, "rights", |config| {
        pod::host_network(config);
        let context = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        context.privileged = true;
    })
    .await;
    type Change = fn(&mut v1::LinuxContainerSecurityContext);
    let kinds: [(&str, Change); 5] = [
        ("root", |_| {}),
        ("user", |context| {
            context.run_as_user = Some(v1::Int64Value { value: 1000 })
        }),
        ("ambient", |context| {
            context.run_as_user = Some(v1::Int64Value { value: 1000 });
            context.capabilities = Some(v1::Capability {
                add_ambient_capabilities: vec!["NET_BIND_SERVICE".into()],
                ..Default::default()
            });
        }),
        ("bare", |context| {
            context.no_new_privs = true;
            context.capabilities = Some(v1::Capability {
                drop_capabilities: vec!["ALL".into()],
                ..Default::default()
            });
        }),
        ("privileged", |context| context.privileged = true),
    ];
    for (name, change) in kinds {
        let container = pod
            .start_with(name, &["sleep", "infinity"], |config| change(security(config)))
            .await;
        let (first, exec) = (rights(&container, "1").await, rights(&container, "self").await);
        assert_eq!(first, exec, "{name}");
        assert_eq!(first.lines().count(), 10, "{name}: {first}");
        if name != "ambient" {
            assert!(first.contains("CapInh:\t0000000000000000"), "{name}: {first}");
        }
    }
    pod.remove().await;
}

/// CVE-2016-9962: a process on its way into a container is not to be read from there: not its descriptors, its root,
/// its memory, nor its program, all of which are still ours.
async fn a_fresh_exec_shows_nothing_of_ours() {
    let pod = Pod::run(attacked().await, "tracer").await;
    let watch = "$| = 1; print \"watching\\n\"; my %seen; until (-e '/tmp/enough') { \
        opendir(my $all, '/proc'); for my $pid (grep { /^\\d+$/ && $_ > 1 && $_ != $$ } readdir $all) { \
        my $exe = readlink(\"/proc/$pid/exe\") // next; \
        my $root = readlink(\"/proc/$pid/root\") // ''; \
        print \"REACHED $exe $root\\n\" if $exe =~ /memfd|coracle/ || $root ne '/' && $root ne ''; \
        for my $fd (3 .. 12) { my $to = readlink(\"/proc/$pid/fd/$fd\") // next; \
        print \"REACHED $to\\n\" if $to !~ m{^(/proc|/tmp|/lib|/usr|/etc|/$)}; } } } print \"done\\n\"; ";
    let container = pod
        .create_with("main", &[], |config| {
            attacker(config);
            config.command = script(watch);
        })
        .await;
    container.start().await;
    container.printed("watching").await;

    for _ in 0..40 {
        container.sh("true").await;
    }
    container.sh("touch /tmp/enough").await;
    container.printed("done").await;

    assert_eq!(container.output(), "watching\ndone\n");
    pod.remove().await;
}

/// A command joins the namespace of its container's users before anything else: what it is there, it is on the node.
async fn no_exec_enters_a_user_namespace_as_the_nodes_root() {
    let daemon = shared().await;
    let pod = crate::userns::run(daemon, "userns-exec").await;
    let kept = daemon.place.logs().join(format!("kept-{}", node().number()));
    fs::create_dir_all(&kept).unwrap();
    fs::write(kept.join("roots"), "secret").unwrap();
    fs::set_permissions(kept.join("roots"), fs::Permissions::from_mode(0o600)).unwrap();
    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            config.mounts = vec![v1::Mount {
                host_path: kept.to_str().unwrap().to_owned(),
                container_path: "/kept".to_owned(),
                ..Default::default()
            }];
        })
        .await;

    // The map of the node's root would show every id there is.
    let ran = container.sh("id -u; cat /proc/self/uid_map; touch /made").await;
    assert_eq!(
        ran.split_whitespace().collect::<Vec<_>>(),
        ["0", "0", "200000", "65536"]
    );
    let made = format!("/proc/{}/root/made", container.pid().await);
    assert_eq!(fs::metadata(made).unwrap().uid(), 200_000);
    for tried in [
        "cat /kept/roots",
        "echo x >/kept/roots",
        "touch /kept/x",
        "echo x >/proc/sys/kernel/core_pattern",
    ] {
        let ran = container.exec(&["sh", "-c", tried]).await;
        assert_ne!(ran.code, 0, "{tried}: {ran:?}");
    }
    assert_eq!(fs::read_to_string(kept.join("roots")).unwrap(), "secret");
    container.remove().await;
    pod.remove().await;
}
