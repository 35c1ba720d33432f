//! Tables over the translation, and whole outputs compared with files.
//!
//! The files in `testdata/` are written anew by `UPDATE_GOLDEN=1 cargo test --lib spec::tests::whole`; look at the
//! difference before committing it.

mod capabilities;
mod devices;
mod mounts;
mod namespaces;
mod process;
mod resources;
mod user;
mod users;
mod whole;

use std::path::{Path, PathBuf};

use oci_spec::image::Config as ImageConfig;

use crate::model::{ContainerConfig, Mount};
use crate::spec::{
    Added, Cgroups, DeviceNode, Hierarchy, Host, Input, Labels, Output, Source, SpecError, Volume, generate,
    mask,
};

/// Owns what an [`Input`] borrows.
pub(super) struct Fixture {
    pub(super) config: ContainerConfig,
    pub(super) image: ImageConfig,
    pub(super) passwd: &'static str,
    pub(super) group: &'static str,
    pub(super) host: Host,
    pub(super) volumes: Vec<Volume>,
    pub(super) devices: Vec<DeviceNode>,
    pub(super) added: Added,
    pub(super) profile: Option<&'static str>,
    pub(super) labels: Option<Labels>,
}

impl Fixture {
    /// A machine with cgroup v2 and an image whose command is `/bin/app serve`. `config` is JSON of the model.
    pub(super) fn new(config: &str) -> Fixture {
        let image = r#"{"Entrypoint":["/bin/app"],"Cmd":["serve"]}"#;
        Fixture {
            config: config_of(config),
            image: serde_json::from_str(image).unwrap(),
            passwd: "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/var/www:/bin/false\n",
            group: "root:x:0:\nwww:x:33:\nstaff:x:50:www\n",
            host: host_v2(),
            volumes: vec![],
            devices: vec![],
            added: Added::default(),
            profile: None,
            labels: None,
        }
    }

    pub(super) fn image(mut self, json: &str) -> Fixture {
        self.image = serde_json::from_str(json).unwrap();
        self
    }

    pub(super) fn generate(&self) -> Result<Output, SpecError> {
        let source = |(n, mount): (usize, &Mount)| match mount.image {
            Some(_) => Source::Image(n),
            None => Source::Host(PathBuf::from(&mount.host_path)),
        };
        let binds: Vec<Source> = self.config.mounts.iter().enumerate().map(source).collect();
        generate(&Input {
            id: "0123456789abcdef",
            cgroup_name: "0123456789abcdef",
            config: &self.config,
            image: Some(&self.image),
            passwd: Some(self.passwd),
            group: Some(self.group),
            host: &self.host,
            rootfs: Path::new("/run/c/rootfs"),
            binds: &binds,
            volumes: &self.volumes,
            devices: &self.devices,
            added: &self.added,
            staging: Path::new("/run/c/staging"),
            seccomp_profile: self.profile,
            labels: self.labels.as_ref(),
        })
    }

    pub(super) fn output(&self) -> Output {
        self.generate().unwrap()
    }

    /// The error's text.
    pub(super) fn refused(&self) -> String {
        self.generate().err().map(|e| e.to_string()).unwrap_or_default()
    }
}

/// Reads a configuration; the fields that JSON always has are filled in.
pub(super) fn config_of(json: &str) -> ContainerConfig {
    serde_json::from_str(json).unwrap_or_else(|e| panic!("{json}: {e}"))
}

fn host_v2() -> Host {
    Host {
        cgroups: Cgroups::V2 {
            controllers: ["cpu", "cpuset", "memory", "pids", "hugetlb"]
                .map(String::from)
                .to_vec(),
        },
        swap_accounting: true,
        hugepage_sizes: vec!["2MB".to_owned()],
        bounding: (1 << 41) - 1,
        can_raise_limits: true,
        kernel: (6, 1),
        default_cgroup_parent: "/default".to_owned(),
        ..Host::default()
    }
}

/// A machine with cgroup v1 that may neither raise limits nor use CAP_SYS_RESOURCE, as inside of a container.
pub(super) fn host_v1() -> Host {
    let hierarchy = |names: &[&str]| Hierarchy {
        controllers: names.iter().map(|n| (*n).to_owned()).collect(),
        mountpoint: Path::new("/sys/fs/cgroup").join(names.join(",")),
    };
    Host {
        cgroups: Cgroups::V1(vec![
            hierarchy(&["cpu", "cpuacct"]),
            hierarchy(&["memory"]),
            hierarchy(&["devices"]),
        ]),
        can_raise_limits: false,
        own_oom_score_adj: -100,
        bounding: host_v2().bounding & !mask(["SYS_RESOURCE"]).unwrap(),
        ..host_v2()
    }
}
