//! Ways out of a container that other runtimes had, each tried from inside one. A test is named after what it forbids;
//! `docs/security.md` says which promise it holds.
//!
//! Whatever attacks runs in a container of the test's own, never on the machine: scripts ask for [`MARK`] first.

mod daemon;
mod mounts;
mod paths;
mod process;

use std::path::Path;

use k8s_cri::v1;
use libtest_mimic::Trial;
use tokio::sync::OnceCell;

use crate::harness::daemon::{Daemon, shared};
use crate::harness::image::{Recipe, TestImage, links, perl};
use crate::harness::node::node;
use crate::harness::pod::Pod;

pub(crate) fn tests() -> Vec<Trial> {
    [paths::tests(), mounts::tests(), process::tests(), daemon::tests()]
        .into_iter()
        .flatten()
        .collect()
}

/// A file of the attacking image: what is not in it must not attack.
const MARK: &str = "/made-to-attack";
/// Busybox, perl and [`MARK`].
const ATTACKER: &str = "registry.example/e2e/attacker:1";

/// The shared daemon, with the attacking image in its store.
async fn attacked() -> &'static Daemon {
    static IMPORTED: OnceCell<()> = OnceCell::const_new();
    let daemon = shared().await;
    IMPORTED.get_or_init(|| import_attacker(daemon)).await;
    daemon
}

async fn import_attacker(daemon: &Daemon) {
    let image = TestImage::build(&Recipe {
        files: vec![("made-to-attack", 0, 0o644, Vec::new())],
        top: Some(perl()),
        ..Recipe::default()
    });
    daemon.import(ATTACKER, &image).await;
}

fn attacker(config: &mut v1::ContainerConfig) {
    config.image.as_mut().unwrap().image = ATTACKER.to_owned();
}

/// A perl script that runs in the attacking image only.
fn script(body: &str) -> Vec<String> {
    let guarded = format!("-e '{MARK}' && $$ or die 'not in the container'; {body}");
    ["perl", "-e", &guarded].map(str::to_owned).into()
}

/// Imports an image with these links in it, and returns its name.
async fn linked(daemon: &Daemon, targets: &[(&str, &str)]) -> String {
    let name = format!("registry.example/e2e/linked:{}", node().number());
    let image = TestImage::build(&Recipe {
        top: Some(links(targets)),
        ..Recipe::default()
    });
    daemon.import(&name, &image).await;
    name
}

/// Tries to create a container that `change` has made bad, and returns the refusal.
async fn uncreatable(pod: &Pod<'_>, change: impl FnOnce(&mut v1::ContainerConfig)) -> tonic::Status {
    let name = format!("bad-{}", node().number());
    let mut config = pod.container_config(&name, &["true"]);
    change(&mut config);
    let request = pod.create_request(config);
    crate::harness::daemon::refused(pod.daemon.runtime().create_container(request)).await
}

fn bind(host: &Path, container: &str) -> v1::Mount {
    v1::Mount {
        host_path: host.to_str().unwrap().to_owned(),
        container_path: container.to_owned(),
        ..Default::default()
    }
}
