//! ExecSync: output, exit codes, limits, and the end of everything that was started.

use k8s_cri::v1;
use libtest_mimic::Trial;
use tonic::Code;

use crate::harness::container::{Made, Ran};
use crate::harness::daemon::{refused, shared};
use crate::harness::pod::{Pod, security};
use crate::harness::trials;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        output_and_exit_code_come_back,
        a_command_that_is_missing_says_so,
        a_timeout_kills_all_that_the_command_started,
        output_is_cut_at_sixteen_mebibytes,
        a_pipe_that_a_grandchild_holds_does_not_hold_the_answer,
        a_command_runs_as_the_container_does,
        execs_run_side_by_side,
        a_container_that_does_not_run_takes_no_command,
    ]
}

fn ran(stdout: &str, stderr: &str, code: i32) -> Ran {
    Ran {
        stdout: stdout.to_owned(),
        stderr: stderr.to_owned(),
        code,
    }
}

async fn output_and_exit_code_come_back() {
    let pod = Pod::run(shared().await, "exec").await;
    let container = pod.idle("main").await;
    let check = async |script: &str, expected: Ran| {
        assert_eq!(container.exec(&["sh", "-c", script]).await, expected);
    };

    check("echo out; echo err >&2", ran("out\n", "err\n", 0)).await;
    check("exit 42", ran("", "", 42)).await;
    check("kill -KILL $$", ran("", "", 137)).await;
    check("cat", ran("", "", 0)).await;
    check("printf 'no end'", ran("no end", "", 0)).await;
    pod.remove().await;
}

async fn a_command_that_is_missing_says_so() {
    let pod = Pod::run(shared().await, "exec-missing").await;
    let container = pod.idle("main").await;

    let request = container.exec_request(&["/nope"], 0);
    let refusal = refused(shared().await.runtime().exec_sync(request)).await;

    assert!(
        refusal
            .message()
            .contains(r#"exec "/nope": no such file or directory"#),
        "{refusal}"
    );
    assert_eq!(container.sh("echo fine").await, "fine\n");
    pod.remove().await;
}

/// How many processes of the container's have `text` on their command line.
async fn count(container: &Made<'_>, text: &str) -> usize {
    let listed = container.sh("ps -o args").await;
    listed.lines().filter(|line| line.trim() == text).count()
}

async fn a_timeout_kills_all_that_the_command_started() {
    let pod = Pod::run(shared().await, "exec-timeout").await;
    let container = pod.idle("main").await;
    let script = "sleep 7771 & setsid sleep 7772 & (setsid setsid sleep 7773 &) ; exec sleep 7774";

    let request = container.exec_request(&["sh", "-c", script], 1);
    let refusal = refused(shared().await.runtime().exec_sync(request)).await;

    assert_eq!(refusal.code(), Code::DeadlineExceeded, "{refusal}");
    // Dead before the answer: nothing to wait for.
    for number in 7771..=7774 {
        assert_eq!(
            count(&container, &format!("sleep {number}")).await,
            0,
            "sleep {number}"
        );
    }
    assert_eq!(count(&container, "sleep infinity").await, 1);
    pod.remove().await;
}

async fn output_is_cut_at_sixteen_mebibytes() {
    const MOST: usize = 16 * 1024 * 1024;
    let pod = Pod::run(shared().await, "exec-big").await;
    let container = pod.idle("main").await;

    let script = "head -c 20000000 /dev/zero; echo done >&2";
    let request = container.exec_request(&["sh", "-c", script], 0);
    // Both streams and the frame around them exceed what a kubelet takes; it is the streams that are tested.
    let answer = shared().await.runtime().exec_sync(request).await;

    match answer {
        Ok(answer) => {
            let answer = answer.into_inner();
            assert!(
                answer.stdout.len() <= MOST && answer.stdout.len() > MOST - 64 * 1024,
                "{}",
                answer.stdout.len()
            );
            assert_eq!(answer.exit_code, 0);
        }
        Err(refusal) => panic!("{refusal}"),
    }
    assert_eq!(container.sh("echo fine").await, "fine\n");
    pod.remove().await;
}

async fn a_pipe_that_a_grandchild_holds_does_not_hold_the_answer() {
    let pod = Pod::run(shared().await, "exec-pipe").await;
    let container = pod.idle("main").await;

    // Would take an hour if the end of the pipe were waited for.
    let ran = container
        .exec(&["sh", "-c", "setsid sleep 3600 & echo started"])
        .await;

    assert_eq!((ran.stdout.as_str(), ran.code), ("started\n", 0));
    pod.remove().await;
}

async fn a_command_runs_as_the_container_does() {
    let pod = Pod::run(shared().await, "exec-as").await;
    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            config.working_dir = "/tmp".into();
            config.envs.push(v1::KeyValue {
                key: "FROM_CONFIG".into(),
                value: "yes".into(),
            });
            let security = security(config);
            security.run_as_user = Some(v1::Int64Value { value: 1000 });
            security.run_as_group = Some(v1::Int64Value { value: 1000 });
            security.supplemental_groups = vec![1234];
            security.readonly_rootfs = true;
        })
        .await;

    let told = container.sh("id -u; id -g; id -G; pwd; echo $FROM_CONFIG").await;
    let status = "grep -E '^(Cap|NoNewPrivs|Groups|Umask)' /proc/PID/status";
    let of_exec = container.sh(&status.replace("PID", "self")).await;
    let of_first = container.sh(&status.replace("PID", "1")).await;

    assert_eq!(told, "1000\n1000\n1000 1234 50000\n/tmp\nyes\n");
    assert_eq!(of_exec, of_first);
    assert_ne!(container.exec(&["touch", "/x"]).await.code, 0);
    pod.remove().await;
}

async fn execs_run_side_by_side() {
    let pod = Pod::run(shared().await, "exec-many").await;
    let container = pod.idle("main").await;

    // Each waits for the other's file, so that none ends unless both run.
    let (one, other) = tokio::join!(
        container.sh("touch /tmp/1; until [ -e /tmp/2 ]; do sleep 0.02; done; echo 1"),
        container.sh("touch /tmp/2; until [ -e /tmp/1 ]; do sleep 0.02; done; echo 2"),
    );

    assert_eq!((one.as_str(), other.as_str()), ("1\n", "2\n"));
    pod.remove().await;
}

async fn a_container_that_does_not_run_takes_no_command() {
    let pod = Pod::run(shared().await, "exec-not").await;
    let created = pod.create("created", &["sleep", "9"]).await;
    let exited = pod.start("exited", &["true"]).await;
    exited.exited().await;

    for container in [&created, &exited] {
        let request = container.exec_request(&["true"], 0);
        let refusal = refused(shared().await.runtime().exec_sync(request)).await;
        assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal}");
    }
    pod.remove().await;
}
