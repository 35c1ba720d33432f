//! Pure translation: a container's configuration, its image's configuration and facts of the host become what the
//! core needs to make it.
//!
//! Nothing here reads a file or asks the kernel: the core looks things up and passes them in, so that every rule is
//! a table in a test. The work is split between two places that act later:
//!
//! * [`Output::spec`] is for libcontainer, which makes namespaces, mounts, devices and the cgroup. Its process is
//!   root with cwd `/`; it carries no capabilities, filter, limits or no-new-privileges.
//! * [`Output::process`] is for our own last stage, which container start and exec share, and which turns that root
//!   into the container's user as its last acts before execve.
//!
//! | file | decides |
//! | --- | --- |
//! | `host` | what the caller knows about the machine |
//! | `process` | command, environment, working directory, limits |
//! | `user` | ids and groups, by the image's passwd and group files |
//! | `capabilities` | the five sets |
//! | `namespaces` | namespaces, hostname, kernel parameters |
//! | `filesystems` | `/proc`, `/dev`, `/sys`, cgroups |
//! | `mounts` | binds, staged trees, the order of all |
//! | `devices` | nodes and access rules |
//! | `cdi`, `added` | descriptions of devices, and what they bring beside nodes |
//! | `resources` | limits and weights of the cgroup |
//! | `seccomp` | the default filter, and files of the user's |
//! | `signal` | the stop signal |

mod added;
mod capabilities;
pub mod cdi;
mod devices;
mod error;
mod filesystems;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod host;
mod mounts;
mod namespaces;
mod process;
mod resources;
pub mod seccomp;
mod signal;
mod user;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oci_spec::image::Config as ImageConfig;
use oci_spec::runtime::{
    Linux, LinuxIdMapping, LinuxIdMappingBuilder, LinuxSeccomp, Process as OciProcess, Root, Spec,
    UserBuilder,
};

use crate::model::{ContainerConfig, ContainerUser, IdMapping, LinuxContainerConfig, Profile};

pub use added::{Added, AddedMount};
pub use capabilities::{CapabilitySets, mask, names};
pub use devices::{DeviceKind, DeviceNode, place_problem};
pub use error::SpecError;
pub use host::{Cgroups, Hierarchy, Host, Rlimit, Volume};
pub use mounts::{Source, StagedMount};
pub use process::Process;
pub use resources::{Resources, merge_resources, resources};
pub use signal::Signal;

/// Everything the translation depends on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Name of its cgroup, below the parent that the configuration names.
    pub cgroup_name: &'a str,
    /// What it is asked to be.
    pub config: &'a ContainerConfig,
    /// The `config` object of the image's configuration; absent is an image that says nothing.
    pub image: Option<&'a ImageConfig>,
    /// Text of the image's `/etc/passwd`.
    pub passwd: Option<&'a str>,
    /// Text of the image's `/etc/group`.
    pub group: Option<&'a str>,
    /// Facts of the machine.
    pub host: &'a Host,
    /// Where the root file system will be mounted, in the mount namespace that libcontainer is called in.
    pub rootfs: &'a Path,
    /// What each of `config.mounts` mounts, in the same order.
    pub binds: &'a [Source],
    /// The image's volumes that the caller made directories for.
    pub volumes: &'a [Volume],
    /// The nodes that `config.devices` come to, directories expanded; of a privileged container all of the host's.
    pub devices: &'a [DeviceNode],
    /// What devices bring beside their nodes.
    pub added: &'a Added,
    /// Directory below which staged mount `n` will be attached as `n`, in libcontainer's mount namespace.
    pub staging: &'a Path,
    /// Text of the profile that `config.linux.security.seccomp` names, when it names a file.
    pub seccomp_profile: Option<&'a str>,
    /// SELinux labels; absent where it is off.
    pub labels: Option<&'a Labels>,
}

/// SELinux labels of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// Of its processes; absent, they keep that of who starts them.
    pub process: Option<String>,
    /// Of what it may use of files.
    pub files: String,
}

impl Labels {
    /// The option that gives all of a new file system the label of files.
    pub fn mount_option(&self) -> String {
        format!("context={}", self.files)
    }
}

impl Input<'_> {
    /// The Linux part of the configuration; an absent one has every default.
    fn linux(&self) -> Cow<'_, LinuxContainerConfig> {
        match &self.config.linux {
            Some(linux) => Cow::Borrowed(linux),
            None => Cow::Owned(LinuxContainerConfig::default()),
        }
    }
}

