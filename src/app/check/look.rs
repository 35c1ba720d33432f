//! One look at everything, and the comparison of two.

use std::path::PathBuf;
use std::sync::Arc;

use crate::app::driver::slice;
use crate::app::images::settings;
use crate::app::node::text;
use crate::cni::{self, Networks, Stray};
use crate::config::Config;
use crate::core::{Core, audit as containers, cdi as devices};
use crate::cri::audit as sandboxes;
use crate::image::{Images, Settings, audit_at_rest};
use crate::model::audit::{Class, Finding, Thing};
use crate::model::{Error, Result};
use crate::monitor::audit::{Process, processes};
use crate::state::Store;
use crate::sys::mount;
use crate::sys::zygote::{Reaper, Zygote};

/// What looks: the places, the records, and what a daemon knows of calls under way.
#[derive(Clone, Debug)]
pub(in crate::app) struct Look {
    pub(in crate::app) run_dir: PathBuf,
    pub(in crate::app) images: Settings,
    pub(in crate::app) cgroup_parent: String,
    /// The slice that the parent stands for, with systemd.
    pub(in crate::app) slice: Option<String>,
    pub(in crate::app) monitor_cgroup: String,
    pub(in crate::app) network: cni::Settings,
    pub(in crate::app) device_dirs: Vec<PathBuf>,
    pub(in crate::app) records: Store,
    /// None at rest.
    pub(in crate::app) daemon: Option<Daemon>,
}

/// The parts of a running daemon that are asked.
#[derive(Clone, Debug)]
pub(in crate::app) struct Daemon {
    pub(in crate::app) core: Core,
    pub(in crate::app) images: Images,
    pub(in crate::app) networks: Networks,
    pub(in crate::app) zygote: Arc<Zygote>,
}

/// A finding, and whose.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) origin: Origin,
    pub(super) finding: Finding,
}

/// Who found something, and so who puts it right.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    Records,
    Processes,
    Containers,
    Images,
    Sandboxes,
    Network(Stray),
}

impl Look {
    pub(in crate::app) fn new(
        config: &Config,
        network: cni::Settings,
        records: Store,
        daemon: Option<Daemon>,
    ) -> Look {
        Look {
            run_dir: config.run_dir.clone(),
            images: settings(config),
            cgroup_parent: text(&config.cgroup_parent),
            slice: slice(config),
            monitor_cgroup: text(&config.monitor_cgroup),
            network,
            device_dirs: config.cdi.spec_dirs.clone(),
            records,
            daemon,
        }
    }

    /// What two looks find. What one of them did not find came or went between them.
    pub(super) async fn twice(&self) -> Result<Vec<Found>> {
        let first = self.once().await?;
        if first.is_empty() {
            return Ok(first);
        }
        let mut second = self.once().await?;
        // What two layers find is put right by the one that can.
        second.sort_by_key(|found| !found.finding.repairable);
        let mut once = Vec::new();
        for found in second {
            if !once.iter().any(|known: &Found| known.finding.is(&found.finding)) {
                once.push(found);
            }
        }
        let mut second = once;
        second.retain(|found| first.iter().any(|before| before.finding.is(&found.finding)));
        second.sort_by(|a, b| a.finding.cmp(&b.finding));
        Ok(second)
    }

    async fn once(&self) -> Result<Vec<Found>> {
        let look = self.clone();
        let blocking = tokio::task::spawn_blocking(move || look.kernel_and_records());
        let mut found = blocking
            .await
            .map_err(|e| Error::internal("the look ended badly").because(e))??;
        if let Some(daemon) = &self.daemon {
            let images = daemon.images.audit().await?;
            found.extend(images.into_iter().map(|finding| Found {
                origin: Origin::Images,
                finding,
            }));
        }
        Ok(found)
    }

