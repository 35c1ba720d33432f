//! What is kept about a container: the record in the store, and the observation in the runtime directory.
//!
//! The record is written before the first side effect of creation and says what was wanted; once the container has
//! ended it says how. The observation lives on the runtime directory's file system, which a reboot empties, and says
//! what this boot has made of it. Neither knows processes: those are asked.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files;
use super::mounted::Mounted;
use crate::image::ImageRecord;
use crate::model::{ContainerConfig, ContainerUser, ImageSpec, LinuxContainerResources};
use crate::monitor::protocol::LogFile;
use crate::spec::Output;
use crate::state::Record;
use crate::sys::clock::now;

/// Version of both shapes.
pub(super) const VERSION: u32 = 1;

/// What was asked for, and how it ended. Keyed by the container's id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ContainerRecord {
    pub(super) version: u32,
    pub(super) config: ContainerConfig,
    /// The image in use, by id.
    pub(super) image_id: String,
    /// The image in use, by a name with a digest if it has one.
    pub(super) image_ref: String,
    /// The name to tell of that image by, where it was asked for by its id. Records of older builds have none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) image_name: String,
    /// The images it mounts as volumes, by id. Records of older builds do not tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) mounted_images: Vec<String>,
    /// Nanoseconds since the epoch.
    pub(super) created_at: i64,
    /// Absolute path of the log file; empty without a log.
    pub(super) log_path: String,
    /// Path of its cgroup, from the root of each hierarchy.
    pub(super) cgroup: String,
    pub(super) user: ContainerUser,
    pub(super) stop_signal: String,
    /// Limits, as last set.
    pub(super) resources: Option<LinuxContainerResources>,
    /// Set once, when it has ended.
    #[serde(default)]
    pub(super) end: Option<End>,
}

impl ContainerRecord {
    /// The image as it is told of: by a name if it has one, whatever it was asked for by.
    pub(super) fn image(&self) -> Option<ImageSpec> {
        let mut image = self.config.image.clone()?;
        if !self.image_name.is_empty() {
            image.image.clone_from(&self.image_name);
        }
        Some(image)
    }

    /// The images it uses, by id: its own and those it mounts. One may be told twice.
    pub(super) fn images(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.image_id).chain(&self.mounted_images)
    }

    /// The log file for the monitor, which does not trust what lies below the directory.
    pub(super) fn log_file(&self) -> LogFile {
        let directory = match self.config.log_directory.as_str() {
            "" => "/",
            directory => directory,
        };
        LogFile {
            directory: directory.into(),
            path: self.config.log_path.trim_start_matches('/').into(),
        }
    }
}

impl Record for ContainerRecord {
    const TABLE: &'static str = "containers";
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    /// Nanoseconds since the epoch; 0: it never ran.
    pub(super) started_at: i64,
    /// Nanoseconds since the epoch.
    pub(super) finished_at: i64,
    pub(super) exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `NodeRestarted` or `Unknown`.
    pub(super) reason: String,
    pub(super) message: String,
    /// Its fate could not be known.
    pub(super) unknown: bool,
}

/// What this boot has made of the container: present once creation is complete.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Observation {
    pub(super) version: u32,
    /// First process, on the host.
    pub(super) pid: u32,
    /// Start time of that process in clock ticks since boot: with the number it is unique.
    pub(super) start_time: u64,
    /// Nanoseconds since the epoch; 0: not started.
    pub(super) started_at: i64,
}

const OBSERVATION: &str = "observed.json";

impl Observation {
    /// Reads the observation in a container's runtime directory; none when creation was never completed.
    pub(super) fn load(dir: &Path) -> io::Result<Option<Observation>> {
        match std::fs::read(dir.join(OBSERVATION)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the observation as a whole. Not synced: it means nothing after a reboot.
    pub(super) fn save(&self, dir: &Path) -> io::Result<()> {
        files::replace(&dir.join(OBSERVATION), &serde_json::to_vec(self)?)
    }
}

/// The record of a container that is about to be created.
pub(super) fn record(
    config: &ContainerConfig,
    image: &ImageRecord,
    mounted: &Mounted,
    output: &Output,
) -> ContainerRecord {
    ContainerRecord {
        version: VERSION,
        image_id: image.id.clone(),
        image_ref: image.repo_digests.first().unwrap_or(&image.id).clone(),
        image_name: image_name(config, image),
        mounted_images: mounted.values().map(|image| image.id.clone()).collect(),
        created_at: now(),
        log_path: log_path(config),
        cgroup: output.cgroup.clone(),
        user: output.user.clone(),
        stop_signal: output.stop_signal.name().to_owned(),
        resources: config.linux.as_ref().and_then(|l| l.resources.clone()),
        end: None,
        config: config.clone(),
    }
}

/// The name for an image that was asked for by its id, or by the beginning of it: what the user wrote decides among
/// several. Empty where it was asked for by a name, or has none.
fn image_name(config: &ContainerConfig, image: &ImageRecord) -> String {
    let asked = config.image.clone().unwrap_or_default();
    if !image
        .id
        .trim_start_matches("sha256:")
        .starts_with(asked.image.trim_start_matches("sha256:"))
    {
        return String::new();
    }
    image
        .shown_as(&asked.user_specified_image)
        .unwrap_or_default()
        .to_owned()
}

/// The log file's absolute path; empty without a log (CRI `ContainerConfig.log_path`).
fn log_path(config: &ContainerConfig) -> String {
    match (config.log_directory.as_str(), config.log_path.as_str()) {
        ("", "") => String::new(),
        (directory, path) => Path::new(directory).join(path).to_string_lossy().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asked: &str, wrote: &str, expected: &str) {
        let image = ImageRecord {
            id: "sha256:4f06".into(),
            repo_tags: vec!["docker.io/library/web:1".into(), "registry.example/web:1".into()],
            ..ImageRecord::default()
        };
        let config = ContainerConfig {
            image: Some(ImageSpec {
                image: asked.into(),
                user_specified_image: wrote.into(),
                ..ImageSpec::default()
            }),
            ..ContainerConfig::default()
        };
        assert_eq!(image_name(&config, &image), expected, "{asked} {wrote}");
    }

    #[test]
    fn an_image_asked_for_by_its_id_is_told_of_by_the_name_that_the_user_wrote() {
        check("sha256:4f06", "registry.example/web:1", "registry.example/web:1");
        check("4f06", "web:1", "docker.io/library/web:1");
        check("sha256:4f", "", "docker.io/library/web:1");
        check("sha256:4f06", "other:2", "docker.io/library/web:1");
        check("web:1", "registry.example/web:1", "");
    }

    #[test]
    fn an_image_without_a_name_is_told_of_by_its_id() {
        let image = ImageRecord {
            id: "sha256:4f06".into(),
            ..ImageRecord::default()
        };
        let config = ContainerConfig {
            image: Some(ImageSpec {
                image: image.id.clone(),
                ..ImageSpec::default()
            }),
            ..ContainerConfig::default()
        };
        assert_eq!(image_name(&config, &image), "");
    }
}
