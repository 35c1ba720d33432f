//! What described devices come to on this host: nodes looked up, sources of mounts resolved, and refusals of what
//! cannot be honoured, all before anything of the container is made.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::model::{ContainerConfig, Error, KeyValue, Kind, LinuxContainerConfig, Result, UserNamespace};
use crate::spec::cdi::{Edits, Hook, Mount, NO_ACCESS, Node};
use crate::spec::{Added, AddedMount, DeviceKind, DeviceNode, place_problem};

/// Below this directory nodes are made; elsewhere the host's are bound.
const DEV: &str = "/dev";

/// What a container's described devices bring.
#[derive(Clone, Debug, Default)]
pub(in crate::core) struct Brought {
    env: Vec<(String, String)>,
    groups: Vec<u32>,
    pub(in crate::core) nodes: Vec<DeviceNode>,
    pub(in crate::core) added: Added,
}

impl Brought {
    /// Adds the edits of the device `name`, after all that came before.
    ///
    /// # Errors
    /// As [`Described::find`](super::Described::find).
    pub(super) fn add(&mut self, name: &str, edits: &Edits, user: Option<&UserNamespace>) -> Result<()> {
        let refused = |problem: String| Error::invalid(format!("CDI device {name:?}: {problem}"));
        let undone =
            |problem: String| Error::new(Kind::Unimplemented, format!("CDI device {name:?}: {problem}"));
        if let Some(field) = edits.unsupported() {
            return Err(undone(format!("{field} is not supported")));
        }
        for entry in &edits.env {
            let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
            self.env.push((key.to_owned(), value.to_owned()));
        }
        // Group 0 stands for nothing in descriptions; root's group is nobody's further one.
        let groups = edits.additional_gids.iter().filter(|gid| **gid != 0);
        self.groups.extend(groups);
        for wanted in &edits.device_nodes {
            let node = node(wanted, user).map_err(refused)?;
            self.nodes.retain(|earlier| earlier.path != node.path);
            self.nodes.push(node);
        }
        for mount in &edits.mounts {
            let at = |problem: String| format!("mount at {} {problem}", mount.container_path);
            let source = source(mount).map_err(|problem| refused(at(problem)))?;
            let mount = AddedMount::new(mount, source).map_err(|problem| undone(at(problem)))?;
            self.added.mounts.push(mount);
        }
        for hook in &edits.hooks {
            if !Added::STEPS.contains(&hook.hook_name.as_str()) {
                return Err(undone(format!("{} hooks are not supported", hook.hook_name)));
            }
            program(hook).map_err(refused)?;
            self.added.hooks.push(hook.clone());
        }
        Ok(())
    }

    /// Puts variables and groups where the configuration's own are; the devices' win.
    pub(in crate::core) fn amend(&self, config: &mut ContainerConfig) {
        let env = self.env.iter();
        config
            .envs
            .extend(env.map(|(key, value)| KeyValue::new(key.as_str(), value.as_bytes())));
        if !self.groups.is_empty() {
            let linux = config.linux.get_or_insert_with(LinuxContainerConfig::default);
            linux.security.supplemental_groups.extend(&self.groups);
        }
    }
}

