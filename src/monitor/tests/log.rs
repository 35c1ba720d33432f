//! The log file, written by a real container.

use crate::monitor::protocol::{Stdio, TerminalSize};
use crate::monitor::tests::fixture::Host;
use std::fs;

#[tokio::test]
async fn partial_lines_and_large_output_arrive_complete() {
    let Some(host) = Host::new() else { return };
    let script = "dd if=/dev/zero bs=40000 count=1 2>/dev/null | tr '\\0' x; echo; printf tail";
    let container = host
        .run(
            "a",
            &[
                "sh",
                "-c",
                &script.replace("tr ", "busybox tr ").replace("printf", "echo -n"),
            ],
        )
        .await;

    container.exited().await;

    let lines = container.log("stdout");
    let lengths: Vec<(&str, usize)> = lines.iter().map(|l| (&l[..1], l.len() - 2)).collect();
    assert_eq!(
        lengths,
        [("P", 16384), ("P", 16384), ("F", 40000 - 2 * 16384), ("P", 4)]
    );
    container.delete().await;
}

#[tokio::test]
async fn a_rotated_log_is_opened_again() {
    let Some(host) = Host::new() else { return };
    let container = host
        .run("a", &["sh", "-c", "echo one; read x; echo two; sleep 1000"])
        .await;
    let log = container.dir.join("log");
    let moved = container.dir.join("log.1");

    fs::rename(&log, &moved).unwrap();
    container.client.reopen_log().await.unwrap();
    fs::remove_file(&log).unwrap();
    fs::create_dir(&log).unwrap();
    let refused = container.client.reopen_log().await;

    assert!(refused.is_err());
    assert!(fs::read_dir(&log).unwrap().next().is_none());
    container.delete().await;
}

#[tokio::test]
async fn a_terminal_is_logged_and_resized() {
    let Some(host) = Host::new() else { return };
    let mut wanted = host.container(
        "a",
        &[
            "sh",
            "-c",
            "[ -t 1 ] && echo terminal; readlink /proc/self/fd/1; sleep 1000",
        ],
    );
    wanted.terminal();
    let container = wanted.create(&host).await.unwrap();
    container.client.start().await.unwrap();

    container
        .client
        .resize(TerminalSize {
            width: 99,
            height: 33,
        })
        .await
        .unwrap();
    let size = container.sh("busybox stty size < /dev/pts/0").await;
    container.client.signal(9).await.unwrap();
    container.exited().await;

    assert_eq!(size, "33 99\n");
    assert_eq!(container.log("stdout")[0], "F terminal\r");
    container.delete().await;
}

#[tokio::test]
async fn a_terminal_that_is_the_callers_is_handed_over() {
    let Some(host) = Host::new() else { return };
    let mut wanted = host.container("a", &["sh", "-c", "read line; echo got $line"]);
    wanted.terminal();
    let (width, height) = (80, 24);
    wanted.request.stdio = Stdio::GivenTerminal(TerminalSize { width, height });
    wanted.request.log = None;
    let mut container = wanted.create(&host).await.unwrap();
    let master = container.terminal.take().unwrap();

    container.client.start().await.unwrap();
    rustix::io::write(&master, b"word\n").unwrap();
    let exit = container.exited().await;

    let mut text = [0; 256];
    let count = rustix::io::read(&master, &mut text).unwrap();
    assert_eq!(exit.code, 0);
    assert_eq!(String::from_utf8_lossy(&text[..count]), "word\r\ngot word\r\n");
    container.delete().await;
}
