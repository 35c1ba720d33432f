//! The mounts of a container before libcontainer sees them: in the worker's own mount namespace, which dies with it.
//!
//! The container's mount namespace, a copy, is then the only holder of the overlay and the staged trees: the host never
//! sees them, nothing is unmounted at delete, and no volume is kept busy.

use crate::monitor::process::failure;
use crate::monitor::protocol::{
    CgroupTree, CreateRequest, Failure, FailureKind, ImageTree, Propagation, ReadOnly, StagedTree,
};
use crate::sys::mount::{self, Attributes};
use crate::sys::namespace::{self, Kinds};
use crate::sys::step;
use rustix::fs::{FileType, fstat};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where idmapped layers are mounted while an overlay is made of them.
const LAYERS: &str = "layers";

/// Leaves for a new mount namespace, attaches the trees and mounts the overlay. `user` is the namespace to idmap by.
pub(super) fn prepare(
    request: &CreateRequest,
    lean: &OwnedFd,
    trees: Vec<OwnedFd>,
    user: Option<&OwnedFd>,
) -> Result<(), Failure> {
    step("worker.mounts");
    let leave = || {
        if !request.host_mounts {
            namespace::enter_one(lean)?;
        }
        namespace::leave(Kinds::CLONE_NEWNS)?;
        mount::make_all_private()
    };
    leave().map_err(failure::at("new mount namespace"))?;
    if let Some(staging) = &request.staging {
        // Closed to listing, open to the mapped root of a user namespace, which opens the sources.
        mount::tmpfs(staging, "size=1m,mode=0711").map_err(failure::at("mount the staging directory"))?;
        stage(request, staging, trees, user)?;
    } else if !trees.is_empty() || user.is_some() {
        return Err(failure::of(
            FailureKind::Invalid,
            "mount trees without a staging directory",
        ));
    }
    if let Some(overlay) = &request.rootfs {
        let writable = overlay.upper.as_deref().zip(overlay.work.as_deref());
        step("worker.overlay");
        let mount = || {
            // Below the staging directory nothing is there yet.
            std::fs::create_dir_all(&overlay.target)?;
            let passing = user.zip(request.staging.as_deref());
            let lower = passing.map(|(user, staging)| idmapped_layers(&overlay.lower, staging, user));
            let lower = lower.transpose()?.unwrap_or_else(|| overlay.lower.clone());
            mount::overlay(&lower, writable, &overlay.options, &overlay.target)?;
            passing.map_or(Ok(()), |(_, staging)| drop_layers(&lower, staging))
        };
        mount().map_err(failure::at("mount the root file system"))?;
        own_places(&overlay.target)?;
    }
    Ok(())
}

/// Attaches the trees below the staging directory, by their numbers.
fn stage(
    request: &CreateRequest,
    staging: &Path,
    trees: Vec<OwnedFd>,
    user: Option<&OwnedFd>,
) -> Result<(), Failure> {
    let mut given = trees.into_iter();
    for (number, wanted) in request.trees.iter().enumerate() {
        let what = match wanted.name.as_str() {
            "" => format!("attach staged mount {number}"),
            name => format!("mount {name}"),
        };
        let tree = match (&wanted.image, &wanted.cgroups) {
            (Some(image), _) => image_tree(image, staging, user),
            (None, Some(cgroups)) => cgroup_tree(cgroups, staging),
            (None, None) => given
                .next()
                .ok_or_else(|| io::Error::other("its descriptor is missing")),
        };
        let tree = tree.map_err(failure::at(&what))?;
        if wanted.idmap && wanted.image.is_none() {
            let user = user.ok_or_else(|| failure::of(FailureKind::Invalid, "no namespace to idmap by"))?;
            idmap(&tree, user).map_err(|e| failure::of(FailureKind::Invalid, format!("{what}: {e}")))?;
        }
        attach(tree, wanted, &staging.join(number.to_string())).map_err(failure::at(&what))?;
    }
    Ok(())
}

/// Shows the owners of a tree's files as a user namespace knows them.
fn idmap(tree: &OwnedFd, user: &OwnedFd) -> io::Result<()> {
    mount::idmap(tree, user).map_err(|e| {
        let text = format!("it, or a mount below it, is of a file system that cannot be idmapped: {e}");
        io::Error::new(e.kind(), text)
    })
}