/// A node by its description, and by the host's own where that says nothing. Where none can be made, outside `/dev` and
/// in a user namespace, the host's is bound, which then has to be the one that is described.
fn node(wanted: &Node, user: Option<&UserNamespace>) -> std::result::Result<DeviceNode, String> {
    let at = |problem: &str| format!("device node {} {problem}", wanted.path);
    if let Some(problem) = place_problem(&wanted.path) {
        return Err(at(&problem));
    }
    let host_path = match wanted.host_path.as_str() {
        "" => PathBuf::from(&wanted.path),
        given => PathBuf::from(given),
    };
    let told = match wanted.kind.as_str() {
        "b" => Some(DeviceKind::Block),
        "c" | "u" => Some(DeviceKind::Char),
        "p" => Some(DeviceKind::Fifo),
        _ => None,
    };
    let outside = !Path::new(&wanted.path).starts_with(DEV);
    if outside && (wanted.uid, wanted.gid, wanted.file_mode) != (None, None, None) {
        return Err(at(
            "is outside /dev, where the host's node is bound and keeps its owner and mode",
        ));
    }
    let bound = outside || user.is_some();
    let numbered = (wanted.major, wanted.minor) != (0, 0);
    let of_host = match told {
        Some(kind) if (numbered || kind == DeviceKind::Fifo) && !bound => {
            (kind, wanted.major, wanted.minor, None)
        }
        _ => {
            let (kind, major, minor, mode) = look(&host_path).map_err(|problem| at(&problem))?;
            if told.is_some_and(|told| told != kind) {
                return Err(at(&format!(
                    "has another type than {} on the host",
                    host_path.display()
                )));
            }
            let numbers = match numbered {
                true => (wanted.major, wanted.minor),
                false => (major, minor),
            };
            if bound && numbers != (major, minor) {
                return Err(at(&format!(
                    "has other numbers than {} on the host",
                    host_path.display()
                )));
            }
            (kind, numbers.0, numbers.1, Some(mode))
        }
    };
    let (kind, major, minor, mode) = of_host;
    Ok(DeviceNode {
        host_path,
        path: PathBuf::from(&wanted.path),
        kind,
        major,
        minor,
        mode: wanted.file_mode.or(mode).unwrap_or(0o666) & 0o7777,
        uid: wanted.uid,
        gid: wanted.gid,
        access: match wanted.permissions.as_str() {
            "" => "rwm".to_owned(),
            NO_ACCESS => String::new(),
            given => given.to_owned(),
        },
    })
}

/// Type, numbers and mode of a node of the host.
fn look(path: &Path) -> std::result::Result<(DeviceKind, i64, i64, u32), String> {
    let shown = path.display();
    let meta = std::fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("is {shown} on the host, which does not exist"),
        _ => format!("is {shown} on the host, which cannot be used: {error}"),
    })?;
    let kind = match meta.file_type() {
        t if t.is_char_device() => DeviceKind::Char,
        t if t.is_block_device() => DeviceKind::Block,
        t if t.is_fifo() => DeviceKind::Fifo,
        _ => return Err(format!("is {shown} on the host, which is no device")),
    };
    let number = meta.rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    Ok((kind, major.into(), minor.into(), meta.mode()))
}

fn source(mount: &Mount) -> std::result::Result<PathBuf, String> {
    let shown = &mount.host_path;
    if !shown.starts_with('/') {
        return Err(format!("is {shown:?} on the host, which is no absolute path"));
    }
    std::fs::canonicalize(shown).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("is {shown} on the host, which does not exist"),
        _ => format!("is {shown} on the host, which cannot be used: {error}"),
    })
}

/// Why what a file says is not done with root's rights, if it is not: somebody else could have written it.
pub(super) fn distrust(meta: &Metadata) -> Option<String> {
    let (own_user, own_group) = (rustix::process::geteuid(), rustix::process::getegid());
    let (user, group) = (meta.uid(), meta.gid());
    if user != 0 && user != own_user.as_raw() {
        return Some(format!("belongs to user {user}, not to root"));
    }
    if meta.mode() & 0o002 != 0 {
        return Some("can be written by everybody".to_owned());
    }
    let others = group != 0 && group != own_group.as_raw();
    (others && meta.mode() & 0o020 != 0).then(|| format!("can be written by group {group}"))
}

fn program(hook: &Hook) -> std::result::Result<(), String> {
    let (step, path) = (&hook.hook_name, &hook.path);
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() && meta.mode() & 0o111 != 0 => match distrust(&meta) {
            None => Ok(()),
            Some(why) => Err(format!("{step} hook {path} {why}")),
        },
        Ok(_) => Err(format!("{step} hook {path} is no program")),
        Err(error) => Err(format!("{step} hook {path} cannot be used: {error}")),
    }
}
