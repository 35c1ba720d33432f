//! Puts a finding right, by the layer that found it.

use super::{Found, Look, Origin};
use crate::cni::Networks;
use crate::core::audit as containers;
use crate::cri::audit as sandboxes;
use crate::image::repair_at_rest;
use crate::model::audit::{Class, Thing};
use crate::model::{Error, Result};
use crate::sys::{mount, pidfd};

impl Look {
    pub(super) async fn repair(&self, found: &Found) -> Result<()> {
        tracing::info!(class = found.finding.class.name(), thing = %found.finding.thing, "audit repairs");
        match (&found.origin, found.finding.class, &self.daemon) {
            (Origin::Images, _, Some(daemon)) | (Origin::Containers, Class::Snapshot, Some(daemon)) => {
                daemon.images.repair(&found.finding).await
            }
            (Origin::Network(stray), _, Some(daemon)) => {
                daemon.networks.release(stray).await.map_err(refused)
            }
            (Origin::Network(stray), _, None) => {
                let networks = Networks::open(self.network.clone()).await.map_err(refused)?;
                let released = networks.release(stray).await.map_err(refused);
                networks.stop().await;
                released
            }
            _ => {
                let (look, found) = (self.clone(), found.clone());
                let work = tokio::task::spawn_blocking(move || look.repair_blocking(&found));
                work.await
                    .map_err(|e| Error::internal("the repair ended badly").because(e))?
            }
        }
    }

    fn repair_blocking(&self, found: &Found) -> Result<()> {
        let finding = &found.finding;
        let failed = |error: std::io::Error| {
            Error::internal(format!("cannot put {} right", finding.thing)).because(error)
        };
        match (&found.origin, finding.class, &finding.thing) {
            (Origin::Images, ..) | (Origin::Containers, Class::Snapshot, _) => {
                repair_at_rest(&self.images.root, finding)
            }
            (Origin::Containers, ..) => containers::repair(finding),
            (Origin::Sandboxes, ..) => sandboxes::repair(finding),
            (Origin::Processes, _, Thing::MountOf { pid, path }) => {
                mount::detach_in(*pid, path).map_err(failed)
            }
            (Origin::Processes, _, Thing::Process { pid, start_time }) => {
                pidfd::kill_exact(*pid, *start_time).map_err(failed)
            }
            _ => Err(Error::internal(format!("{} cannot be put right", finding.thing))),
        }
    }
}

fn refused(error: crate::cni::NetworkError) -> Error {
    Error::internal("cannot release it").because(error)
}
