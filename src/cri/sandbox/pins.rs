//! Pins made by the zygote: it has one thread, so it can enter new namespaces; the daemon cannot.
//!
//! Below a sandbox's directory:
//!
//! | name | what |
//! | --- | --- |
//! | `net`, `ipc`, `uts`, `pid`, `user` | files that namespaces are bound to |
//! | `shm` | a tmpfs, or a plain directory while nothing is pinned |
//! | `reaper.json` | the process that holds the PID namespace |

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use crate::model::{Error, IdMapping, Result, is_shortage};
use crate::sys::zygote::{self, Reaper, ReaperRequest, UserPin, Zygote};
use crate::sys::{mount, namespace, step};

use super::blocking;
use super::namespaces::{Held, PinRequest, Pinner};
use super::undo::gather;

/// Kinds of namespaces, by the names of their pins.
pub(super) const KINDS: [&str; 5] = ["net", "ipc", "uts", "pid", "user"];
/// The pin that network plugins work in.
pub(super) const NETWORK: &str = "net";
const REAPER: &str = "reaper.json";

/// Asks the zygote for pins. All of it works on the daemon's own mount namespace.
#[derive(Clone, Debug)]
pub struct ZygotePinner {
    zygote: Arc<Zygote>,
    user_namespaces: Shared<BoxFuture<'static, std::result::Result<(), String>>>,
}

impl ZygotePinner {
    /// Makes a pinner that shares the zygote with whoever forks monitors. Whether there can be user namespaces is being
    /// found out.
    pub fn new(
        zygote: Arc<Zygote>,
        user_namespaces: impl Future<Output = std::result::Result<(), String>> + Send + 'static,
    ) -> ZygotePinner {
        ZygotePinner {
            zygote,
            user_namespaces: user_namespaces.boxed().shared(),
        }
    }
}

impl Pinner for ZygotePinner {
    async fn pin(&self, request: PinRequest) -> Result<()> {
        let zygote = Arc::clone(&self.zygote);
        blocking(move || pin(&zygote, request)).await
    }

    async fn release(&self, dir: PathBuf, but: &'static [&'static str]) -> Result<()> {
        blocking(move || release(&dir, but)).await
    }

    async fn hold(&self, all: Vec<Held>) -> Vec<bool> {
        let none = vec![false; all.len()];
        let look = move || Ok(all.iter().map(holds).collect());
        blocking(look).await.unwrap_or(none)
    }

    async fn user_namespaces(&self) -> std::result::Result<(), String> {
        self.user_namespaces.clone().await
    }
}

fn pin(zygote: &Zygote, request: PinRequest) -> Result<()> {
    let place = |wanted: bool, kind: &str| wanted.then(|| request.dir.join(kind));
    if let Some(bytes) = request.ipc {
        let owner = request.user.map(|(uids, gids)| (uids.host_id, gids.host_id));
        shared_memory(&request.dir.join("shm"), bytes, owner)?;
    }
    let user = request.user.map(|(uids, gids)| UserPin {
        path: request.dir.join("user"),
        uid_mappings: vec![mapping(uids)],
        gid_mappings: vec![mapping(gids)],
    });
    let user_path = user.as_ref().map(|user| user.path.clone());
    let wanted = zygote::PinRequest {
        net: place(request.network, "net"),
        ipc: place(request.ipc.is_some(), "ipc"),
        uts: place(request.uts.is_some(), "uts"),
        user,
        hostname: request.uts.clone(),
        sysctls: request.sysctls.into_iter().collect(),
    };
    if wanted.net.is_some() || wanted.ipc.is_some() || wanted.uts.is_some() || wanted.user.is_some() {
        let refused = |error| Error::internal("cannot make namespaces").because(error);
        step("adapter.pin.namespaces");
        zygote.pin(wanted).map_err(refused)?;
    }
    if request.pid {
        reaper(zygote, &request.dir, user_path, request.label)?;
    }
    Ok(())
}

fn mapping(from: IdMapping) -> zygote::IdMapping {
    zygote::IdMapping {
        inside: from.container_id,
        outside: from.host_id,
        size: from.length,
    }
}

fn shared_memory(dir: &Path, bytes: u64, owner: Option<(u32, u32)>) -> Result<()> {
    let failed = |error: io::Error| Error::internal(format!("cannot mount {}", dir.display())).because(error);
    std::fs::DirBuilder::new()
        .mode(0o1777)
        .create(dir)
        .map_err(failed)?;
    step("adapter.pin.memory");
    let (uid, gid) = owner.unwrap_or_default();
    mount::tmpfs(dir, &format!("size={bytes},mode=1777,uid={uid},gid={gid}")).map_err(failed)
}

fn reaper(zygote: &Zygote, dir: &Path, user: Option<PathBuf>, label: Option<String>) -> Result<()> {
    let request = ReaperRequest {
        path: dir.join("pid"),
        note: dir.join(REAPER),
        user,
        label,
    };
    let refused = |error| Error::internal("cannot make a PID namespace").because(error);
    step("adapter.pin.reaper");
    zygote.spawn_reaper(request).map(drop).map_err(refused)
}

/// The reaper that was noted; `None` without one.
///
/// # Errors
/// The note cannot be read.
pub(super) fn noted(dir: &Path) -> io::Result<Option<Reaper>> {
    Reaper::noted(&dir.join(REAPER))
}

/// Lets go of all there is but for some pins, whatever was asked for.
fn release(dir: &Path, but: &[&str]) -> Result<()> {
    let mut errors = vec![];
    let mut tell = |outcome: io::Result<()>, path: PathBuf| {
        let failed = |error| Error::internal(format!("cannot release {}", path.display())).because(error);
        errors.extend(outcome.map_err(failed).err());
    };
    match noted(dir) {
        Ok(None) => {}
        Ok(Some(reaper)) => {
            step("adapter.release.reaper");
            tell(reaper.stop(), dir.join(REAPER));
        }
        Err(error) => tell(Err(error), dir.join(REAPER)),
    }
    for kind in KINDS.into_iter().filter(|kind| !but.contains(kind)) {
        step("adapter.release.namespace");
        tell(namespace::unpin(&dir.join(kind)), dir.join(kind));
    }
    step("adapter.release.memory");
    tell(mount::detach_if_mounted(&dir.join("shm")), dir.join("shm"));
    gather(errors)
}

/// What cannot be looked at for want of descriptors may be there: nothing is given up for it.
pub(super) fn holds(held: &Held) -> bool {
    let reaper_lives = || match noted(&held.dir) {
        Ok(reaper) => reaper.is_some_and(|reaper| reaper.is_alive()),
        Err(error) => is_shortage(&error),
    };
    let is_there = held.dir.try_exists().unwrap_or(true);
    is_there
        && held.pins.iter().all(|pin| match *pin {
            "shm" => is_mount_point(&held.dir.join(pin)),
            "pid" => is_namespace(&held.dir.join(pin)) && reaper_lives(),
            _ => is_namespace(&held.dir.join(pin)),
        })
}

/// A bound namespace is a file of nsfs; what the binding left behind is a file like any other.
fn is_namespace(path: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev());
    let own = device(Path::new("/proc/self/ns/net"));
    own.is_ok_and(|own| device(path).is_ok_and(|found| found == own))
}

fn is_mount_point(dir: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev());
    match (device(dir), dir.parent().map(device)) {
        (Ok(own), Some(Ok(parent))) => own != parent,
        _ => false,
    }
}
