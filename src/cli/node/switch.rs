//! `coracle node switch` and `restore`: the kubelet from one runtime to the other. A kubelet sees the pods of its own
//! runtime only, so those of the runtime that it leaves are removed while it does not run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::error::{NodeError, refused};
use super::files::{Taken, put, take_back};
use super::install::Told;
use super::kubelet;
use super::memory::{Memory, Phase, Switch};
use super::runtime::{ready, vacate};
use super::services::Services;
use crate::cli::error::chain;
use crate::sys::step::step;
use crate::sys::systemd::service::Job;

/// How often the node is looked at.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// A kubelet that cannot use its runtime answers for some seconds before it gives up: looks that must succeed in a row.
const LOOKS: u32 = 10;

/// How a node is switched.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// The kubelet's unit.
    pub(super) unit: String,
    /// Coracle's socket.
    pub(super) socket: PathBuf,
    /// The runtime that is left; none: the one that the kubelet uses.
    pub(super) old: Option<PathBuf>,
    /// Where the kubelet says that it is well.
    pub(super) healthz: String,
    /// What the node has to become ready.
    pub(super) patience: Duration,
    /// Most that a pod has to end.
    pub(super) grace: Duration,
    /// Has the kubelet take statistics from the runtime.
    pub(super) stats_from_cri: bool,
}

/// Moves the kubelet to Coracle, and back if the node is not ready in time.
pub(super) async fn switch(
    memory: &mut Memory,
    services: &dyn Services,
    way: &Way,
) -> Result<Told, NodeError> {
    if memory.record.version.is_none() {
        return refused("Coracle is not installed here: `coracle node install` comes first");
    }
    if let Some(reason) = &memory.record.rolled_back {
        return refused(format!(
            "an earlier switch was undone ({reason}): `coracle node restore` forgets that"
        ));
    }
    let unit = way.unit.clone();
    let old = match &memory.record.switch {
        Some(it) if it.phase == Phase::Switched => {
            return Ok(vec!["the kubelet uses Coracle already".to_owned()]);
        }
        Some(it) if it.phase == Phase::Restoring => {
            return refused("the kubelet is on its way back: `coracle node restore` comes first");
        }
        Some(it) => it.old.clone(),
        None => match &way.old {
            Some(old) => old.clone(),
            None => kubelet::endpoint(&services.command_line(&unit)?.unwrap_or_default()),
        },
    };
    if old == way.socket {
        return refused("the kubelet uses Coracle already, and not by this command");
    }
    let command = kubelet::command(&memory.place, &unit)?;
    if services.works() {
        if memory.record.switch.is_none() {
            // One that is not well now would be neither with Coracle nor back again. After a crash it may be stopped.
            well(&way.healthz).await?;
        }
        ready(&way.socket).await?;
    }
    memory.record.switch = Some(Switch {
        phase: Phase::Switching,
        unit,
        old: old.clone(),
    });
    memory.save()?;
    step("node.switch.begin");
    match over(memory, services, way, &old, &command).await {
        Ok(told) => Ok(told),
        Err(error) => {
            let reason = chain(&error);
            match back(memory, services, way).await {
                Ok(_) => {
                    memory.record.rolled_back = Some(reason.clone());
                    memory.save()?;
                    let old = old.display().to_string();
                    Err(NodeError::RolledBack { old, reason })
                }
                Err(source) => Err(NodeError::Stuck {
                    reason,
                    source: Box::new(source),
                }),
            }
        }
    }
}

/// The way there.
async fn over(
    memory: &mut Memory,
    services: &dyn Services,
    way: &Way,
    old: &Path,
    command: &str,
) -> Result<Told, NodeError> {
    let content = kubelet::content(command, &way.socket, way.stats_from_cri);
    let path = kubelet::drop_in(&way.unit);
    if !services.works() {
        put(memory, &path, content.as_bytes())?;
        moved(memory)?;
        return Ok(vec![format!(
            "{path} is written; left to you: stop the kubelet, remove the pods of {}, start the kubelet with what the file \
             says",
            old.display()
        )]);
    }
    services.run(Job::Stop, &way.unit)?;
    step("node.switch.stopped");
    let count = vacate(old, way.grace).await?;
    step("node.switch.vacated");
    put(memory, &path, content.as_bytes())?;
    services.reload()?;
    services.run(Job::Start, &way.unit)?;
    step("node.switch.started");
    wait(services, way, &way.socket).await?;
    moved(memory)?;
    Ok(vec![format!(
        "the kubelet uses Coracle; {count} pods of {} were removed",
        old.display()
    )])
}

