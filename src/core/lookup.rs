//! What creation has to look up on the host before the specification can be written, and the translation between the
//! specification's terms and the monitor's. Nothing here changes anything.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::cdi::{Brought, Described};
use super::devices;
use super::failed;
use super::mounted::{self, Mounted};
use crate::image::{ImageRecord, Images};
use crate::model::{
    ContainerConfig, Error, LinuxContainerConfig, MountPropagation, Namespace, Profile, Result,
};
use crate::monitor::protocol::{
    self, CgroupTree, FIRST_NAMESPACE, ImageTree, Propagation, ReadOnly, Rlimit, StagedTree,
};
use crate::spec::{self, DeviceNode, Output, Source, StagedMount, Volume};
use crate::sys::cgroup::ranges;
use crate::sys::{mount, namespace};

/// Files and facts that a container's specification depends on.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The image's `/etc/passwd`.
    pub(super) passwd: Option<String>,
    /// The image's `/etc/group`.
    pub(super) group: Option<String>,
    /// For each mount, what it mounts.
    pub(super) binds: Vec<Source>,
    /// The images that mounts name, by the number of the mount.
    pub(super) mounted: Mounted,
    pub(super) devices: Vec<DeviceNode>,
    /// What described devices bring beside their nodes.
    pub(super) brought: Brought,
    pub(super) seccomp_profile: Option<String>,
}

/// Looks everything up.
///
/// # Errors
/// `InvalidArgument`, naming the field, when a path of the host is not there.
pub(super) async fn find(
    config: &ContainerConfig,
    image: &ImageRecord,
    images: &Images,
    described: &Described,
) -> Result<Found> {
    let passwd = text_file(images, image, "/etc/passwd").await?;
    let group = text_file(images, image, "/etc/group").await?;
    let mounted = mounted::find(config, images).await?;
    let (config, described) = (config.clone(), described.clone());
    // Paths of the host may lie on a network file system that hangs.
    let on_host = tokio::task::spawn_blocking(move || find_on_host(&config, &described)).await;
    let found = on_host.map_err(|e| Error::internal("look-up ended badly").because(e))??;
    Ok(Found {
        passwd,
        group,
        mounted,
        ..found
    })
}

async fn text_file(images: &Images, image: &ImageRecord, path: &str) -> Result<Option<String>> {
    let bytes = images.read_file(image, path).await?;
    Ok(bytes.map(|b| String::from_utf8_lossy(&b).into_owned()))
}

fn find_on_host(config: &ContainerConfig, described: &Described) -> Result<Found> {
    let limits = config.linux.as_ref().and_then(|l| l.resources.as_ref());
    if let Some(limits) = limits {
        online(
            "cpuset_cpus",
            &limits.cpuset_cpus,
            "/sys/devices/system/cpu/online",
        )?;
        online(
            "cpuset_mems",
            &limits.cpuset_mems,
            "/sys/devices/system/node/online",
        )?;
    }
    let security = config.linux.as_ref().map(|l| &l.security);
    let privileged = security.is_some_and(|s| s.privileged);
    let all_devices = security.is_some_and(|s| s.privileged && !s.without_host_devices);
    let seccomp_profile = match security.map(|s| &s.seccomp) {
        Some(Profile::Localhost(path)) if !privileged => Some(profile(path)?),
        _ => None,
    };
    let binds = config
        .mounts
        .iter()
        .enumerate()
        .map(|(n, m)| match m.image {
            Some(_) => Ok(Source::Image(n)),
            None => bind(n, &m.host_path).map(Source::Host),
        })
        .collect::<Result<_>>()?;
    let mut found = devices::asked(&config.devices)?;
    let user = config.linux.as_ref().and_then(|l| l.user.as_ref());
    let mut brought = described.find(&config.described_devices, user)?;
    if all_devices {
        found.extend(devices::all().map_err(|e| failed("list", Path::new("/dev"), e))?);
    }
    // Where two name one place the description counts, which knows the device best.
    found.retain(|node| !brought.nodes.iter().any(|named| named.path == node.path));
    found.append(&mut brought.nodes);
    Ok(Found {
        binds,
        devices: found,
        brought,
        seccomp_profile,
        ..Found::default()
    })
}

