//! What a service manager hears of a daemon that it watches, on a socket as systemd's (sd_notify(3)).

use std::fs;
use std::time::Duration;

use libtest_mimic::Trial;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use crate::harness::daemon::{Daemon, Place};
use crate::harness::node::node;
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![the_watchdog_is_fed_while_the_daemon_answers_on_its_socket]
}

/// Longest wait for a message.
const PATIENCE: Duration = Duration::from_secs(20);

/// The next message about the watchdog, if one comes in time.
async fn fed(manager: &UnixDatagram, patience: Duration) -> bool {
    let next = async {
        let mut message = [0; 256];
        loop {
            let length = manager.recv(&mut message).await.unwrap();
            if message[..length].starts_with(b"WATCHDOG=1") {
                return;
            }
        }
    };
    timeout(patience, next).await.is_ok()
}

/// How often the daemon has found itself silent.
fn silences(place: &Place) -> usize {
    let log = fs::read_to_string(place.log()).unwrap();
    log.matches("the watchdog is not fed").count()
}

async fn the_watchdog_is_fed_while_the_daemon_answers_on_its_socket() {
    let place = Place::new("watched");
    let at = node().run.join(format!("{}.notify", place.name));
    let manager = UnixDatagram::bind(&at).unwrap();
    let variables = [
        "env".to_owned(),
        format!("NOTIFY_SOCKET={}", at.display()),
        "WATCHDOG_USEC=900000".to_owned(),
    ];
    let daemon = Daemon::start_by(place, &variables.each_ref().map(String::as_str)).await;

    for _ in 0..3 {
        assert!(fed(&manager, PATIENCE).await, "the manager hears nothing");
    }

    // Nobody can ask it any more, itself included.
    let elsewhere = daemon.place.socket.with_extension("elsewhere");
    fs::rename(&daemon.place.socket, &elsewhere).unwrap();
    let before = silences(&daemon.place);
    eventually("the daemon finds itself silent", async || {
        (silences(&daemon.place) > before).then_some(())
    })
    .await;
    // What was sent before.
    while manager.try_recv(&mut [0; 256]).is_ok() {}
    assert!(
        !fed(&manager, Duration::from_secs(2)).await,
        "a silent daemon is fed"
    );

    fs::rename(&elsewhere, &daemon.place.socket).unwrap();
    assert!(fed(&manager, PATIENCE).await, "it answers again and is not fed");
    assert!(daemon.stop().await.1.success());
}