/// Mounts layers, idmapped each, in passing: overlay itself cannot be idmapped, and takes its layers by their paths.
fn idmapped_layers(lower: &[PathBuf], staging: &Path, user: &OwnedFd) -> io::Result<Vec<PathBuf>> {
    let layers = staging.join(LAYERS);
    std::fs::create_dir(&layers)?;
    let one = |(number, layer): (usize, &PathBuf)| {
        let (tree, target) = (mount::clone_mount(layer)?, layers.join(number.to_string()));
        idmap(&tree, user)?;
        std::fs::create_dir(&target)?;
        mount::attach(&tree, &target)?;
        Ok(target)
    };
    lower.iter().enumerate().map(one).collect()
}

/// Undoes [`idmapped_layers`] once the overlay holds copies of its own.
fn drop_layers(mounted: &[PathBuf], staging: &Path) -> io::Result<()> {
    mounted.iter().try_for_each(|layer| mount::detach(layer))?;
    std::fs::remove_dir_all(staging.join(LAYERS))
}

/// Refuses a root whose `/dev`, `/proc` or `/sys` is anything but a directory. libcontainer makes links and nodes in
/// `/dev` by path before it changes the root: a link there would be followed on the host.
fn own_places(root: &Path) -> Result<(), Failure> {
    for place in ["dev", "proc", "sys"] {
        match std::fs::symlink_metadata(root.join(place)) {
            Ok(found) if !found.is_dir() => {
                let text = format!("/{place} of the image is not a directory");
                return Err(failure::of(FailureKind::Invalid, text));
            }
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(failure::at(&format!("look at /{place} of the image"))(e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A detached copy of what is mounted meanwhile at a place of its own below the staging directory.
fn in_passing(staging: &Path, make: impl FnOnce(&Path) -> io::Result<OwnedFd>) -> io::Result<OwnedFd> {
    let at = staging.join("tree");
    std::fs::create_dir(&at)?;
    let tree = make(&at);
    mount::detach_if_mounted(&at)?;
    std::fs::remove_dir(&at)?;
    tree
}

/// The files of an image as a detached tree.
fn image_tree(image: &ImageTree, staging: &Path, user: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    let lower = user.map(|user| idmapped_layers(&image.lower, staging, user));
    let lower = lower.transpose()?;
    in_passing(staging, |at| {
        let layers = lower.as_ref().unwrap_or(&image.lower);
        mount::overlay(layers, None, &image.options, at)?;
        if let Some(lower) = &lower {
            drop_layers(lower, staging)?;
        }
        mount::clone_beneath(at, Path::new(&image.sub_path))
    })
}

/// Directories of cgroups below a new one, as a detached tree.
fn cgroup_tree(cgroups: &CgroupTree, staging: &Path) -> io::Result<OwnedFd> {
    in_passing(staging, |at| {
        let options = ["size=64k,mode=755"]
            .into_iter()
            .chain(cgroups.options.iter().map(String::as_str));
        mount::tmpfs(at, &options.collect::<Vec<_>>().join(","))?;
        for (name, directory) in &cgroups.directories {
            let (target, own) = (at.join(name), mount::clone_mount(directory)?);
            std::fs::create_dir(&target)?;
            let attributes = Attributes {
                read_only: !cgroups.writable,
                inert: true,
                ..Attributes::default()
            };
            mount::set_attributes(&own, attributes)?;
            mount::attach(&own, &target)?;
        }
        mount::clone_tree(at)
    })
}

fn attach(tree: OwnedFd, wanted: &StagedTree, target: &Path) -> io::Result<()> {
    match FileType::from_raw_mode(fstat(&tree)?.st_mode) {
        FileType::Directory => std::fs::create_dir(target)?,
        _ => drop(std::fs::File::create(target)?),
    }
    let propagation = match wanted.propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Slave => libc::MS_SLAVE,
        // The tree is a copy in its origin's peer group already; a private origin has none to share with.
        Propagation::Shared => 0,
    };
    let all = Attributes {
        propagation,
        recursive: true,
        ..Attributes::default()
    };
    let recursive = wanted.read_only == ReadOnly::Recursive;
    mount::set_attributes(
        &tree,
        Attributes {
            read_only: recursive,
            ..all
        },
    )?;
    if wanted.read_only == ReadOnly::Yes {
        mount::set_attributes(
            &tree,
            Attributes {
                read_only: true,
                ..Attributes::default()
            },
        )?;
    }
    mount::attach(&tree, target)
}
