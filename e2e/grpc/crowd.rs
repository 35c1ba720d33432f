//! Sessions in a crowd, half of whose clients die halfway: afterwards there is what there was before.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use libtest_mimic::Trial;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout};

use crate::attach::{Client, ECHO, listening};
use crate::forward::Forward;
use crate::harness::container::Made;
use crate::harness::crictl::{crictl, transports};
use crate::harness::daemon::{Daemon, alone};
use crate::harness::endpoint::ours;
use crate::harness::node::{cgroups_below, descriptors, hierarchies};
use crate::harness::pod::Pod;
use crate::harness::{eventually, trials};

pub(crate) fn tests() -> Vec<Trial> {
    trials![clients_that_die_halfway_leave_nothing_of_their_sessions]
}

const EXECS: usize = 100;
const ATTACHED: usize = 50;
/// Port-forwarding clients, and connections of each.
const FORWARDS: usize = 10;
const CONNECTIONS: usize = 100;

/// What sessions take of a node, as far as it can be counted.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    /// Descriptors and threads of the daemon and of each monitor.
    open: Vec<(i32, usize, usize)>,
    /// Numbers of all processes of containers, monitors, and the zygote.
    processes: BTreeSet<i32>,
    cgroups: Vec<PathBuf>,
}

impl Taken {
    fn now(daemon: &Daemon, monitors: &[i32]) -> Taken {
        let place = &daemon.place;
        let tops = [place.cgroup_parent(), place.monitor_cgroup()];
        let mut cgroups: Vec<PathBuf> = hierarchies()
            .iter()
            .flat_map(|root| tops.iter().map(|top| root.join(top.trim_start_matches('/'))))
            .flat_map(|top| cgroups_below(&top))
            .collect();
        cgroups.sort();
        let numbers = |group: &PathBuf| fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        let processes = cgroups.iter().map(numbers).collect::<String>();
        let threads = |pid: i32| fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
        let all = std::iter::once(daemon.pid()).chain(monitors.iter().copied());
        Taken {
            open: all.map(|pid| (pid, descriptors(pid), threads(pid))).collect(),
            processes: processes.lines().map(|pid| pid.parse().unwrap()).collect(),
            cgroups,
        }
    }

    /// No more than there was. Threads of the daemon that nobody needs end by themselves, so there may be fewer.
    fn is_no_more_than(&self, before: &Taken) -> bool {
        let open = self.open.iter().zip(&before.open);
        let no_more = open
            .into_iter()
            .all(|(now, then)| now.1 <= then.1 && now.2 <= then.2);
        no_more && self.processes == before.processes && self.cgroups == before.cgroups
    }
}

/// A client of a command that says what it is told.
struct Command {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Command {
    fn begin(container: &Made<'_>, transport: &str) -> Command {
        let arguments = ["exec", "-i", "-r", transport, &container.id, "sh", "-c", ECHO];
        let mut command = crictl(container.daemon, &arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Command { child, stdout }
    }

    async fn echoes(&mut self, word: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(format!("{word}\n").as_bytes()).await.unwrap();
        stdin.flush().await.unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).await.unwrap();
        assert_eq!(line, format!("got {word}\n"));
    }

    /// Ends its input, and with it the command. How the client takes it is not the question: on a busy machine its own
    /// time may be up. A client by WebSocket that has said nothing for a minute cannot say that its input has ended, and
    /// waits for ever: hence a last word.
    async fn end(mut self) {
        self.echoes("at last").await;
        drop(self.child.stdin.take());
        self.child.wait().await.unwrap();
    }
}

/// Connections that have all carried something, and are open.
async fn connections(forward: &Forward) -> Vec<TcpStream> {
    let mut open = vec![];
    for _ in 0..CONNECTIONS {
        let mut tcp = forward.connect().await;
        tcp.write_all(b"x").await.unwrap();
        let mut answer = [0];
        tcp.read_exact(&mut answer).await.unwrap();
        open.push(tcp);
    }
    open
}

fn memory(daemon: &Daemon) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap().trim().to_owned()
}

/// Splits in what dies and what ends in order.
fn halves<T>(mut all: Vec<T>) -> (Vec<T>, Vec<T>) {
    // Both transports are in both halves.
    let ends = all.split_off(all.len() / 2);
    (all, ends)
}

async fn clients_that_die_halfway_leave_nothing_of_their_sessions() {
    ours("looks at the daemon's process");
    let daemon = alone().await;
    let transport = |number: usize| transports()[number % transports().len()];
    let pod = Pod::run_with(&daemon, "crowd", |_| {}).await;
    let idle = pod.idle("idle").await;
    let echo = listening(&pod, "echo", ECHO, false).await;
    let server = pod
        .start("server", &["sh", "-c", "exec nc -ll -p 7009 -e cat"])
        .await;
    server.sh("until netstat -ltn | grep -q :7009; do :; done").await;
    let monitors = [idle.monitor().await, echo.monitor().await, server.monitor().await];
    let before = Taken::now(&daemon, &monitors);
    let memory_before = memory(&daemon);

    // All of them at once, each halfway through: it has said something and heard the answer.
    let mut execs: Vec<Command> = (0..EXECS)
        .map(|number| Command::begin(&idle, transport(number)))
        .collect();
    let mut attached: Vec<Client> = (0..ATTACHED)
        .map(|number| Client::begin(&daemon, transport(number), &echo.id))
        .collect();
    for (number, exec) in execs.iter_mut().enumerate() {
        exec.echoes(&number.to_string()).await;
    }
    for (number, client) in attached.iter_mut().enumerate() {
        client.say(&number.to_string()).await;
        client.hears(&format!("got {number}")).await;
    }
    let mut forwards = vec![];
    for number in 0..FORWARDS {
        let forward = Forward::begin(&daemon, transport(number), &pod.id, 7009).await;
        let open = connections(&forward).await;
        forwards.push((forward, open));
    }
    let at_once = Taken::now(&daemon, &monitors);
    let memory_at_once = memory(&daemon);
    assert!(at_once.processes.len() >= before.processes.len() + EXECS + FORWARDS * CONNECTIONS);

    // Half of the clients die; of the connections of those that live, half are cut off by whoever made them.
    let (die, end) = halves(execs);
    drop(die);
    for exec in end {
        exec.end().await;
    }
    let (die, end) = halves(attached);
    drop(die);
    for mut client in end {
        client.say("at last").await;
        client.end().await;
    }
    let (die, end) = halves(forwards);
    drop(die);
    for (_forward, connections) in end {
        for (number, mut tcp) in connections.into_iter().enumerate() {
            if number % 2 == 0 {
                rustix::net::sockopt::set_socket_linger(&tcp, Some(std::time::Duration::ZERO)).unwrap();
                continue;
            }
            tcp.shutdown().await.unwrap();
            let mut rest = vec![];
            tcp.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"");
        }
    }

    let mut now = None;
    let rest = eventually("what the sessions took is given back", async || {
        let taken = now.insert(Taken::now(&daemon, &monitors));
        taken.is_no_more_than(&before).then_some(())
    });
    rest.await;
    eprintln!(
        "resident memory of the daemon: {memory_before} before, {memory_at_once} with all sessions, {} after",
        memory(&daemon)
    );
    daemon.check().await;
    assert_eq!(idle.sh("echo fine").await, "fine\n");
    pod.remove().await;
    daemon.check().await;
}
