//! Tests of single runs, with scripts for plugins.

use serde_json::json;

use super::*;
use crate::cni::fake::{Fake, own};

/// Long enough never to be reached by what is to end by itself.
const LONG: Duration = Duration::from_secs(60);

async fn run(fake: &Fake, verb: Verb, deadline: Duration) -> Result<String, ExecError> {
    let path = PluginPath::new(vec![fake.path("none"), fake.path("bin")]);
    let subject = Subject {
        id: &own("abc"),
        ifname: "eth0",
        netns: None,
        args: "A=1;B=2",
    };
    let run = Run {
        verb,
        path: &path,
        subject: Some(subject),
        deadline: Instant::now() + deadline,
    };
    run.plugin("p", &json!({"name": "net"}))
        .await
        .map(|out| String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn a_plugin_gets_its_configuration_and_environment_and_its_answer_comes_back() {
    let fake = Fake::new();
    fake.plugin("p", "echo '{}'");

    let answer = run(&fake, Verb::Add, LONG).await.unwrap();

    assert_eq!(answer, "{}\n");
    assert_eq!(fake.input("p", "ADD"), json!({"name": "net"}));
    let check = |name: &str, expected: &str| {
        assert_eq!(
            fake.variable("p", "ADD", name).as_deref(),
            Some(expected),
            "{name}"
        );
    };
    check("CNI_CONTAINERID", &own("abc"));
    check("CNI_IFNAME", "eth0");
    check("CNI_NETNS", "");
    check("CNI_ARGS", "A=1;B=2");
    check(
        "CNI_PATH",
        &format!("{}:{}", fake.path("none").display(), fake.path("bin").display()),
    );
    assert!(fake.variable("p", "ADD", "PATH").is_some());
}

#[tokio::test]
async fn a_plugin_that_fails_is_told_with_what_it_said() {
    let check = async |script: &str, expected: &str| {
        let fake = Fake::new();
        fake.plugin("p", script);
        let told = run(&fake, Verb::Del, LONG).await.unwrap_err().to_string();
        assert_eq!(told, expected, "{script}");
    };

    check(
        r#"echo '{"cniVersion":"1.0.0","code":11,"msg":"no address","details":"pool is full"}'; exit 1"#,
        "plugin p refused DEL: no address (code 11): pool is full",
    )
    .await;
    check(
        r#"echo '{"msg":"no code"}'; exit 1"#,
        "plugin p refused DEL: no code (code 0)",
    )
    .await;
    check(
        "echo panic: oh; echo trace >&2; exit 2",
        r#"plugin p ended DEL with exit status: 2 and no readable error; it wrote "panic: oh", and logged "trace""#,
    )
    .await;
    check(
        r#"echo '{"code":1'; exit 3"#,
        r#"plugin p ended DEL with exit status: 3 and no readable error; it wrote "{\"code\":1", and logged """#,
    )
    .await;
    check(
        "kill -KILL $$",
        r#"plugin p ended DEL with signal: 9 (SIGKILL) and no readable error; it wrote "", and logged """#,
    )
    .await;
}

#[tokio::test]
async fn a_plugin_that_hangs_is_killed_with_what_it_started() {
    let fake = Fake::new();
    // The reader of the fifo sees its end when the last process that may write to it is gone.
    let fifo = fake.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    fake.plugin("p", r#"exec 9>"$root/fifo"; sleep 1000 & sleep 1000"#);
    let held = tokio::fs::read(&fifo);

    let (outcome, read) = tokio::join!(run(&fake, Verb::Add, Duration::from_secs(1)), held);

    assert!(matches!(outcome, Err(ExecError::Deadline { .. })), "{outcome:?}");
    assert!(read.unwrap().is_empty());
}

#[tokio::test]
async fn a_dropped_run_kills_the_plugin_with_what_it_started() {
    let fake = Fake::new();
    let fifo = fake.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    fake.plugin(
        "p",
        r#"exec 9>"$root/fifo"; echo up >&9; sleep 1000 & sleep 1000"#,
    );
    let mut pipe = tokio::net::unix::pipe::OpenOptions::new()
        .open_receiver(&fifo)
        .unwrap();

    let mut byte = [0; 3];
    tokio::select! {
        outcome = run(&fake, Verb::Add, LONG) => panic!("{outcome:?}"),
        read = tokio::io::AsyncReadExt::read_exact(&mut pipe, &mut byte) => drop(read.unwrap()),
    }

    assert_eq!(
        tokio::io::AsyncReadExt::read(&mut pipe, &mut byte).await.unwrap(),
        0
    );
}

#[tokio::test]
async fn a_plugin_whose_offspring_holds_its_output_has_answered_when_it_ends() {
    let fake = Fake::new();
    fake.plugin("p", r#"echo '{}'; sleep 1000 & echo $! > "$root/pid""#);

    let answer = run(&fake, Verb::Add, LONG).await.unwrap();

    assert_eq!(answer, "{}\n");
    let pid = std::fs::read_to_string(fake.path("pid"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn output_without_end_is_bounded() {
    let check = async |script: &str| {
        let fake = Fake::new();
        fake.plugin("p", script);
        run(&fake, Verb::Add, LONG).await
    };

    let answer = check("head -c 2000000 /dev/zero").await;
    let log = check("head -c 2000000 /dev/zero >&2; echo '{}'").await;

    assert!(matches!(answer, Err(ExecError::TooLong { .. })), "{answer:?}");
    assert_eq!(log.unwrap(), "{}\n");
}

#[tokio::test]
async fn a_plugin_that_reads_nothing_succeeds() {
    let fake = Fake::new();
    let path = fake.path("bin").join("p");
    std::fs::write(&path, "#!/bin/sh\nexec <&-; echo '{}'\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let dirs = PluginPath::new(vec![fake.path("bin")]);
    let run = Run {
        verb: Verb::Status,
        path: &dirs,
        subject: None,
        deadline: Instant::now() + LONG,
    };

    let answer = run.plugin("p", &json!({"long": "x".repeat(1 << 20)})).await;

    assert_eq!(answer.unwrap(), b"{}\n");
}

#[tokio::test]
async fn a_plugin_that_is_not_there_or_cannot_be_executed_is_told() {
    let fake = Fake::new();
    std::fs::write(fake.path("bin").join("p"), "not executable").unwrap();

    let missing = run(&fake, Verb::Add, LONG).await.unwrap_err();
    let path = fake.path("bin").join("p");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let unknown = run(&fake, Verb::Add, LONG).await.unwrap_err();

    assert!(
        missing.to_string().starts_with("plugin p is in none of "),
        "{missing}"
    );
    assert!(matches!(unknown, ExecError::Spawn { .. }), "{unknown}");
}
