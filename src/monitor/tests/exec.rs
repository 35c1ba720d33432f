//! Further processes in a running container.

use crate::monitor::client::{ExecStdio, MonitorClient, MonitorError};
use crate::monitor::protocol::{FailureKind, TerminalSize};
use crate::monitor::tests::fixture::{Host, LONG};
use std::fs;
use std::io::Read;
use std::time::Duration;

#[tokio::test]
async fn an_exec_has_its_own_streams_and_exit_code() {
    let Some(host) = Host::new() else { return };
    let container = host.run("a", &["sleep", "1000"]).await;

    let outcome = container
        .exec(container.request(&["sh", "-c", "echo out; echo err >&2; exit 3"]))
        .await
        .unwrap();

    assert_eq!((outcome.code, outcome.timed_out), (3, false));
    assert_eq!(
        (outcome.stdout.as_slice(), outcome.stderr.as_slice()),
        (&b"out\n"[..], &b"err\n"[..])
    );
    container.delete().await;
}

#[tokio::test]
async fn a_command_that_cannot_be_run_is_named() {
    let Some(host) = Host::new() else { return };
    let container = host.run("a", &["sleep", "1000"]).await;
    let mut in_nowhere = container.request(&["true"]);
    in_nowhere.process.cwd = "/nowhere".into();

    let missing = container.exec(container.request(&["/nope"])).await.unwrap_err();
    let nowhere = container.exec(in_nowhere).await.unwrap_err();

    for (error, text) in [
        (missing, r#"exec "/nope": no such file or directory"#),
        (
            nowhere,
            r#"working directory "/nowhere": no such file or directory"#,
        ),
    ] {
        let MonitorError::Failed(failure) = error else {
            panic!("{error:?}")
        };
        assert_eq!(
            (failure.kind, failure.text.as_str()),
            (FailureKind::Command, text)
        );
    }
    container.delete().await;
}

#[tokio::test]
async fn a_timeout_kills_every_descendant_and_nothing_else() {
    let Some(host) = Host::new() else { return };
    let container = host.run("a", &["sleep", "1000"]).await;
    let script = "setsid sleep 555 & sleep 556 & (sleep 557 & sleep 558) & sleep 559";
    let mut request = container.request(&["sh", "-c", script]);
    request.timeout_ms = 300;

    let outcome = container.exec(request).await.unwrap();

    assert_eq!((outcome.code, outcome.timed_out), (137, true));
    let left = container.sh("cat /proc/[0-9]*/cmdline").await;
    assert!(
        left.contains("sleep\u{0}1000") && !left.contains("55"),
        "{left:?}"
    );
    container.delete().await;
}

#[tokio::test]
async fn a_process_left_behind_does_not_hold_up_the_answer() {
    let Some(host) = Host::new() else { return };
    let container = host.run("a", &["sleep", "1000"]).await;

    let outcome = container
        .exec(container.request(&["sh", "-c", "echo said; sleep 1000 &"]))
        .await
        .unwrap();

    assert_eq!((outcome.code, outcome.stdout.as_slice()), (0, &b"said\n"[..]));
    container.delete().await;
}

#[tokio::test]
async fn output_beyond_the_limit_is_dropped_and_the_command_ends() {
    let Some(host) = Host::new() else { return };
    let container = host.run("a", &["sleep", "1000"]).await;

    let outcome = container
        .exec(container.request(&["dd", "if=/dev/zero", "bs=1M", "count=20"]))
        .await
        .unwrap();

    assert_eq!((outcome.code, outcome.stdout.len()), (0, 16 << 20));
    container.delete().await;
}

#[tokio::test]
async fn an_exec_can_have_a_terminal() {
    let Some(host) = Host::new() else { return };
    let container = host.run("a", &["sleep", "1000"]).await;
    let mut request = container.request(&["sh", "-c", "[ -t 0 ] && echo yes; readlink /proc/self/fd/0"]);
    request.terminal = Some(TerminalSize {
        width: 100,
        height: 30,
    });

    let mut exec = container.client.exec(request, ExecStdio::Terminal).await.unwrap();
    let master = exec.take_terminal().unwrap();
    let exit = tokio::time::timeout(LONG, exec.wait()).await.unwrap().unwrap();

    assert_eq!(exit.code, 0);
    let mut text = vec![];
    // EIO ends a terminal whose other side is closed.
    let _ = fs::File::from(master).read_to_end(&mut text);
    assert_eq!(String::from_utf8_lossy(&text), "yes\r\n/dev/pts/0\r\n");
    container.delete().await;
}

#[tokio::test]
async fn an_exec_can_be_killed() {
    let Some(host) = Host::new() else { return };
    let container = host.run("a", &["sleep", "1000"]).await;
    let null = || {
        fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap()
            .into()
    };

    let stdio = ExecStdio::Given([null(), null(), null()]);
    let mut exec = container
        .client
        .exec(container.request(&["sleep", "1000"]), stdio)
        .await
        .unwrap();
    exec.kill().await.unwrap();
    let exit = tokio::time::timeout(LONG, exec.wait()).await.unwrap().unwrap();

    assert_eq!((exit.code, exit.timed_out), (137, false));
    container.delete().await;
}

#[tokio::test]
async fn many_execs_leave_no_descriptor_no_zombie_and_no_cgroup() {
    let Some(host) = Host::new() else { return };
    let container = host.run("a", &["sleep", "1000"]).await;
    let monitor = container.client.state().await.unwrap().monitor_pid;
    let open = || fs::read_dir(format!("/proc/{monitor}/fd")).unwrap().count();
    container.sh("true").await;
    let before = open();

    for round in 0..30 {
        let request = |command: &str| container.request(&[command]);
        let ten = (0..10).map(|i| container.exec(request(if i % 3 == 0 { "/nope" } else { "true" })));
        for (i, outcome) in futures_util::future::join_all(ten).await.into_iter().enumerate() {
            assert_eq!(outcome.is_err(), i % 3 == 0, "{round}: {outcome:?}");
        }
    }

    container.sh("true").await;
    let children = || fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children")).unwrap();
    let only_the_container = format!("{} ", container.created.pid);
    // The last worker may be on its way out still: each question makes the monitor look.
    let settled = async {
        while open() != before || children() != only_the_container {
            container.client.state().await.unwrap();
        }
    };
    let waited = tokio::time::timeout(LONG, settled).await;
    assert!(
        waited.is_ok(),
        "{} descriptors, {before} before; children {}",
        open(),
        children()
    );
    let group = crate::sys::cgroup::Cgroup::new(&format!("{}/a", host.cgroup.path())).unwrap();
    let groups = fs::read_dir(group.dir("freezer"))
        .unwrap()
        .flatten()
        .filter(|e| e.path().is_dir())
        .count();
    assert!(groups <= 1, "{groups}");
    container.delete().await;
}

#[tokio::test]
async fn a_command_that_nobody_waits_for_does_not_begin() {
    let Some(host) = Host::new() else { return };
    let container = host.run("a", &["sleep", "1000"]).await;
    let monitor = container.client.state().await.unwrap().monitor_pid;
    let signal =
        |signal| crate::sys::pidfd::signal(crate::sys::pidfd::open(monitor).unwrap(), signal).unwrap();
    let another = MonitorClient::connect(&container.dir).await.unwrap();
    signal(libc::SIGSTOP);

    // One is given up, the other's daemon goes.
    let given_up = container
        .client
        .exec_collect(container.request(&["touch", "/given-up"]));
    let waited = tokio::time::timeout(Duration::from_millis(200), given_up).await;
    let gone = another.exec_collect(container.request(&["touch", "/gone"]));
    let gone = tokio::time::timeout(Duration::from_millis(200), gone).await;
    assert!(waited.is_err() && gone.is_err());
    drop(another);
    // Taking back is a task's.
    tokio::time::sleep(Duration::from_millis(200)).await;
    signal(libc::SIGCONT);

    let found = container.sh("sleep 1; ls /").await;
    assert!(
        found.contains("proc") && !found.contains("given-up") && !found.contains("gone"),
        "{found}"
    );
    container.delete().await;
}
