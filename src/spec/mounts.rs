//! Every mount of a container, in the order they are made, and which trees are staged for it.
//!
//! The file systems that make a container a Linux machine come first, then binds, parents before children. Whatever
//! comes from the host is *staged*: the create worker attaches a copy of the tree below the staging directory, with
//! read-only flags and propagation of its own, and libcontainer binds it from there. Two reasons: the worker's lean
//! mount namespace does not see the host's later mounts, and libcontainer drops the propagation of single mounts.
//! The copy stays in its peer group, and so does the bind, as long as `rootfsPropagation` is wide enough.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount as OciMount;

use crate::model::{Mount, MountFlag, MountPropagation, Namespace, UserNamespace};

use super::Input;
use super::added::AddedMount;
use super::devices::bound;
use super::error::SpecError;
use super::filesystems::{CGROUP, CGROUPS, DEV, QUIET, SHM, SYS, filesystems, hierarchies, mount};

/// Where a host `/dev` waits until libcontainer has made its own nodes, which must not end up in the host's.
const HOST_DEV: &str = "/dev/.host";
const PROC: &str = "/proc";
/// Figures of drivers: those of a device may be replaced by what its description has for them.
const DRIVERS: &str = "/proc/driver";
/// What may be bound below `/proc`: files of figures, as lxcfs shows them per container. Anything else could make the
/// last stage's own writes there go nowhere.
const PROC_FILES: [&str; 8] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
];

/// Where the files of a mount come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A path of the host, without links in it.
    Host(PathBuf),
    /// The image that this entry of `config.mounts` names.
    Image(usize),
    /// A new sysfs, made by who owns the host's network.
    Sysfs,
    /// Directories of cgroups below a new directory, each by its name there.
    Hierarchies {
        /// Names and directories.
        directories: Vec<(String, PathBuf)>,
        /// Whether these may be written.
        writable: bool,
    },
}

/// A tree of the host or an image, to be attached below the staging directory before libcontainer is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedMount {
    /// Its name below the staging directory, a number.
    pub index: usize,
    /// What to make the tree of.
    pub source: Source,
    /// Where it ends up in the container.
    pub destination: String,
    /// Its top mount is read-only.
    pub readonly: bool,
    /// So are the mounts below.
    pub recursive_readonly: bool,
    /// How later mounts travel, for the whole tree.
    pub propagation: MountPropagation,
    /// Its owners are shown as the container's user namespace knows them.
    pub idmap: bool,
    /// With what is mounted below.
    pub recursive: bool,
}

/// The mounts of a container.
#[derive(Clone, Debug, Default)]
pub(super) struct Mounts {
    pub(super) mounts: Vec<OciMount>,
    pub(super) staged: Vec<StagedMount>,
    pub(super) late: Vec<(PathBuf, PathBuf)>,
}

/// A tree to be bound, before it has a number.
struct Wanted {
    destination: String,
    source: Source,
    readonly: bool,
    recursive_readonly: bool,
    propagation: MountPropagation,
    idmap: bool,
    recursive: bool,
    /// Further flags of the bind.
    flags: Vec<&'static str>,
}

/// Works out all mounts.
pub(super) fn mounts(input: &Input<'_>, cgroup: &str) -> Result<Mounts, SpecError> {
    let linux = input.linux();
    let mut wanted = asked(input)?;
    wanted.extend(implied(input, &wanted));
    for (n, mount) in input.added.mounts.iter().enumerate() {
        let added = Wanted::added(mount, n, linux.user.is_some())?;
        wanted.retain(|earlier| earlier.destination != added.destination);
        wanted.push(added);
    }
    // Parents before children; equal ones as they came, so that the last one is on top.
    wanted.sort_by_key(|w| depth(&w.destination));

    let mut out = Mounts {
        mounts: filesystems(input),
        ..Mounts::default()
    };
    out.mounts.retain(|mount| !replaced(mount.destination(), &wanted));
    let host_dev = wanted.iter().any(|w| w.destination == DEV);
    if host_dev {
        out.late.push((HOST_DEV.into(), DEV.into()));
    }
    for (index, mut bind) in wanted.into_iter().enumerate() {
        if host_dev {
            bind.destination = below_host_dev(bind.destination);
        }
        out.mounts
            .push(bind_of(&bind, input.staging.join(index.to_string())));
        out.staged.push(bind.stage(index));
    }
    // `/sys` shows a network, and the kernel lets nobody mount it but who owns that.
    if linux.user.is_some() && linux.namespaces.network == Namespace::Host {
        stage_instead(input, &mut out, "sysfs", Wanted::system(SYS, Source::Sysfs, true));
    }
    // One by one these would be half of all that libcontainer mounts.
    if let Some(source) = hierarchies(input, cgroup) {
        stage_instead(input, &mut out, CGROUPS, Wanted::system(CGROUP, source, false));
    }
    Ok(out)
}