fn moved(memory: &mut Memory) -> Result<(), NodeError> {
    if let Some(switch) = &mut memory.record.switch {
        switch.phase = Phase::Switched;
    }
    memory.save()
}

/// Moves the kubelet back to the runtime that it used before, and forgets that a switch has failed.
pub(super) async fn restore(
    memory: &mut Memory,
    services: &dyn Services,
    way: &Way,
) -> Result<Told, NodeError> {
    let told = back(memory, services, way).await?;
    memory.record.rolled_back = None;
    memory.save()?;
    Ok(told)
}

async fn back(memory: &mut Memory, services: &dyn Services, way: &Way) -> Result<Told, NodeError> {
    let Some(switch) = &mut memory.record.switch else {
        return Ok(vec!["the kubelet was not switched".to_owned()]);
    };
    switch.phase = Phase::Restoring;
    let Switch { unit, old, .. } = switch.clone();
    memory.save()?;
    step("node.restore.begin");
    let mut told = vec![];
    services.run(Job::Stop, &unit)?;
    if services.works() {
        // A daemon that does not answer must not keep the node from its old runtime.
        match vacate(&way.socket, way.grace).await {
            Ok(count) => told.push(format!("{count} pods of Coracle were removed")),
            Err(error) => told.push(format!("pods of Coracle are left: {}", chain(&error))),
        }
    }
    step("node.restore.vacated");
    let path = kubelet::drop_in(&unit);
    if take_back(memory, &path)? == Taken::Changed {
        return refused(format!("{path} was changed since: remove it, and try again"));
    }
    services.reload()?;
    services.run(Job::Start, &unit)?;
    step("node.restore.started");
    if services.works() {
        wait(services, way, &old).await?;
    } else {
        told.push("left to you: start the kubelet anew".to_owned());
    }
    memory.record.switch = None;
    memory.save()?;
    told.insert(0, format!("the kubelet uses {} again", old.display()));
    Ok(told)
}

/// Waits until the kubelet runs with a runtime that is ready, and has for a while.
async fn wait(services: &dyn Services, way: &Way, socket: &Path) -> Result<(), NodeError> {
    let end = Instant::now() + way.patience;
    let mut good = 0;
    loop {
        let reason = match look(services, way, socket).await {
            Ok(()) => {
                good += 1;
                "it was not for long enough".to_owned()
            }
            Err(error) => {
                good = 0;
                chain(&error)
            }
        };
        if good == LOOKS {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(NodeError::NotReady {
                seconds: way.patience.as_secs(),
                reason,
            });
        }
        sleep(LOOK).await;
    }
}

async fn look(services: &dyn Services, way: &Way, socket: &Path) -> Result<(), NodeError> {
    let Some(words) = services.command_line(&way.unit)? else {
        return refused(format!("{} does not run", way.unit));
    };
    let used = kubelet::endpoint(&words);
    if used != socket {
        return refused(format!(
            "the kubelet uses {} instead of {}",
            used.display(),
            socket.display()
        ));
    }
    ready(socket).await?;
    well(&way.healthz).await
}

/// Asks the kubelet whether it is well.
async fn well(address: &str) -> Result<(), NodeError> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            .await?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    match timeout(LOOK * 5, ask).await {
        Ok(Ok(answer)) if answer.split(' ').nth(1) == Some("200") => Ok(()),
        Ok(Ok(answer)) => refused(format!(
            "the kubelet says {:?}",
            answer.lines().last().unwrap_or_default()
        )),
        Ok(Err(error)) => refused(format!("the kubelet does not answer at {address}: {error}")),
        Err(_) => refused(format!("the kubelet does not answer at {address} in time")),
    }
}