/// What the core needs to make the container.
#[derive(Clone, Debug)]
pub struct Output {
    /// For libcontainer: written as `config.json`.
    pub spec: Spec,
    /// For the last stage of the container's first process.
    pub process: Process,
    /// The filter to compile and load; absent runs without one.
    pub seccomp: Option<LinuxSeccomp>,
    /// Trees to attach below [`Input::staging`] before libcontainer is called, in order.
    pub staged: Vec<StagedMount>,
    /// Paths of the container to bind with everything below, from and to, as the first process's last stage begins:
    /// what would be in libcontainer's way at its final place. Not to be moved: a mount below a shared one cannot be.
    pub late: Vec<(PathBuf, PathBuf)>,
    /// Who the first process is.
    pub user: ContainerUser,
    /// The signal that asks the container to end.
    pub stop_signal: Signal,
    /// The container's cgroup, absolute from the root of each hierarchy.
    pub cgroup: String,
    /// What was asked for and could not be given in full, for the log.
    pub warnings: Vec<String>,
}

/// The OCI specification's version that is written.
const OCI_VERSION: &str = "1.2.0";
/// Asked to end by this unless configuration or image say otherwise.
const STOP_SIGNAL: &str = "SIGTERM";
/// Umask of a container's processes.
const UMASK: u32 = 0o022;

/// Translates a configuration.
///
/// # Errors
/// [`SpecError`], naming the field that cannot be carried out.
pub fn generate(input: &Input<'_>) -> Result<Output, SpecError> {
    let linux = input.linux();
    let mut warnings = vec![];
    devices::check(&input.config.devices)?;
    let hostname = namespaces::hostname(input.config, &linux, input.id)?;
    let identity = identity(input)?;
    namespaces::check_user(&linux, &identity)?;
    let mut process = first_process(input, hostname.as_deref(), &identity, &mut warnings)?;
    let cgroup = cgroup_path(&linux.cgroup_parent, input)?;
    let mounts = mounts::mounts(input, &cgroup)?;
    process.queues = filesystems::queues(input, &mounts.mounts);
    let engine = engine_linux(input, &cgroup, &identity, &mounts.staged, &mut warnings)?;
    let seccomp = filter(input, &process)?;
    let stop_signal = stop_signal(input, &mut warnings)?;

    let mut root = Root::default();
    root.set_path(input.rootfs.to_owned())
        .set_readonly(Some(linux.security.readonly_rootfs));
    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.to_owned())
        .set_root(Some(root))
        .set_mounts(Some(mounts.mounts))
        .set_hostname(hostname)
        .set_hooks(input.added.hooks())
        .set_annotations(annotations(input.config))
        .set_process(Some(engine_process(&process)))
        .set_linux(Some(engine));
    Ok(Output {
        spec,
        user: ContainerUser {
            uid: identity.uid,
            gid: identity.gid,
            supplemental_groups: identity.groups,
        },
        process,
        seccomp,
        staged: mounts.staged,
        late: mounts.late,
        stop_signal,
        cgroup,
        warnings,
    })
}

/// The part of the specification that is Linux's own.
fn engine_linux(
    input: &Input<'_>,
    cgroup: &str,
    identity: &user::Identity,
    staged: &[StagedMount],
    warnings: &mut Vec<String>,
) -> Result<Linux, SpecError> {
    let linux = input.linux();
    let security = &linux.security;
    let asked = linux.resources.clone().unwrap_or_default();
    let mut limits = resources::resources(&asked, input.host)?;
    warnings.append(&mut limits.warnings);
    let all_devices = security.privileged && !security.without_host_devices;
    limits
        .linux
        .set_devices(Some(devices::rules(input.devices, all_devices)));
    let hidden = |paths: &[String]| match security.privileged {
        true => Some(vec![]),
        false => Some(paths.to_vec()),
    };
    let mut readonly = security.readonly_paths.clone();
    readonly.extend(filesystems::readonly(&input.host.cgroups));
    let mut engine = Linux::default();
    if let Some(user) = &linux.user {
        engine
            .set_uid_mappings(Some(vec![mapping(user.uids)]))
            .set_gid_mappings(Some(vec![mapping(user.gids)]));
    }
    engine
        .set_namespaces(Some(namespaces::namespaces(&linux)))
        .set_cgroups_path(Some(cgroup.into()))
        .set_resources(Some(limits.linux))
        .set_devices(Some(devices::nodes(input, identity)))
        .set_sysctl(namespaces::sysctls(&linux)?)
        .set_masked_paths(hidden(&security.masked_paths))
        .set_readonly_paths(hidden(&readonly))
        .set_rootfs_propagation(Some(mounts::rootfs_propagation(staged).to_owned()));
    Ok(engine)
}

/// Told to readers of the specification: what the container was given, and what it has by default.
fn annotations(config: &ContainerConfig) -> Option<HashMap<String, String>> {
    let defaults = config.default_annotations.iter();
    let all: HashMap<String, String> = defaults
        .chain(&config.annotations)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Some(all).filter(|all| !all.is_empty())
}

/// Told to readers of the specification: the namespace is joined with its maps written.
fn mapping(from: IdMapping) -> LinuxIdMapping {
    LinuxIdMappingBuilder::default()
        .container_id(from.container_id)
        .host_id(from.host_id)
        .size(from.length)
        .build()
        .expect("every field of the mapping is set")
}

