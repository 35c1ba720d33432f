//! One file of the Container Device Interface, versions 0.3.0 to 1.1.0: from its text to what its devices change in a
//! container. Which files there are and which of two wins is the caller's; nothing here touches the host.
//!
//! A file is taken whole or not at all: what this parser does not know, it cannot honour. What it knows and Coracle
//! does not do is kept, so that only the devices that ask for it are refused ([`Edits::unsupported`]).

mod check;
mod version;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

pub use check::qualified;

/// What stands for no permission at all.
pub const NO_ACCESS: &str = "none";

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `*.json`
    Json,
    /// `*.yaml`
    Yaml,
}

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum CdiError {
    /// It is no document of the expected shape.
    #[error("{0}")]
    Syntax(String),
    /// A field has a value that the specification does not allow.
    #[error("{field} {problem}")]
    Field {
        /// Path of the field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl CdiError {
    fn field(field: impl Into<String>, problem: impl Into<String>) -> CdiError {
        CdiError::Field {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

/// A file: devices of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// `vendor/class`.
    pub kind: String,
    /// Made once in a container that gets any of the devices, before theirs.
    pub edits: Edits,
    /// The devices by name.
    pub devices: BTreeMap<String, Edits>,
}

/// What a device changes in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Edits {
    /// `NAME=value`.
    #[serde(deserialize_with = "present")]
    pub env: Vec<String>,
    /// Nodes to make.
    #[serde(deserialize_with = "present")]
    pub device_nodes: Vec<Node>,
    /// Host paths to mount.
    #[serde(deserialize_with = "present")]
    pub mounts: Vec<Mount>,
    /// Programs to run at steps of the container's life.
    #[serde(deserialize_with = "present")]
    pub hooks: Vec<Hook>,
    /// Further groups of the first process.
    #[serde(deserialize_with = "present")]
    pub additional_gids: Vec<u32>,
    intel_rdt: Option<IntelRdt>,
    #[serde(deserialize_with = "present")]
    net_devices: Vec<NetDevice>,
}

/// A device node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Node {
    /// Where it appears in the container.
    pub path: String,
    /// Where it is on the host; empty is the same path.
    pub host_path: String,
    /// `b`, `c`, `u` (as `c`) or `p`; empty is what the host's node is.
    #[serde(rename = "type")]
    pub kind: String,
    /// Numbers; both zero are the host's.
    pub major: i64,
    /// See `major`.
    pub minor: i64,
    /// Permission bits, in some files with those of the type; absent are the host's.
    pub file_mode: Option<u32>,
    /// Any of `r`, `w` and `m`; empty is all, [`NO_ACCESS`] is none.
    pub permissions: String,
    /// Owner; absent is the first process's.
    pub uid: Option<u32>,
    /// Group; absent is the first process's.
    pub gid: Option<u32>,
}

/// A host path to mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// On the host.
    pub host_path: String,
    /// In the container.
    pub container_path: String,
    /// As of mount(8).
    #[serde(deserialize_with = "present")]
    pub options: Vec<String>,
    /// Type of file system; empty is a bind.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A program to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Hook {
    /// When, as the OCI runtime specification names it.
    pub hook_name: String,
    /// The program on the host.
    pub path: String,
    /// Its arguments, the first being its own name.
    #[serde(deserialize_with = "present")]
    pub args: Vec<String>,
    /// Its whole environment.
    #[serde(deserialize_with = "present")]
    pub env: Vec<String>,
    /// Seconds it may take.
    pub timeout: Option<i64>,
}

/// Known, so that a file with it is no malformed one; not done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct IntelRdt {
    #[serde(rename = "closID")]
    clos_id: String,
    #[serde(rename = "l3CacheSchema")]
    l3_cache_schema: String,
    #[serde(rename = "memBwSchema")]
    mem_bw_schema: String,
    #[serde(rename = "enableCMT")]
    enable_cmt: bool,
    #[serde(rename = "enableMBM")]
    enable_mbm: bool,
    #[serde(deserialize_with = "present")]
    schemata: Vec<String>,
    #[serde(rename = "enableMonitoring")]
    enable_monitoring: bool,
}

/// Likewise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct NetDevice {
    host_interface_name: String,
    name: String,
}

/// A file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    cdi_version: String,
    kind: String,
    #[serde(deserialize_with = "present")]
    annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "present")]
    devices: Vec<Device>,
    #[serde(deserialize_with = "present")]
    container_edits: Edits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Device {
    name: String,
    #[serde(deserialize_with = "present")]
    annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "present")]
    container_edits: Edits,
}

/// What an explicit null stands for, as in the vendors' own generators, which write lists that way.
fn present<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

impl Edits {
    /// The first field of what is asked for and not done.
    pub fn unsupported(&self) -> Option<&'static str> {
        if self.intel_rdt.is_some() {
            return Some("intelRdt");
        }
        (!self.net_devices.is_empty()).then_some("netDevices")
    }

    fn is_empty(&self) -> bool {
        *self == Edits::default()
    }
}

/// Reads and checks the text of a file.
///
/// # Errors
/// [`CdiError`], naming the field.
pub fn parse(format: Format, text: &str) -> Result<Document, CdiError> {
    let written: Written = match format {
        Format::Json => serde_json::from_str(text).map_err(|e| CdiError::Syntax(e.to_string()))?,
        Format::Yaml => {
            // As the specification's own reader, which follows YAML 1.1: 0660 is a mode.
            let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
            serde_saphyr::from_str_with_options(text, options).map_err(|e| CdiError::Syntax(e.to_string()))?
        }
    };
    check::document(&written)?;
    let mut devices = BTreeMap::new();
    for (n, device) in written.devices.into_iter().enumerate() {
        if devices.contains_key(&device.name) {
            let problem = format!("{:?} is there twice", device.name);
            return Err(CdiError::field(format!("devices[{n}].name"), problem));
        }
        devices.insert(device.name, device.container_edits);
    }
    Ok(Document {
        kind: written.kind,
        edits: written.container_edits,
        devices,
    })
}