/// Checks a list of processors or memory nodes against those that are online.
fn online(field: &str, list: &str, file: &str) -> Result<()> {
    let refused = |problem: &str| Error::invalid(format!("linux.resources.{field} {list:?} {problem}"));
    let asked: Option<Vec<_>> = ranges(list).collect();
    let asked = asked.ok_or_else(|| refused("is not a list of numbers"))?;
    let online = match std::fs::read_to_string(file) {
        // A kernel without NUMA has no such file, and one node.
        Err(error) if error.kind() == io::ErrorKind::NotFound => "0".to_owned(),
        other => other.map_err(|e| failed("read", Path::new(file), e))?,
    };
    let there: Vec<_> = ranges(&online).flatten().collect();
    let covered = |number: u32| {
        there
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&number))
    };
    let missing = |(first, last): &(u32, u32)| !covered(*first) || !covered(*last);
    match asked.iter().any(missing) {
        true => Err(refused(&format!(
            "is not among {}, which are online",
            online.trim()
        ))),
        false => Ok(()),
    }
}

/// CRI `Mount.host_path`: an error when it does not exist, and its target when it is a symbolic link.
fn bind(n: usize, path: &str) -> Result<PathBuf> {
    let refused = |why: &str| Error::invalid(format!("mounts[{n}].host_path {path:?} {why}"));
    if !path.starts_with('/') {
        return Err(refused("is not an absolute path"));
    }
    std::fs::canonicalize(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => refused("does not exist"),
        _ => refused("cannot be used").because(error),
    })
}

fn profile(path: &str) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|e| Error::invalid(format!("seccomp profile {path:?} cannot be read")).because(e))
}

/// The namespaces to join, as descriptors, in the order of the numbers they get in a create worker.
#[derive(Debug, Default)]
pub(super) struct Joined {
    pub(super) descriptors: Vec<OwnedFd>,
    /// The container wants a network of its own: one more descriptor, to be made, comes last.
    pub(super) own_network: bool,
    /// Which of them is the user namespace.
    pub(super) user: Option<usize>,
}

/// Opens the namespaces that a configuration joins, and names them there by their descriptors: the pins are not visible
/// where libcontainer runs. A network of the container's own is made by us as well, since its loopback must be up.
///
/// # Errors
/// `InvalidArgument`, naming the namespace.
pub(super) fn namespaces(config: &mut ContainerConfig) -> Result<Joined> {
    let linux = config.linux.get_or_insert_with(LinuxContainerConfig::default);
    let chosen = &mut linux.namespaces;
    let mut joined = Joined::default();
    if let Some(user) = &mut linux.user {
        if chosen.network == Namespace::New {
            let problem = "linux.namespaces.network: a new one would not belong to the user namespace";
            return Err(Error::invalid(problem));
        }
        let file = open_namespace("user", &user.path)?;
        user.path = fd_path(joined.descriptors.len());
        joined.user = Some(joined.descriptors.len());
        joined.descriptors.push(file);
    }
    let all = [
        ("network", &mut chosen.network),
        ("ipc", &mut chosen.ipc),
        ("uts", &mut chosen.uts),
        ("pid", &mut chosen.pid),
    ];
    for (name, namespace) in all {
        let Namespace::Join(path) = namespace else {
            continue;
        };
        let file = open_namespace(name, path)?;
        *namespace = numbered(joined.descriptors.len());
        joined.descriptors.push(file);
    }
    if chosen.network == Namespace::New {
        chosen.network = numbered(joined.descriptors.len());
        joined.own_network = true;
    }
    Ok(joined)
}

fn open_namespace(name: &str, path: &Path) -> Result<OwnedFd> {
    let refused = || Error::invalid(format!("{name} namespace {} cannot be joined", path.display()));
    namespace::open(path).map_err(|e| refused().because(e))
}

fn numbered(n: usize) -> Namespace {
    Namespace::Join(fd_path(n))
}