/// Stages a tree in the place of a file system, unless something else has taken that.
fn stage_instead(input: &Input<'_>, out: &mut Mounts, kind: &str, wanted: Wanted) {
    let index = out.staged.len();
    let of_kind = |mount: &&mut OciMount| mount.typ().as_deref() == Some(kind);
    if let Some(own) = out.mounts.iter_mut().find(of_kind) {
        *own = bind_of(&wanted, input.staging.join(index.to_string()));
        out.staged.push(wanted.stage(index));
    }
}

/// Whether a mount of ours gives way to a wanted one at or above its place. `/dev` itself stays: libcontainer fills
/// it before the host's is moved there.
fn replaced(own: &Path, wanted: &[Wanted]) -> bool {
    wanted
        .iter()
        .any(|w| own.starts_with(&w.destination) && own != Path::new(DEV))
}

/// The widest propagation any mount needs. libcontainer gives it to every mount, which leaves a private tree private
/// and lets others keep what they were staged with. Its spelling has no `r`.
pub(super) fn rootfs_propagation(staged: &[StagedMount]) -> &'static str {
    let any = |propagation| staged.iter().any(|s| s.propagation == propagation);
    if any(MountPropagation::Bidirectional) {
        "shared"
    } else if any(MountPropagation::HostToContainer) {
        "slave"
    } else {
        "private"
    }
}

/// What configuration and image ask for.
fn asked(input: &Input<'_>) -> Result<Vec<Wanted>, SpecError> {
    let mounts = &input.config.mounts;
    if mounts.len() != input.binds.len() {
        let problem = format!(
            "has {} entries, {} were looked up",
            mounts.len(),
            input.binds.len()
        );
        return Err(SpecError::invalid("mounts", problem));
    }
    let user = &input.linux().user;
    let mut wanted = vec![];
    for (n, (mount, source)) in mounts.iter().zip(input.binds).enumerate() {
        check(mount, source, n)?;
        check_mappings(mount, user.as_ref(), n)?;
        let image = matches!(source, Source::Image(_));
        wanted.push(Wanted {
            destination: destination(&mount.container_path, &format!("mounts[{n}].container_path"))?,
            source: source.clone(),
            readonly: mount.readonly || image,
            recursive_readonly: mount.recursive_read_only || image,
            propagation: mount.propagation,
            idmap: !mount.uid_mappings.is_empty(),
            recursive: true,
            // Volumes that are images hold files to be read, never programs.
            flags: MountFlag::ALL
                .into_iter()
                .filter(|flag| image || mount.flags.contains(flag))
                .map(MountFlag::name)
                .collect(),
        });
    }
    for volume in input.volumes {
        let destination = destination(&volume.container_path, "the image's volumes")?;
        if !wanted.iter().any(|w| w.destination == destination) {
            wanted.push(Wanted {
                idmap: user.is_some(),
                ..Wanted::plain(destination, volume.source.clone())
            });
        }
    }
    Ok(wanted)
}

/// What follows from other settings: shared memory of the host's IPC namespace, devices outside `/dev`.
fn implied(input: &Input<'_>, asked: &[Wanted]) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = bound(input)
        .map(|d| Wanted::plain(d.path.to_string_lossy().into_owned(), d.host_path.clone()))
        .collect();
    let shares_memory = input.linux().namespaces.ipc == Namespace::Host;
    if shares_memory && !asked.iter().any(|w| w.destination == SHM || w.destination == DEV) {
        wanted.push(Wanted::plain(SHM.to_owned(), SHM.into()));
    }
    wanted
}

/// Refuses what CRI refuses: no path, recursive read-only without read-only or with propagation.
fn check(mount: &Mount, source: &Source, n: usize) -> Result<(), SpecError> {
    let field = |name: &str| format!("mounts[{n}].{name}");
    if matches!(source, Source::Host(_)) && !mount.host_path.starts_with('/') {
        return Err(SpecError::invalid(field("host_path"), "is not an absolute path"));
    }
    if mount.recursive_read_only && !mount.readonly {
        return Err(SpecError::invalid(
            field("recursive_read_only"),
            "is set without readonly",
        ));
    }
    if mount.recursive_read_only && mount.propagation != MountPropagation::Private {
        let problem = "is set with a propagation other than private";
        return Err(SpecError::invalid(field("recursive_read_only"), problem));
    }
    Ok(())
}

