//! The node: one disk, one network, CNI plugins, and names for what the daemons on it use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The node's own address, on a bridge: what host ports are bound to.
pub(crate) const NODE_IP: &str = "10.99.0.1";

static NODE: OnceLock<Node> = OnceLock::new();

/// The machine that the tests run on, as far as it is theirs.
#[derive(Debug)]
pub(crate) struct Node {
    /// Directory of logs, configuration and the disk's image.
    pub(crate) directory: PathBuf,
    /// A file system of its own, ext4 where the machine has loop devices.
    pub(crate) disk: PathBuf,
    /// On tmpfs. Its path is short, as those of sockets must be.
    pub(crate) run: PathBuf,
    next: AtomicU32,
}

/// The node that [`Node::build`] made.
pub(crate) fn node() -> &'static Node {
    NODE.get().expect("the node is built before the first test")
}

impl Node {
    /// Builds the node, in the namespaces of this process.
    pub(crate) fn build(directory: PathBuf) {
        leave_own_cgroups();
        let node = Node {
            disk: directory.join("disk"),
            run: "/run".into(),
            next: AtomicU32::new(0),
            directory,
        };
        node.mount_disk();
        shell("mount -t tmpfs -o mode=755 run /run");
        node.bring_up_network();
        let state = node.directory.join("cni/state");
        write_cni_config(&node.cni_conf(), ("e2e", "cni0"), "10.88.0.0/16", &state);
        NODE.set(node).expect("the node is built once");
    }

    /// Comes to a node that is there, with a runtime that is not ours.
    pub(crate) fn visit(directory: PathBuf) {
        let node = Node {
            disk: directory.join("disk"),
            run: directory.join("run"),
            next: AtomicU32::new(0),
            directory,
        };
        node.mount_disk();
        // As those of nodes are: mounts of the tests have to reach what is mounted for containers already.
        shell(&format!("mount --make-rshared {}", node.disk.display()));
        NODE.set(node).expect("the node is visited once");
    }

    /// A number no one else on the node has.
    pub(crate) fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Parent of the cgroups of all that the daemons here start.
    pub(crate) fn cgroup_parent(&self) -> String {
        cgroup_parent(&self.directory)
    }

    /// Directory of the node's network configuration.
    pub(crate) fn cni_conf(&self) -> PathBuf {
        self.directory.join("cni/conf")
    }

    /// Directory of the configuration of a network of one daemon's own.
    pub(crate) fn network_conf(&self, network: &str) -> PathBuf {
        self.directory.join("cni").join(format!("{network}.d"))
    }

    /// Where the addresses of a network that are given out are kept.
    pub(crate) fn addresses(&self, network: &str) -> PathBuf {
        super::endpoint::ours("reads what the plugins keep");
        self.directory.join("cni/state").join(network)
    }

    /// Configures a network of one daemon's own.
    pub(crate) fn write_network(&self, network: &str, bridge: &str) {
        let subnet = format!("10.{}.{}.0/24", 100 + self.number() / 256, self.number() % 256);
        write_cni_config(
            &self.network_conf(network),
            (network, bridge),
            &subnet,
            &self.directory.join("cni/state"),
        );
    }

    fn mount_disk(&self) {
        fs::create_dir_all(&self.disk).unwrap();
        let (image, disk) = (self.directory.join("disk.img"), &self.disk);
        let loop_device = format!(
            "truncate -s 4G {image} && mke2fs -q -t ext4 -E lazy_itable_init=1 {image} && mount -o loop,noatime {image} {disk}",
            image = image.display(),
            disk = disk.display(),
        );
        if !run(&loop_device) {
            eprintln!("no loop device: state lies on tmpfs instead of ext4");
            shell(&format!("mount -t tmpfs -o size=4G disk {}", disk.display()));
        }
    }

    fn bring_up_network(&self) {
        shell(&format!(
            "ip link set lo up && ip link add node0 type bridge && ip addr add {NODE_IP}/24 dev node0 && \
             ip link set node0 up && ip route add default via 10.99.0.254 && \
             echo 1 >/proc/sys/net/ipv4/ip_forward"
        ));
    }
}

