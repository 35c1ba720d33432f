//! Whether this machine can have containers in user namespaces: found out once, by trying.
//!
//! A version says nothing of what a distribution has taken out or put in. Mounts are tried where nobody sees them, with a
//! user namespace that is gone afterwards.

use crate::sys::mount;
use crate::sys::namespace;
use crate::sys::zygote::{IdMapping, PinRequest, UserPin, Zygote};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Any range does; nothing is ever owned by it.
const TRIAL: IdMapping = IdMapping {
    inside: 0,
    outside: 65_536,
    size: 65_536,
};

/// What user namespaces depend on.
#[derive(Clone, Debug)]
pub struct Places {
    /// Where layers lie: an overlay is made of idmapped ones.
    pub layers: PathBuf,
    /// Where create workers mount: whoever is root in a user namespace must pass the directories above. A namespace is
    /// pinned in it meanwhile.
    pub mounts: PathBuf,
}

/// Says why there can be no user namespaces, if there cannot. Blocks for some milliseconds.
pub fn probe(zygote: &Zygote, places: &Places) -> Result<(), String> {
    if let Some(closed) = closed_to_others(&places.mounts) {
        return Err(format!("{} is closed to others", closed.display()));
    }
    let user = trial_namespace(zygote, &places.mounts.join(".trial"))
        .map_err(|why| format!("the kernel makes no user namespace: {why}"))?;
    let memory = mount::detached("tmpfs").and_then(|tree| mount::idmap(&tree, &user));
    memory.map_err(|e| format!("the kernel cannot idmap tmpfs, as it can since 6.3: {e}"))?;
    let layers = mount::clone_mount(&places.layers).and_then(|tree| mount::idmap(&tree, &user));
    layers.map_err(|e| {
        let place = places.layers.display();
        format!("the file system of {place} cannot be idmapped: {e}")
    })
}

fn trial_namespace(zygote: &Zygote, pin: &Path) -> Result<OwnedFd, String> {
    let user = UserPin {
        path: pin.to_owned(),
        uid_mappings: vec![TRIAL],
        gid_mappings: vec![TRIAL],
    };
    let request = PinRequest {
        user: Some(user),
        ..PinRequest::default()
    };
    zygote.pin(request).map_err(|e| e.to_string())?;
    let open = namespace::open(pin);
    // A daemon that dies before this leaves a pin, which the next one's trial replaces.
    namespace::unpin(pin).map_err(|e| e.to_string())?;
    open.map_err(|e| e.to_string())
}

/// The first directory on the way to a path, itself included, that others cannot pass.
fn closed_to_others(path: &Path) -> Option<PathBuf> {
    let path = std::fs::canonicalize(path).ok()?;
    let mut on_the_way: Vec<&Path> = path.ancestors().collect();
    on_the_way.reverse();
    let closed = |path: &&Path| {
        let mode = std::fs::metadata(path).map(|facts| facts.permissions().mode());
        mode.is_ok_and(|mode| mode & 0o001 == 0)
    };
    on_the_way.into_iter().find(closed).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_others_cannot_pass_is_named() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        let set = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(root.path(), mode).unwrap();
        };

        set(0o700);
        let real = std::fs::canonicalize(root.path()).unwrap();
        assert_eq!(closed_to_others(&inner), Some(real));
        set(0o711);
        assert_eq!(closed_to_others(&inner), None);
    }
}