fn fd_path(n: usize) -> PathBuf {
    format!("/proc/self/fd/{}", FIRST_NAMESPACE as usize + n).into()
}

/// The volumes that the image declares and no mount covers, at the directories they will have.
pub(super) fn volumes(
    id: &str,
    config: &ContainerConfig,
    image: &ImageRecord,
    images: &Images,
) -> Vec<Volume> {
    let covered = |path: &str| config.mounts.iter().any(|m| same_path(&m.container_path, path));
    let wanted = image.volumes().into_iter().filter(|path| !covered(path));
    wanted
        .map(|path| Volume {
            source: images.volume_path(id, &path),
            container_path: path,
        })
        .collect()
}

fn same_path(a: &str, b: &str) -> bool {
    Path::new(a).components().eq(Path::new(b).components())
}

/// Copies the host's mount trees.
///
/// # Errors
/// `InvalidArgument`, naming the path.
pub(super) fn trees(staged: &[StagedMount]) -> Result<Vec<OwnedFd>> {
    let refused = |path: &Path, e| Error::invalid(format!("{} cannot be mounted", path.display())).because(e);
    let made = |staged: &StagedMount| match &staged.source {
        Source::Host(path) if staged.recursive => Some(mount::clone_tree(path).map_err(|e| refused(path, e))),
        Source::Host(path) => Some(mount::clone_mount(path).map_err(|e| refused(path, e))),
        Source::Sysfs => Some(mount::detached("sysfs").map_err(|e| refused(Path::new("sysfs"), e))),
        // Made by the worker.
        Source::Image(_) | Source::Hierarchies { .. } => None,
    };
    staged.iter().filter_map(made).collect()
}

/// A staged mount in the monitor's terms. `options` are for what is made for it.
pub(super) fn staged(mount: &StagedMount, image: Option<ImageTree>, options: Vec<String>) -> StagedTree {
    StagedTree {
        cgroups: match &mount.source {
            Source::Hierarchies {
                directories,
                writable,
            } => Some(CgroupTree {
                directories: directories.clone(),
                writable: *writable,
                options: options.clone(),
            }),
            _ => None,
        },
        image: image.map(|image| ImageTree { options, ..image }),
        idmap: mount.idmap,
        name: match &mount.source {
            Source::Host(path) => format!("{} at {}", path.display(), mount.destination),
            Source::Image(_) | Source::Sysfs | Source::Hierarchies { .. } => mount.destination.clone(),
        },
        read_only: match (mount.readonly, mount.recursive_readonly) {
            (_, true) => ReadOnly::Recursive,
            (true, false) => ReadOnly::Yes,
            (false, false) => ReadOnly::No,
        },
        propagation: match mount.propagation {
            MountPropagation::Private => Propagation::Private,
            MountPropagation::HostToContainer => Propagation::Slave,
            MountPropagation::Bidirectional => Propagation::Shared,
        },
    }
}

/// The first process in the monitor's terms; its filter is added once it is compiled.
pub(super) fn process(output: &Output) -> protocol::Process {
    let process = &output.process;
    protocol::Process {
        binds: output.late.clone(),
        args: process.args.clone(),
        env: process.env.clone(),
        cwd: process.cwd.clone(),
        uid: process.uid,
        gid: process.gid,
        groups: process.groups.clone(),
        capabilities: protocol::Capabilities {
            bounding: process.capabilities.bounding,
            effective: process.capabilities.effective,
            inheritable: process.capabilities.inheritable,
            ambient: process.capabilities.ambient,
        },
        no_new_privileges: process.no_new_privileges,
        rlimits: process.rlimits.iter().map(limit).collect(),
        oom_score_adj: Some(process.oom_score_adj),
        seccomp: None,
        umask: Some(process.umask),
        apparmor: process.apparmor.clone(),
        selinux: process.selinux.clone(),
        queues: process.queues.clone(),
    }
}

fn limit(limit: &spec::Rlimit) -> Rlimit {
    Rlimit {
        resource: limit.resource,
        soft: limit.soft,
        hard: limit.hard,
    }
}
