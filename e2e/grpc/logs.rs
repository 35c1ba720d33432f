//! Containers' logs, in the format that the kubelet reads: `TIME STREAM TAG TEXT`.

use std::fs;

use k8s_cri::v1;
use libtest_mimic::Trial;
use tonic::Code;

use crate::harness::container::{LogLine, log_lines};
use crate::harness::daemon::{refused, shared};
use crate::harness::pod::Pod;
use crate::harness::trials;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        both_streams_are_logged_line_by_line,
        a_long_line_is_logged_in_parts,
        what_has_no_line_end_is_logged,
        the_log_is_whole_when_the_exit_shows,
        a_rotated_log_goes_on_in_a_new_file,
        a_log_that_cannot_be_opened_stays_where_it_is,
        a_container_without_a_log_path_runs,
    ]
}

fn text_of(lines: &[LogLine], stream: &str) -> Vec<String> {
    let of_stream = lines.iter().filter(|line| line.stream == stream);
    of_stream
        .map(|line| format!("{} {}", line.tag, line.text))
        .collect()
}

/// Whether the text is RFC 3339 with nine digits of a second: `2006-01-02T15:04:05.123456789Z` or an offset.
fn is_time(text: &str) -> bool {
    let (whole, rest) = text.split_at_checked(20).unwrap_or((text, ""));
    let shape: String = whole
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    let digits = rest.chars().take_while(char::is_ascii_digit).count();
    let zone = &rest[digits..];
    shape == "0000-00-00T00:00:00."
        && (1..=9).contains(&digits)
        && (zone == "Z" || zone.starts_with(['+', '-']))
}

async fn both_streams_are_logged_line_by_line() {
    let pod = Pod::run(shared().await, "streams").await;

    let container = pod
        .start(
            "main",
            &["sh", "-c", "echo one; echo; echo 'two  words' >&2; echo three"],
        )
        .await;
    container.exited().await;

    let lines = container.lines();
    assert_eq!(text_of(&lines, "stdout"), ["F one", "F ", "F three"]);
    assert_eq!(text_of(&lines, "stderr"), ["F two  words"]);
    assert!(lines.iter().all(|line| is_time(&line.time)), "{lines:?}");
    pod.remove().await;
}

async fn a_long_line_is_logged_in_parts() {
    const PART: usize = 16 * 1024;
    let pod = Pod::run(shared().await, "long").await;
    let script = "head -c 40000 /dev/zero | tr '\\0' x; echo; echo after";

    let container = pod.start("main", &["sh", "-c", script]).await;
    container.exited().await;

    let lines = container.lines();
    let (last, parts) = lines.split_last().unwrap();
    let text: String = parts.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(text, "x".repeat(40000));
    assert!(parts.iter().all(|line| line.text.len() <= PART));
    let tags: Vec<&str> = parts.iter().map(|line| line.tag.as_str()).collect();
    let (end, middle) = tags.split_last().unwrap();
    assert_eq!(*end, "F");
    assert!(
        middle.len() >= 2 && middle.iter().all(|tag| *tag == "P"),
        "{tags:?}"
    );
    assert_eq!((last.tag.as_str(), last.text.as_str()), ("F", "after"));
    pod.remove().await;
}

async fn what_has_no_line_end_is_logged() {
    let pod = Pod::run(shared().await, "tail").await;

    let container = pod.start("main", &["printf", "no line end"]).await;
    container.exited().await;

    assert_eq!(container.lines()[0].text, "no line end");
    pod.remove().await;
}

async fn the_log_is_whole_when_the_exit_shows() {
    let pod = Pod::run(shared().await, "whole").await;

    let container = pod.start("main", &["seq", "1", "20000"]).await;
    container.exited().await;

    let texts: Vec<String> = container.lines().into_iter().map(|line| line.text).collect();
    let expected: Vec<String> = (1..=20000).map(|number| number.to_string()).collect();
    assert_eq!(texts, expected);
    pod.remove().await;
}

async fn a_rotated_log_goes_on_in_a_new_file() {
    let pod = Pod::run(shared().await, "rotate").await;
    let container = pod
        .start(
            "main",
            &["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; done"],
        )
        .await;
    container.printed("1000\n").await;
    let rotated = container.log.with_extension("old");

    fs::rename(&container.log, &rotated).unwrap();
    let request = v1::ReopenContainerLogRequest {
        container_id: container.id.clone(),
    };
    shared()
        .await
        .runtime()
        .reopen_container_log(request)
        .await
        .unwrap();
    crate::harness::eventually("the new log has lines", async || {
        (container.lines().len() > 1000).then_some(())
    })
    .await;
    container.stop(0).await;

    let all = [log_lines(&rotated), container.lines()].concat();
    let numbers: Vec<usize> = all.iter().map(|line| line.text.parse().unwrap()).collect();
    assert!(
        numbers.iter().copied().eq(1..=numbers.len()),
        "lines are missing or out of order"
    );
    pod.remove().await;
}

async fn a_log_that_cannot_be_opened_stays_where_it_is() {
    let pod = Pod::run(shared().await, "no-reopen").await;
    let container = pod
        .start(
            "main",
            &["sh", "-c", "echo first; while sleep 0.05; do echo more; done"],
        )
        .await;
    container.printed("more").await;
    let kept = pod.logs().with_extension("moved");
    fs::rename(pod.logs(), &kept).unwrap();
    let request = v1::ReopenContainerLogRequest {
        container_id: container.id.clone(),
    };

    refused(shared().await.runtime().reopen_container_log(request.clone())).await;

    assert!(!container.log.exists());
    fs::rename(&kept, pod.logs()).unwrap();
    let before = container.lines().len();
    crate::harness::eventually("the old log goes on", async || {
        (container.lines().len() > before).then_some(())
    })
    .await;
    container.stop(0).await;
    let refusal = refused(shared().await.runtime().reopen_container_log(request)).await;
    assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal}");
    pod.remove().await;
}

async fn a_container_without_a_log_path_runs() {
    let pod = Pod::run(shared().await, "no-log").await;

    let container = pod
        .start_with("main", &["echo", "unheard"], |config| config.log_path.clear())
        .await;
    let status = container.exited().await;

    assert_eq!(status.exit_code, 0);
    assert_eq!(status.log_path, "");
    pod.remove().await;
}
