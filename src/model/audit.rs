//! What an audit finds: a thing that exists and should not, or that should and does not.
//!
//! Each layer looks at what it owns and answers in these words; who asks puts the answers together.

use std::fmt;
use std::path::PathBuf;

use super::Result;

/// The kind of a finding. Its name is part of the command line's answer: names are added, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The record store itself is damaged.
    Store,
    /// A record that cannot be read, set aside.
    Quarantine,
    /// A record that refers to what is not there.
    Record,
    /// A process of ours without an owner, or an owner without its process.
    Process,
    /// A control group without a container.
    Cgroup,
    /// A mount without an owner, or where none may be.
    Mount,
    /// A pinned namespace without an owner, or an owner without its namespace.
    Namespace,
    /// A directory or file without an owner.
    Directory,
    /// A socket nobody listens on.
    Socket,
    /// A writable layer without a container.
    Snapshot,
    /// A layer no image has, a half of one, or one that an image misses.
    Layer,
    /// A layer whose content is not what was unpacked.
    Content,
    /// A network attachment without an owner.
    Attachment,
    /// A reserved address that nothing has.
    Address,
    /// A virtual network device whose other end nobody uses.
    Link,
    /// A description of devices that cannot be used.
    Device,
}

impl Class {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Class::Store => "store",
            Class::Quarantine => "quarantine",
            Class::Record => "record",
            Class::Process => "process",
            Class::Cgroup => "cgroup",
            Class::Mount => "mount",
            Class::Namespace => "namespace",
            Class::Directory => "directory",
            Class::Socket => "socket",
            Class::Snapshot => "snapshot",
            Class::Layer => "layer",
            Class::Content => "content",
            Class::Attachment => "attachment",
            Class::Address => "address",
            Class::Link => "link",
            Class::Device => "device",
        }
    }
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Thing {
    /// A file, directory or mount point.
    Path(PathBuf),
    /// A mount point in the mount namespace of a process.
    MountOf {
        /// The process.
        pid: i32,
        /// The mount point.
        path: PathBuf,
    },
    /// A process, by its number and start time: a number reused is another process.
    Process {
        /// Its number.
        pid: i32,
        /// Its start, in clock ticks since boot.
        start_time: u64,
    },
    /// A control group, by its path from the root of each hierarchy.
    Group(String),
    /// Anything with an id or name of its own.
    Id(String),
    /// An address that a network keeps for an owner.
    Address {
        /// The network.
        network: String,
        /// The address.
        address: String,
        /// For whom, and on which interface.
        owner: (String, String),
    },
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Thing::Path(path) => write!(f, "{}", path.display()),
            Thing::MountOf { pid, path } => write!(f, "{} (as process {pid} sees it)", path.display()),
            Thing::Process { pid, .. } => write!(f, "process {pid}"),
            Thing::Group(path) | Thing::Id(path) => f.write_str(path),
            Thing::Address {
                network,
                address,
                owner,
            } => write!(f, "{address} of network {network}, for {}", owner.0),
        }
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finding {
    /// Of what kind.
    pub class: Class,
    /// What.
    pub thing: Thing,
    /// What should be instead, as a clause.
    pub expected: String,
    /// Whether repair can do something about it.
    pub repairable: bool,
}

impl Finding {
    /// A finding that repair can put right.
    pub fn repairable(class: Class, thing: Thing, expected: impl Into<String>) -> Finding {
        Finding {
            class,
            thing,
            expected: expected.into(),
            repairable: true,
        }
    }

    /// A finding that only a person, or time, can put right.
    pub fn for_a_person(class: Class, thing: Thing, expected: impl Into<String>) -> Finding {
        Finding {
            repairable: false,
            ..Finding::repairable(class, thing, expected)
        }
    }

    /// Whether another look found the same, whatever words it chose.
    pub fn is(&self, other: &Finding) -> bool {
        (self.class, &self.thing) == (other.class, &other.thing)
    }
}

/// What became of the repair of one finding.
#[derive(Debug)]
pub struct Repaired {
    /// The finding.
    pub finding: Finding,
    /// Why it could not be put right.
    pub outcome: Result<()>,
}
