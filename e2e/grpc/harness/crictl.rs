//! crictl, the streaming client whose code is the kubelet's: found where the tests' tools are built.

use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::daemon::Daemon;
use super::node::cached;

/// The two ways a session comes about; CORACLE_E2E_TRANSPORT names the one for a runtime that has not both.
pub(crate) fn transports() -> &'static [&'static str] {
    match std::env::var("CORACLE_E2E_TRANSPORT").as_deref() {
        Ok("spdy") => &["spdy"],
        Ok("websocket") => &["websocket"],
        _ => &["spdy", "websocket"],
    }
}

/// A crictl command against a daemon. It dies with its handle.
pub(crate) fn crictl(daemon: &Daemon, arguments: &[&str]) -> Command {
    let tools = cached("tools", "cri-tools-").expect("hack/tools.sh cri-tools has built crictl");
    let mut command = Command::new(tools.join("crictl"));
    command
        .arg("--runtime-endpoint")
        .arg(format!("unix://{}", daemon.place.socket.display()))
        // Two seconds until the daemon answers are what it has by itself: little on a busy machine.
        .args(["--timeout", "60s"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs a crictl command with this input to its end.
pub(crate) async fn with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feed = async {
        // A command that needs no input may have ended.
        let _ = stdin.write_all(input).await;
        drop(stdin);
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), feed);
    output.unwrap()
}
