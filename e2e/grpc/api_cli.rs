//! The command line's way to containers, against a daemon and its API: what a person types, reads, and gets as a code.

use std::fs::{self, File};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use libtest_mimic::Trial;
use nix::pty::{Winsize, openpty};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::api::Api;
use crate::harness::daemon::{Daemon, IMAGE, Place};
use crate::harness::pod::Pod;
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_container_lives_by_the_command_line_alone,
        a_log_is_shown_followed_and_cut_as_asked,
        a_command_has_its_input_its_outputs_and_its_code,
        a_command_on_a_terminal_has_its_keys_and_its_size,
        what_belongs_to_the_kubelet_is_shown_and_kept,
        what_cannot_be_done_is_told_with_its_code,
    ]
}

/// What a command that succeeds prints.
#[track_caller]
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command that fails says, and its code.
fn complained(output: &Output) -> (i32, String) {
    assert!(!output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    (output.status.code().unwrap(), text)
}

/// Makes and starts a container that runs a script, by the command line.
async fn run(daemon: &Daemon, name: &str, script: &str) -> String {
    let created = daemon
        .cli(&["create", "--name", name, IMAGE, "sh", "-c", script])
        .await;
    let id = said(&created).trim_end().to_owned();
    said(&daemon.cli(&["start", &id]).await);
    id
}

async fn a_container_lives_by_the_command_line_alone() {
    let (daemon, api) = Api::serving("cli-life").await;
    let script = "trap 'exit 7' TERM; echo $A; pwd; id -u; while :; do sleep 0.05; done";
    let arguments = [
        "create",
        "--name",
        "web",
        "-e",
        "A=from-here",
        "-l",
        "tier=front",
        "-w",
        "/tmp",
        "-u",
        "1000",
        "-m",
        "64m",
        "--cpus",
        "0.5",
        IMAGE,
        "sh",
        "-c",
        script,
    ];

    let id = said(&daemon.cli(&arguments).await).trim_end().to_owned();
    let created = said(&daemon.cli(&["ps"]).await);
    let started = said(&daemon.cli(&["start", "web"]).await);
    let listed = said(&daemon.cli(&["ps"]).await);
    let chosen = said(
        &daemon
            .cli(&["ps", "-q", "--no-trunc", "--label", "tier=front"])
            .await,
    );
    let others = said(&daemon.cli(&["ps", "-q", "--label", "tier=back"]).await);
    let printed = eventually("the container has printed", async || {
        let text = said(&daemon.cli(&["logs", &id[..8]]).await);
        (text.lines().count() == 3).then_some(text)
    })
    .await;
    let status = api.status(&id).await;
    let stats = said(&daemon.cli(&["stats", "web"]).await);
    let (running, _) = complained(&daemon.cli(&["rm", "web"]).await);
    said(&daemon.cli(&["stop", "-t", "60", "web"]).await);
    let all: Value = serde_json::from_str(&said(&daemon.cli(&["ps", "-a", "-o", "json"]).await)).unwrap();
    said(&daemon.cli(&["rm", "web"]).await);

    assert_eq!(id.len(), 64);
    assert_eq!(created.lines().count(), 1, "{created}");
    assert_eq!(started, "web\n");
    let row: Vec<&str> = listed.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        (row[0], row[1], *row.last().unwrap()),
        (&id[..12], IMAGE, "web"),
        "{listed}"
    );
    assert!(row.contains(&"running") && row.contains(&"-"), "{listed}");
    assert_eq!((chosen, others), (format!("{id}\n"), String::new()));
    assert_eq!(printed, "from-here\n/tmp\n1000\n");
    assert_eq!(status["resources"]["memoryLimitInBytes"], 64 << 20);
    assert_eq!(status["resources"]["cpuQuota"], 50_000);
    let measured = stats.lines().nth(1).unwrap();
    assert!(
        measured.starts_with(&id[..12]) && measured.contains('%') && measured.contains("64.00 MiB"),
        "{stats}"
    );
    assert_eq!(running, 1);
    assert_eq!((&all[0]["id"], &all[0]["state"]), (&json!(id), &json!(2)));
    assert_eq!(said(&daemon.cli(&["ps", "-aq"]).await), "");
    daemon.check().await;
}

