//! SELinux: whether it is on, the contexts that its policy has for containers, whether it knows a label, levels that keep
//! containers apart, labels of files. Which label a container gets is the caller's business.

mod context;
mod levels;
mod relabel;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{StatVfsMountFlags, fstatvfs, statfs};

pub use context::{Context, is_level, is_part};
pub use levels::Held;
pub use relabel::relabel;

use levels::Levels;

/// Where the kernel's part of it is mounted.
const ROOT: &str = "/sys/fs/selinux";
const MAGIC: u32 = 0xf97c_ff8c;
/// Contexts for containers: of the package that brings a policy for them, else of the node's policy.
const CONTEXTS: &str = "/usr/share/containers/selinux/contexts";
const POLICIES: &str = "/etc/selinux";

/// The node's SELinux, or that there is none. Clones share the levels that are in use.
#[derive(Clone, Debug, Default)]
pub struct Selinux(Option<Arc<On>>);

#[derive(Debug)]
struct On {
    root: PathBuf,
    policy: Policy,
    levels: Levels,
}

/// There is no level left.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("every level of SELinux's is in use")]
pub struct Exhausted;

/// What the policy has for containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Of processes that are confined.
    pub process: Context,
    /// Of files that they may use.
    pub files: Context,
}

impl Policy {
    /// The label of files of processes that ask for these parts of a label: role and type are the policy's.
    pub fn files_of(&self, asked: &Context) -> Context {
        self.files.with(&Context::of([&asked.user, "", "", &asked.level]))
    }
}

impl Selinux {
    /// That of this node. On, but with a policy that has nothing for containers, is as good as off.
    ///
    /// # Errors
    /// It is on, and its policy cannot be read or has nothing for containers.
    pub fn of_node() -> io::Result<Selinux> {
        if !is_on(Path::new(ROOT)) {
            return Ok(Selinux::default());
        }
        let text = contexts()?;
        let policy = policy(&text).ok_or_else(|| {
            io::Error::other(
                "its policy has no contexts for containers (lxc_contexts names no process or file)",
            )
        })?;
        Ok(Selinux::with(ROOT.into(), policy))
    }

    /// One that is on, with the kernel's part of it at `root`.
    pub fn with(root: PathBuf, policy: Policy) -> Selinux {
        Selinux(Some(Arc::new(On {
            root,
            policy,
            levels: Levels::default(),
        })))
    }

    /// What the policy has for containers; absent where it is off.
    pub fn policy(&self) -> Option<&Policy> {
        self.0.as_deref().map(|on| &on.policy)
    }

    /// Whether the policy tells containers apart by levels.
    pub fn has_levels(&self) -> bool {
        self.policy()
            .is_some_and(|policy| !policy.process.level.is_empty())
    }

    /// Asks the kernel whether the policy allows for a label. Where it is off any label will do.
    ///
    /// # Errors
    /// `InvalidInput`: it does not.
    pub fn check(&self, label: &Context) -> io::Result<()> {
        match &self.0 {
            Some(on) => std::fs::write(on.root.join("context"), label.to_string()),
            None => Ok(()),
        }
    }

    /// Picks a level that nobody has, for as long as the answer lives; none where it is off, or when all are taken.
    pub fn pick(&self) -> Option<Held> {
        self.0.as_ref()?.levels.pick()
    }

    /// Keeps a level, if there is one, from being picked for as long as the answer lives. Others may hold it as well.
    pub fn hold(&self, level: &str) -> Option<Held> {
        let on = self.0.as_ref().filter(|_| !level.is_empty())?;
        Some(on.levels.hold(level))
    }

    /// Gives who asks for no level one of its own, where there are any, and holds what was asked for else.
    ///
    /// # Errors
    /// All are taken.
    pub fn give(&self, level: &mut String) -> Result<Option<Held>, Exhausted> {
        if !self.has_levels() {
            return Ok(None);
        }
        if level.is_empty() {
            let picked = self.pick().ok_or(Exhausted)?;
            *level = picked.to_string();
            return Ok(Some(picked));
        }
        Ok(self.hold(level))
    }
}

/// Mounted, writable, and with a policy: without one everything is "kernel".
fn is_on(root: &Path) -> bool {
    // The type's width is the platform's; the magic is 32 bits.
    let mounted = statfs(root).is_ok_and(|found| found.f_type as u32 == MAGIC);
    let writable = std::fs::File::open(root)
        .and_then(|dir| Ok(fstatvfs(dir)?))
        .is_ok_and(|found| !found.f_flag.contains(StatVfsMountFlags::RDONLY));
    let own = std::fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    mounted && writable && own.trim_end_matches(['\0', '\n']) != "kernel"
}

fn contexts() -> io::Result<String> {
    match std::fs::read_to_string(CONTEXTS) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let config = std::fs::read_to_string(Path::new(POLICIES).join("config"))?;
    let name = value(&config, "SELINUXTYPE").unwrap_or_default();
    std::fs::read_to_string(Path::new(POLICIES).join(name).join("contexts/lxc_contexts"))
}

fn policy(text: &str) -> Option<Policy> {
    Some(Policy {
        process: value(text, "process")?.parse().ok()?,
        files: value(text, "file")?.parse().ok()?,
    })
}

/// A value of a file of lines `key = "value"`, quoted or not.
fn value<'a>(text: &'a str, wanted: &str) -> Option<&'a str> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']));
    let mut pairs = lines.filter_map(|line| line.split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.trim() == wanted)?;
    Some(value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_of_a_policy_are_read_whatever_is_around_them() {
        let text = "# process = \"a:b:c\"\n\nprocess = \"system_u:system_r:container_t:s0\"\ncontent=x\n\
                    file=system_u:object_r:container_file_t:s0\n";

        let found = policy(text).unwrap();

        assert_eq!(found.process.to_string(), "system_u:system_r:container_t:s0");
        assert_eq!(found.files.to_string(), "system_u:object_r:container_file_t:s0");
        assert_eq!(policy("process = \"system_u:system_r:container_t:s0\"\n"), None);
        assert_eq!(policy("process = odd\nfile = odd\n"), None);
    }

    #[test]
    fn a_node_without_it_picks_nothing_and_refuses_nothing() {
        let off = Selinux::default();

        assert!(off.policy().is_none() && off.pick().is_none() && off.hold("s0:c1,c2").is_none());
        off.check(&"a:b:c:s0".parse().unwrap()).unwrap();
    }

    #[test]
    fn a_directory_that_is_none_of_the_kernels_is_not_it() {
        let dir = tempfile::tempdir().unwrap();

        assert!(!is_on(dir.path()) && !is_on(&dir.path().join("missing")));
    }
}
