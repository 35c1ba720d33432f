//! The mounts of a container before libcontainer sees them: in the worker's own mount namespace, which dies with it.
//!
//! The container's mount namespace, a copy, is then the only holder of the overlay and the staged trees: the host never
//! sees them, nothing is unmounted at delete, and no volume is kept busy.

use crate::monitor::process::failure;
use crate::monitor::protocol::{
    CreateRequest, Failure, FailureKind, ImageTree, Propagation, ReadOnly, StagedTree,
};
use crate::sys::mount::{self, Attributes};
use crate::sys::namespace::{self, Kinds};
use crate::sys::step;
use rustix::fs::{FileType, fstat};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Leaves for a new mount namespace, attaches the trees and mounts the overlay.
pub(super) fn prepare(request: &CreateRequest, lean: &OwnedFd, trees: Vec<OwnedFd>) -> Result<(), Failure> {
    step("worker.mounts");
    let leave = || {
        namespace::enter_one(lean)?;
        namespace::leave(Kinds::CLONE_NEWNS)?;
        mount::make_all_private()
    };
    leave().map_err(failure::at("new mount namespace"))?;
    if let Some(staging) = &request.staging {
        // Closed to listing, open to the mapped root of a user namespace, which opens the sources.
        mount::tmpfs(staging, "size=1m,mode=0711").map_err(failure::at("mount the staging directory"))?;
        let mut given = trees.into_iter();
        for (number, wanted) in request.trees.iter().enumerate() {
            let target = staging.join(number.to_string());
            let tree = match &wanted.image {
                Some(image) => image_tree(image, &staging.join("image")),
                None => given
                    .next()
                    .ok_or_else(|| io::Error::other("its descriptor is missing")),
            };
            tree.and_then(|tree| attach(tree, wanted, &target))
                .map_err(failure::at(&format!("attach staged mount {number}")))?;
        }
    } else if !trees.is_empty() {
        return Err(failure::of(
            FailureKind::Invalid,
            "mount trees without a staging directory",
        ));
    }
    if let Some(overlay) = &request.rootfs {
        let writable = overlay.upper.as_deref().zip(overlay.work.as_deref());
        step("worker.overlay");
        mount::overlay(&overlay.lower, writable, &overlay.options, &overlay.target)
            .map_err(failure::at("mount the root file system"))?;
        own_places(&overlay.target)?;
    }
    Ok(())
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

/// The files of an image as a detached tree. Its overlay has no place of its own: `at` serves while it is made.
fn image_tree(image: &ImageTree, at: &Path) -> io::Result<OwnedFd> {
    std::fs::create_dir(at)?;
    mount::overlay(&image.lower, None, &[], at)?;
    let tree = mount::clone_beneath(at, Path::new(&image.sub_path));
    mount::detach(at)?;
    std::fs::remove_dir(at)?;
    tree
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