async fn a_log_is_shown_followed_and_cut_as_asked() {
    let (daemon, api) = Api::serving("cli-logs").await;
    // In steps, since what comes by two pipes at once has no order.
    let script =
        "for i in 1 2 3; do echo out $i; done; read go </tmp/1; echo bad >&2; read go </tmp/2; echo out 4";
    let id = run(&daemon, "talker", &format!("mkfifo /tmp/1 /tmp/2; {script}")).await;
    eventually("the container has printed", async || {
        (said(&daemon.cli(&["logs", "talker"]).await).lines().count() == 3).then_some(())
    })
    .await;

    // From outside: a command in the container might be killed with it before it has ended.
    let pid = api.status(&id).await["pid"].clone();
    let go = |step: u32| fs::write(format!("/proc/{pid}/root/tmp/{step}"), "go\n").unwrap();
    go(1);
    let all = eventually("the container has complained", async || {
        Some(daemon.cli(&["logs", "talker"]).await).filter(|all| !all.stderr.is_empty())
    })
    .await;
    let stamped = said(&daemon.cli(&["logs", "-t", "--tail", "2", "talker"]).await);
    let mut follow =
        tokio::process::Command::from(daemon.place.command(&["logs", "-f", "-n", "1", "talker"]));
    let mut following = follow
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // What was there before is shown, then what comes.
    let mut first = [0; 4];
    let shown = following.stderr.as_mut().unwrap().read_exact(&mut first).await;
    shown.unwrap();
    go(2);
    let followed = following.wait_with_output().await.unwrap();

    assert_eq!(said(&all), "out 1\nout 2\nout 3\n");
    assert_eq!(String::from_utf8_lossy(&all.stderr), "bad\n");
    let (time, text) = stamped.trim_end().split_once(' ').unwrap();
    assert!(time.ends_with('Z') && text == "out 3", "{stamped}");
    // The last line, which was an error, and what came until the container's end.
    assert_eq!(said(&followed), "out 4\n");
    assert_eq!([&first[..], &followed.stderr].concat(), b"bad\n");
}

async fn a_command_has_its_input_its_outputs_and_its_code() {
    let (daemon, _api) = Api::serving("cli-exec").await;
    let id = run(
        &daemon,
        "base",
        "trap 'exit 0' TERM; while :; do sleep 0.05; done",
    )
    .await;

    let script = "cat; echo on the other >&2; exit 42";
    let mut command =
        tokio::process::Command::from(daemon.place.command(&["exec", "-i", "base", "sh", "-c", script]));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let long = "0123456789abcdef".repeat(1 << 14);
    let mut stdin = child.stdin.take().unwrap();
    let sent = long.clone();
    let writing = tokio::spawn(async move { stdin.write_all(sent.as_bytes()).await.unwrap() });
    let output = child.wait_with_output().await.unwrap();
    writing.await.unwrap();
    let unread = daemon.cli(&["exec", &id, "sh", "-c", "cat; echo done"]).await;
    let killed = daemon.cli(&["exec", &id, "sh", "-c", "kill -9 $$"]).await;
    let (absent, why) = complained(&daemon.cli(&["exec", &id, "/no/such"]).await);

    assert_eq!(output.status.code(), Some(42));
    assert_eq!(output.stdout.len(), long.len());
    assert!(output.stdout == long.as_bytes());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "on the other\n");
    assert_eq!(said(&unread), "done\n");
    assert_eq!(killed.status.code(), Some(137));
    assert!(absent != 0 && why.contains("/no/such"), "{why}");
    daemon.check().await;
}

/// A command on a terminal of its own, which is the other end of a file.
struct OnTerminal {
    child: tokio::process::Child,
    keys: tokio::fs::File,
    shown: Arc<Mutex<String>>,
    _reading: tokio::task::JoinHandle<()>,
}

impl OnTerminal {
    fn begin(place: &Place, arguments: &[&str], rows: u16, columns: u16) -> OnTerminal {
        let pty = openpty(&winsize(rows, columns), None).unwrap();
        let own = place.command(arguments);
        // Its own session, so that the terminal is its controlling one and tells it of its size.
        let mut command = Command::new("setsid");
        command
            .args(["--ctty", "--wait"])
            .arg(own.get_program())
            .args(own.get_args());
        let slave = || Stdio::from(pty.slave.try_clone().unwrap());
        command.stdin(slave()).stdout(slave()).stderr(slave());
        let child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let mut output = tokio::fs::File::from_std(File::from(pty.master.try_clone().unwrap()));
        let reading = tokio::spawn({
            let shown = Arc::clone(&shown);
            async move {
                let mut piece = [0; 4096];
                while let Ok(count @ 1..) = output.read(&mut piece).await {
                    shown
                        .lock()
                        .unwrap()
                        .push_str(&String::from_utf8_lossy(&piece[..count]));
                }
            }
        });
        OnTerminal {
            child,
            keys: tokio::fs::File::from_std(File::from(pty.master)),
            shown,
            _reading: reading,
        }
    }

    async fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).await.unwrap();
        self.keys.flush().await.unwrap();
    }

    async fn shows(&self, text: &str) {
        eventually(&format!("the terminal shows {text:?}"), async || {
            self.shown.lock().unwrap().contains(text).then_some(())
        })
        .await;
    }
}