fn identity(input: &Input<'_>) -> Result<user::Identity, SpecError> {
    let of_image = input.image.and_then(|i| i.user().as_deref()).unwrap_or("");
    let accounts = user::Accounts {
        passwd: input.passwd.unwrap_or(""),
        group: input.group.unwrap_or(""),
    };
    user::resolve(&input.linux().security, of_image, accounts)
}

/// What the last stage becomes.
fn first_process(
    input: &Input<'_>,
    hostname: Option<&str>,
    identity: &user::Identity,
    warnings: &mut Vec<String>,
) -> Result<Process, SpecError> {
    let linux = input.linux();
    let security = &linux.security;
    let name = hostname.unwrap_or(&input.config.hostname);
    let oom_score_adj = linux.resources.as_ref().map_or(0, |r| r.oom_score_adj);
    Ok(Process {
        args: process::args(input.config, input.image)?,
        env: process::env(input.config, input.image, name, &identity.home)?,
        cwd: process::cwd(input.config, input.image)?,
        tty: input.config.tty,
        uid: identity.uid,
        gid: identity.gid,
        groups: identity.groups.clone(),
        capabilities: capabilities::sets(security, identity.uid, input.host.bounding, warnings)?,
        no_new_privileges: security.no_new_privileges,
        rlimits: process::rlimits(input.host, warnings),
        oom_score_adj: process::oom_score_adj(oom_score_adj, input.host, warnings),
        umask: UMASK,
        apparmor: process::apparmor(&security.apparmor, security.privileged, input.host)?,
        selinux: input.labels.and_then(|labels| labels.process.clone()),
        queues: None,
    })
}

/// What libcontainer is told of the process: root, without anything that the last stage does.
fn engine_process(process: &Process) -> OciProcess {
    let user = UserBuilder::default()
        .uid(0_u32)
        .gid(0_u32)
        .umask(UMASK)
        .build()
        .expect("a user has no required field");
    let mut oci = OciProcess::default();
    oci.set_terminal(Some(process.tty))
        .set_user(user)
        .set_args(Some(process.args.clone()))
        .set_env(Some(readable(&process.env)))
        .set_cwd("/".into())
        .set_capabilities(None)
        .set_rlimits(None)
        .set_no_new_privileges(None)
        .set_oom_score_adj(Some(process.oom_score_adj));
    oci
}

/// The environment for people to read, and with a HOME, without which libcontainer looks it up in the container.
fn readable(env: &[Vec<u8>]) -> Vec<String> {
    env.iter()
        .map(|entry| match entry.as_slice() {
            b"HOME=" => "HOME=/".to_owned(),
            entry => String::from_utf8_lossy(entry).into_owned(),
        })
        .collect()
}

fn cgroup_path(parent: &str, input: &Input<'_>) -> Result<String, SpecError> {
    let parent = match parent.is_empty() {
        true => &input.host.default_cgroup_parent,
        false => parent,
    };
    if Path::new(parent).components().any(|c| c.as_os_str() == "..") || parent.contains('\0') {
        return Err(SpecError::invalid(
            "linux.cgroup_parent",
            format!("{parent:?} is not a cgroup"),
        ));
    }
    let parts = parent.split('/').filter(|p| !p.is_empty() && *p != ".");
    Ok(parts
        .chain([input.cgroup_name])
        .fold(String::new(), |path, part| path + "/" + part))
}

fn filter(input: &Input<'_>, process: &Process) -> Result<Option<LinuxSeccomp>, SpecError> {
    let security = &input.linux().security;
    if security.privileged {
        return Ok(None);
    }
    let context = seccomp::Context {
        capabilities: process.capabilities.bounding,
        kernel: input.host.kernel,
    };
    match &security.seccomp {
        Profile::Unconfined => Ok(None),
        Profile::RuntimeDefault => Ok(Some(seccomp::default_profile(&context))),
        Profile::Localhost(name) => {
            let text = input.seccomp_profile.ok_or_else(|| {
                SpecError::invalid(
                    "linux.security.seccomp",
                    format!("names {name:?}, which was not read"),
                )
            })?;
            seccomp::parse(text, &context).map(Some)
        }
    }
}

/// The configuration's signal; else the image's, which no caller can mend, so that a wrong one is passed over.
fn stop_signal(input: &Input<'_>, warnings: &mut Vec<String>) -> Result<Signal, SpecError> {
    if !input.config.stop_signal.is_empty() {
        return Signal::parse("stop_signal", &input.config.stop_signal);
    }
    let of_image = input.image.and_then(|i| i.stop_signal().as_deref()).unwrap_or("");
    if !of_image.is_empty() {
        match Signal::parse("the image's stop signal", of_image) {
            Ok(signal) => return Ok(signal),
            Err(error) => warnings.push(format!("{error}, {STOP_SIGNAL} is used")),
        }
    }
    Signal::parse("stop_signal", STOP_SIGNAL)
}
