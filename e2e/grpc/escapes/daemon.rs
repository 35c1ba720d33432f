//! What the daemon was started with, and what a command can make it keep.

use libtest_mimic::Trial;

use super::{ATTACKER, attacker, import_attacker, script};
use crate::harness::daemon::{Daemon, Place, image_name, shared};
use crate::harness::image::{Recipe, TestImage};
use crate::harness::pod::{self, Pod, security};
use crate::harness::trials;

pub(super) fn tests() -> Vec<Trial> {
    trials![
        nothing_of_the_daemons_environment_or_groups_reaches_a_container,
        an_exec_cannot_fill_the_daemons_memory,
    ]
}

/// CVE-2022-29162, CVE-2023-25173.
async fn nothing_of_the_daemons_environment_or_groups_reaches_a_container() {
    let starter = [
        "setpriv",
        "--groups",
        "4242,4243",
        "env",
        "CANARY=of-the-daemon",
        "LISTEN_FDS=1",
        "NOTIFY_SOCKET=/run/canary",
    ];
    let daemon = Daemon::start_by(Place::new("environment"), &starter).await;
    daemon
        .import(&image_name(), &TestImage::build(&Recipe::default()))
        .await;
    import_attacker(&daemon).await;
    let pod = Pod::run_with(&daemon, "environment", |config| {
        pod::host_network(config);
        pod::namespaces(config).pid = k8s_cri::v1::NamespaceMode::Pod.into();
    })
    .await;
    let container = pod
        .start_with("main", &["sh", "-c", "id -G; env; sleep infinity"], |config| {
            let context = security(config);
            context.namespace_options.as_mut().unwrap().pid = k8s_cri::v1::NamespaceMode::Pod.into();
            // Sees what there is to see of the process that reaps.
            context.capabilities = Some(k8s_cri::v1::Capability {
                add_capabilities: vec!["SYS_PTRACE".into()],
                ..Default::default()
            });
        })
        .await;
    container.printed("PATH=").await;

    let exec = container.sh("id -G; env").await;
    let around = container
        .sh("cat /proc/[0-9]*/environ | tr '\\0' '\\n'; grep -h Groups /proc/[0-9]*/status")
        .await;

    for seen in [&container.output(), &exec, &around] {
        for word in ["CANARY", "LISTEN", "NOTIFY", "4242", "4243"] {
            assert!(!seen.contains(word), "{word} is in {seen}");
        }
    }
    assert!(exec.starts_with("0\n"), "{exec}");
    assert!(around.contains("PATH=") && around.contains("Groups:"), "{around}");
    pod.remove().await;
}

/// CVE-2022-31030: a command that writes without end is read to its end, and forgotten beyond the limit.
async fn an_exec_cannot_fill_the_daemons_memory() {
    const LIMIT: usize = 16 << 20;
    let daemon = shared().await;
    super::attacked().await;
    let pod = Pod::run(daemon, "flood").await;
    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            attacker(config);
            assert_eq!(config.image.as_ref().unwrap().image, ATTACKER);
        })
        .await;
    let before = resident(daemon.pid());
    let flood = script("my $x = 'x' x 65536; for (1 .. 4096) { syswrite STDOUT, $x; syswrite STDERR, $x }");
    let words: Vec<&str> = flood.iter().map(String::as_str).collect();

    let request = container.exec_request(&words, 0);
    let answer = daemon.runtime().exec_sync(request).await.unwrap().into_inner();

    assert!(answer.stdout.len() + answer.stderr.len() <= 2 * LIMIT);
    // Half a gibibyte was written. Several copies of what is kept are fine, all of it is not.
    let grown = resident(daemon.pid()).saturating_sub(before);
    assert!(grown < 256 << 20, "the daemon grew by {grown} bytes");
    pod.remove().await;
}

fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