fn winsize(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

async fn a_command_on_a_terminal_has_its_keys_and_its_size() {
    let (daemon, _api) = Api::serving("cli-terminal").await;
    let id = run(
        &daemon,
        "shell",
        "trap 'exit 0' TERM; while :; do sleep 0.05; done",
    )
    .await;
    let mut terminal = OnTerminal::begin(&daemon.place, &["exec", "-it", &id, "sh"], 33, 99);

    terminal.types("echo it is $(stty size)\r").await;
    terminal.shows("it is 33 99").await;
    rustix::termios::tcsetwinsize(
        &terminal.keys,
        rustix::termios::Winsize {
            ws_row: 44,
            ws_col: 111,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )
    .unwrap();
    let mut asked = 0;
    loop {
        asked += 1;
        terminal.types(&format!("echo {asked}: $(stty size)\r")).await;
        terminal.shows(&format!("\n{asked}: ")).await;
        if terminal.shown.lock().unwrap().contains(": 44 111") {
            break;
        }
        assert!(asked < 500, "the size does not follow");
    }
    terminal.types("exit 9\r").await;
    let code = terminal.child.wait().await.unwrap().code();

    assert_eq!(code, Some(9));
    // Ctrl-C is the command's, not this one's.
    let script = "trap 'echo caught; exit 5' INT; echo armed; while :; do sleep 0.05; done";
    let mut terminal = OnTerminal::begin(&daemon.place, &["exec", "-it", &id, "sh", "-c", script], 24, 80);
    terminal.shows("armed").await;
    terminal.types("\u{3}").await;
    terminal.shows("caught").await;
    assert_eq!(terminal.child.wait().await.unwrap().code(), Some(5));
}

async fn what_belongs_to_the_kubelet_is_shown_and_kept() {
    let (daemon, _api) = Api::serving("cli-owned").await;
    let pod = Pod::run(&daemon, "owned").await;
    let container = pod.idle("main").await;
    let id = container.id.as_str();

    let listed = said(&daemon.cli(&["ps"]).await);
    let logs = said(&daemon.cli(&["logs", id]).await);
    let mut refusals = vec![];
    for command in [&["stop", id][..], &["exec", id, "true"], &["start", id]] {
        refusals.push(complained(&daemon.cli(command).await));
    }
    let (killing, _) = complained(&daemon.cli(&["rm", id]).await);
    let forced = said(&daemon.cli(&["exec", "--force", id, "echo", "in"]).await);
    said(&daemon.cli(&["stop", "--force", "-t", "0", id]).await);
    let (kept, why) = complained(&daemon.cli(&["rm", id]).await);
    said(&daemon.cli(&["rm", "-f", id]).await);

    assert!(
        listed.contains("kubelet") && listed.contains(&id[..12]),
        "{listed}"
    );
    assert!(!logs.contains("cannot"), "{logs}");
    for (code, text) in refusals {
        assert_eq!(code, 1);
        assert!(text.contains("belongs to the kubelet"), "{text}");
    }
    assert_eq!((killing, forced.as_str()), (1, "in\n"));
    assert!(kept == 1 && why.contains("belongs to the kubelet"), "{why}");
    daemon.check().await;
}

async fn what_cannot_be_done_is_told_with_its_code() {
    let (daemon, _api) = Api::serving("cli-refused").await;
    run(&daemon, "one", "exit 0").await;
    eventually("the container has ended", async || {
        said(&daemon.cli(&["ps", "-q"]).await).is_empty().then_some(())
    })
    .await;
    let check = async |arguments: &[&str], code: i32, expected: &str| {
        let (answered, text) = complained(&daemon.cli(arguments).await);
        assert_eq!(answered, code, "{arguments:?}: {text}");
        assert!(text.contains(expected), "{arguments:?}: {text}");
    };

    check(&["stop", "no-such"], 1, "no container no-such").await;
    check(&["rm", "one", "no-such"], 1, "no container no-such").await;
    check(&["logs", "no-such"], 1, "no container no-such").await;
    check(
        &["rmi", "registry.example/no:1"],
        1,
        "no image registry.example/no:1",
    )
    .await;
    check(&["create", "A B"], 1, "A B").await;
    check(&["create", "-m", "much", IMAGE], 2, "much").await;
    check(&["create", "-v", "relative:/x", IMAGE], 2, "begin with /").await;
    check(&["create", "-v", "/no/such:/x", IMAGE], 1, "/no/such").await;
    check(&["stop"], 2, "CONTAINER").await;
    check(
        &["--set", "api.socket=/run/nobody.sock", "ps"],
        1,
        "cannot connect to the API at /run/nobody.sock",
    )
    .await;
    let place = Place::new("cli-unserved");
    let output = tokio::process::Command::from(place.command(&["ps"]))
        .output()
        .await
        .unwrap();
    let (code, text) = complained(&output);
    assert!(code == 1 && text.contains("set api.socket"), "{text}");
    // What came before the mistake is done.
    assert_eq!(said(&daemon.cli(&["ps", "-aq"]).await), "");
}