/// Whether the owners of a mount's files can be shown as asked: there is one user namespace to show them by.
fn check_mappings(mount: &Mount, user: Option<&UserNamespace>, n: usize) -> Result<(), SpecError> {
    let (uids, gids) = (&mount.uid_mappings, &mount.gid_mappings);
    let problem = match user {
        _ if uids.is_empty() && gids.is_empty() => return Ok(()),
        None => "are set without a user namespace",
        Some(user) if uids[..] == [user.uids] && gids[..] == [user.gids] => return Ok(()),
        Some(_) => "are not those of the user namespace",
    };
    Err(SpecError::invalid(
        format!("mounts[{n}].uid_mappings and gid_mappings"),
        problem,
    ))
}

/// Where a mount goes, which is not upon `/proc` but for [`PROC_FILES`].
fn destination(path: &str, field: &str) -> Result<String, SpecError> {
    let path = clean(path, field)?;
    check_proc(&path, field)?;
    Ok(path)
}

/// Cleans a path of the container by its letters alone; links are followed later, inside the root.
fn clean(path: &str, field: &str) -> Result<String, SpecError> {
    if !path.starts_with('/') {
        return Err(SpecError::invalid(
            field,
            format!("{path:?} is not an absolute path"),
        ));
    }
    let mut parts: Vec<&str> = vec![];
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Err(SpecError::invalid(field, "is the root directory"));
    }
    Ok(format!("/{}", parts.join("/")))
}

fn check_proc(path: &str, field: &str) -> Result<(), SpecError> {
    if (path == PROC || below(path, PROC)) && !PROC_FILES.contains(&path) {
        return Err(SpecError::invalid(
            field,
            format!("is {path:?}: only figures of /proc can be replaced"),
        ));
    }
    Ok(())
}

fn below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent)
        .is_some_and(|rest| rest.starts_with('/'))
}

fn depth(path: &str) -> usize {
    path.matches('/').count()
}

/// Moves a path at or below `/dev` to where the host's `/dev` waits.
fn below_host_dev(path: String) -> String {
    match path.strip_prefix(DEV) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{HOST_DEV}{rest}"),
        _ => path,
    }
}

impl Wanted {
    fn plain(destination: String, source: PathBuf) -> Wanted {
        Wanted::of(destination, Source::Host(source))
    }

    fn system(destination: &str, source: Source, readonly: bool) -> Wanted {
        Wanted {
            readonly,
            flags: QUIET.to_vec(),
            ..Wanted::of(destination.to_owned(), source)
        }
    }

    fn of(destination: String, source: Source) -> Wanted {
        Wanted {
            destination,
            source,
            readonly: false,
            recursive_readonly: false,
            propagation: MountPropagation::Private,
            idmap: false,
            recursive: true,
            flags: vec![],
        }
    }

    /// What a description brings: a mount that its file, which only root can write, may put on a driver's figures too.
    fn added(mount: &AddedMount, n: usize, idmap: bool) -> Result<Wanted, SpecError> {
        let field = format!("mount {n} of the devices");
        let cleaned = clean(&mount.destination, &field)?;
        if !below(&cleaned, DRIVERS) {
            check_proc(&cleaned, &field)?;
        }
        Ok(Wanted {
            destination: cleaned,
            source: Source::Host(mount.source.clone()),
            readonly: mount.readonly,
            recursive_readonly: mount.recursive_readonly,
            propagation: mount.propagation,
            idmap,
            recursive: mount.recursive,
            flags: mount.flags.clone(),
        })
    }

    fn stage(self, index: usize) -> StagedMount {
        StagedMount {
            index,
            source: self.source,
            destination: self.destination,
            readonly: self.readonly,
            recursive_readonly: self.recursive_readonly,
            propagation: self.propagation,
            idmap: self.idmap,
            recursive: self.recursive,
        }
    }
}

fn bind_of(bind: &Wanted, source: PathBuf) -> OciMount {
    let propagation = match bind.propagation {
        MountPropagation::Private => "rprivate",
        MountPropagation::HostToContainer => "rslave",
        MountPropagation::Bidirectional => "rshared",
    };
    let access = match (bind.readonly, bind.recursive_readonly) {
        (_, true) => "rro",
        (true, false) => "ro",
        (false, false) => "rw",
    };
    let mut options = vec!["rbind", propagation, access];
    options.extend(&bind.flags);
    mount(&bind.destination, "bind", source, &options)
}