/// Writes the configuration of a network: name and bridge, range of addresses, and where those given out are kept.
fn write_cni_config(dir: &Path, (name, bridge): (&str, &str), subnet: &str, state: &Path) {
    fs::create_dir_all(dir).unwrap();
    let config = serde_json::json!({
        "cniVersion": "1.0.0", "name": name, "plugins": [
            {"type": "bridge", "bridge": bridge, "isGateway": true, "ipMasq": true, "hairpinMode": true,
             "ipam": {"type": "host-local", "dataDir": state,
                      "ranges": [[{"subnet": subnet}]], "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ]
    });
    fs::write(dir.join("10-e2e.conflist"), config.to_string()).unwrap();
}

/// Directory of CNI plugins: the one that the environment names, else the newest that was built for the tests, else
/// Debian's.
pub(crate) fn cni_plugins() -> PathBuf {
    if let Some(given) = std::env::var_os("CORACLE_CNI_BIN") {
        return given.into();
    }
    let built = cached("tools", "cni-plugins-");
    built.unwrap_or_else(|| "/usr/lib/cni".into())
}

/// A directory of the tests' cache, by the beginning of its name.
pub(crate) fn cached(kind: &str, prefix: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("CORACLE_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/coracle")))?;
    let entries = fs::read_dir(cache.join(kind)).ok()?.flatten();
    let named = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    };
    entries.map(|entry| entry.path()).filter(named).max()
}

/// Cgroup parent of the run in `directory`.
pub(crate) fn cgroup_parent(directory: &Path) -> String {
    format!("/{}", directory.file_name().unwrap().to_string_lossy())
}

/// Whether processes are in `parent` or below, in any hierarchy.
pub(crate) fn is_busy(parent: &str) -> bool {
    let groups = hierarchies()
        .into_iter()
        .flat_map(|root| cgroups_below(&root.join(parent.trim_start_matches('/'))));
    let mut processes =
        groups.map(|group| fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default());
    processes.any(|processes| !processes.is_empty())
}

/// Removes `parent` from every hierarchy, the deepest first. Nothing runs there any more.
pub(crate) fn remove_cgroups(parent: &str) {
    for hierarchy in hierarchies() {
        for cgroup in cgroups_below(&hierarchy.join(parent.trim_start_matches('/')))
            .iter()
            .rev()
        {
            // What is busy for a moment longer shows in the next line of the caller's log.
            if let Err(error) = fs::remove_dir(cgroup) {
                eprintln!("cgroup {} stays: {error}", cgroup.display());
            }
        }
    }
}

/// Takes down what is mounted below a directory, the last first.
pub(crate) fn unmount_below(directory: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let mut points: Vec<&str> = points
        .filter(|point| Path::new(point).starts_with(directory))
        .collect();
    points.reverse();
    for point in points {
        if let Err(error) = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH) {
            eprintln!("{point} stays mounted: {error}");
        }
    }
}

/// How many descriptors a process has.
pub(crate) fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// The roots of all mounted cgroup hierarchies.
pub(crate) fn hierarchies() -> Vec<PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    if root.join("cgroup.procs").exists() {
        return vec![root];
    }
    let entries = fs::read_dir(&root).unwrap().flatten().map(|entry| entry.path());
    entries
        .filter(|path| path.join("cgroup.procs").exists())
        .collect()
}

/// `top` and all cgroups below it, parents first; nothing when it does not exist.
pub(crate) fn cgroups_below(top: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(top) else {
        return Vec::new();
    };
    let mut found = vec![top.to_owned()];
    let directories = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir());
    found.extend(directories.flat_map(|path| cgroups_below(&path)));
    found
}

/// The shell that started the tests may sit in a different cgroup in each hierarchy; a node's processes do not.
fn leave_own_cgroups() {
    for hierarchy in hierarchies() {
        if let Err(error) = fs::write(hierarchy.join("cgroup.procs"), "0") {
            eprintln!("cannot move to the root of {}: {error}", hierarchy.display());
        }
    }
}

/// Runs a shell command that must succeed.
pub(crate) fn shell(command: &str) {
    assert!(run(command), "failed: {command}");
}

fn run(command: &str) -> bool {
    Command::new("sh")
        .args(["-c", command])
        .status()
        .unwrap()
        .success()
}