    /// Everything that is looked at without asking anybody. Blocks.
    fn kernel_and_records(&self) -> Result<Vec<Found>> {
        let mut found = vec![];
        let mut add = |origin: Origin, findings: Vec<Finding>| {
            let origin = || origin.clone();
            found.extend(findings.into_iter().map(|finding| Found {
                origin: origin(),
                finding,
            }));
        };
        add(Origin::Records, self.records()?);
        let ours = processes(&self.monitor_cgroup)
            .map_err(|e| Error::internal("cannot look at the processes of ours").because(e))?;
        add(Origin::Processes, self.zygotes(&ours.zygotes));
        let reaper = |process: &Process| Reaper {
            pid: process.pid,
            start_time: process.start_time,
        };
        let reapers: Vec<Reaper> = ours.reapers.iter().map(reaper).collect();
        let dir = self.run_dir.join("sandboxes");
        add(
            Origin::Sandboxes,
            sandboxes::audit(&dir, &self.records, &reapers)?,
        );
        let mut further_parents = sandboxes::claims(&self.records)?.cgroup_parents;
        further_parents.extend(self.slice.clone());
        let scope = containers::Scope {
            run_dir: self.run_dir.clone(),
            image_root: self.images.root.clone(),
            cgroup_parent: self.cgroup_parent.clone(),
            monitor_cgroup: self.monitor_cgroup.clone(),
            further_parents,
        };
        let under_way = || self.daemon.as_ref().map(|daemon| daemon.core.under_way());
        add(
            Origin::Containers,
            containers::audit(&scope, &self.records, under_way)?,
        );
        add(Origin::Containers, devices::audit(&self.device_dirs));
        if self.daemon.is_none() {
            add(Origin::Images, audit_at_rest(&self.images.root, &self.records)?);
        }
        found.extend(self.strays()?);
        Ok(found)
    }

    fn records(&self) -> Result<Vec<Finding>> {
        let aside = self.records.set_aside()?.into_iter();
        let finding = |name| {
            let expected = "a record that this version can read; it is kept as it is";
            Finding::for_a_person(Class::Quarantine, Thing::Id(name), expected)
        };
        let mut found: Vec<Finding> = aside.map(finding).collect();
        found.extend(self.records.damaged().into_iter().map(|path| {
            let expected = "no damaged store: once nothing of it is missed, remove the file";
            Finding::for_a_person(Class::Store, Thing::Path(path), expected)
        }));
        Ok(found)
    }

    /// One zygote a daemon, none without, and none of our mounts in its namespace: every container would inherit them.
    fn zygotes(&self, zygotes: &[Process]) -> Vec<Finding> {
        let own = self.daemon.as_ref().and_then(|daemon| daemon.zygote.pid());
        let mut found = vec![];
        for Process { pid, start_time } in zygotes.iter().copied() {
            if u32::try_from(pid).ok() != own {
                let thing = Thing::Process { pid, start_time };
                found.push(Finding::repairable(
                    Class::Process,
                    thing,
                    "no zygote: no daemon has it",
                ));
            }
            let points = mount::points_of(&pid.to_string()).unwrap_or_default();
            let ours = [
                self.run_dir.join("containers"),
                self.run_dir.join("sandboxes"),
                self.images.root.clone(),
            ];
            let inside = |path: &PathBuf| ours.iter().any(|dir| path.starts_with(dir) && path != dir);
            for path in points.into_iter().filter(inside) {
                let expected = "nothing of ours is mounted where containers are made from";
                found.push(Finding::repairable(
                    Class::Mount,
                    Thing::MountOf { pid, path },
                    expected,
                ));
            }
        }
        found
    }

    fn strays(&self) -> Result<Vec<Found>> {
        let claims = || {
            sandboxes::claims(&self.records)
                .map(|claims| claims.attached)
                .map_err(Failure)
        };
        let mut network = self.network.clone();
        if let Some(daemon) = &self.daemon {
            network.further_conf_dirs = daemon.networks.further_dirs();
        }
        let strays = cni::audit(&network, claims).map_err(|Failure(error)| error)?;
        let found = strays.into_iter().map(|stray| Found {
            finding: finding_of(&stray),
            origin: Origin::Network(stray),
        });
        Ok(found.collect())
    }
}

/// The model's error, as the look at the network hands it through.
struct Failure(Error);

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure(Error::internal("cannot look at the network").because(error))
    }
}

fn finding_of(stray: &Stray) -> Finding {
    match stray {
        Stray::Attachment(path) => {
            let expected = "no attachment: no pod sandbox has it, and none owes it";
            Finding::repairable(Class::Attachment, Thing::Path(path.clone()), expected)
        }
        Stray::Address {
            network,
            address,
            id,
            ifname,
        } => {
            let thing = Thing::Address {
                network: network.clone(),
                address: address.clone(),
                owner: (id.clone(), ifname.clone()),
            };
            let expected = "an address that a device has, or a free one";
            Finding::repairable(Class::Address, thing, expected)
        }
        Stray::Link(name) => {
            let expected = "no device: its other end is in no pod sandbox";
            Finding::repairable(Class::Link, Thing::Id(name.clone()), expected)
        }
    }
}
