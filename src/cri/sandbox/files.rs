//! The files a sandbox's containers find in `/etc`, and the mounts that bring them there.

use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::model::{Error, Mount, Result};
use crate::sys::step;

use super::record::{Config, Dns, Mappings, Mode, Modes};

/// The files by name, with their places in a container.
const FILES: [(&str, &str); 3] = [
    ("hostname", "/etc/hostname"),
    ("hosts", "/etc/hosts"),
    ("resolv.conf", "/etc/resolv.conf"),
];

/// Names that every node has (hosts(5)).
const HOSTS: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// The node's name, for sandboxes that have none of their own.
pub(super) fn node_name() -> String {
    nix::unistd::gethostname()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_else(|_| "localhost".to_owned())
}

/// The name of a sandbox's containers: its own, or else the node's.
pub(in crate::cri) fn hostname(config: &Config) -> String {
    match config.namespaces.network == Mode::Node || config.hostname.is_empty() {
        true => node_name(),
        false => config.hostname.clone(),
    }
}

/// Writes a sandbox's files into its directory.
pub(super) fn write(dir: &Path, config: &Config, ips: &[IpAddr]) -> Result<()> {
    let on_host = config.namespaces.network == Mode::Node;
    let hostname = hostname(config);
    let hosts = match on_host {
        true => read_host("/etc/hosts")?,
        false => hosts(&hostname, ips),
    };
    let resolver = match config.dns.as_ref().filter(|dns| **dns != Dns::default()) {
        Some(dns) => resolv_conf(dns),
        None => read_host("/etc/resolv.conf")?,
    };
    let owner = config.namespaces.user.map(Mappings::root);
    let texts = [format!("{hostname}\n"), hosts, resolver];
    for ((name, _), text) in FILES.iter().zip(texts) {
        let path = dir.join(name);
        step("adapter.run.file");
        write_readable(&path, &text, owner)
            .map_err(|error| Error::internal(format!("cannot write {}", path.display())).because(error))?;
    }
    Ok(())
}

/// Writes a file that every user of a container can read, whatever the daemon's umask, and its root can write.
fn write_readable(path: &Path, text: &str, owner: Option<(u32, u32)>) -> io::Result<()> {
    std::fs::write(path, text)?;
    if let Some((uid, gid)) = owner {
        chown(path, Some(uid), Some(gid))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

/// Reads a file of the node; a node without it has nothing to say.
fn read_host(path: &str) -> Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::internal(format!("cannot read {path}")).because(error)),
    }
}

fn hosts(hostname: &str, ips: &[IpAddr]) -> String {
    let mut text = HOSTS.to_owned();
    for ip in ips {
        text.push_str(&format!("{ip}\t{hostname}\n"));
    }
    text
}

fn resolv_conf(dns: &Dns) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    text
}

/// The mounts a container gets beside those it asked for, less those whose place a mount of its own takes.
pub(in crate::cri) fn mounts(dir: &Path, modes: Modes, readonly: bool, taken: &[Mount]) -> Vec<Mount> {
    let free = |place: &str| {
        let place = Path::new(place);
        !taken
            .iter()
            .any(|mount| Path::new(&mount.container_path) == place)
    };
    let shm: PathBuf = match modes.ipc {
        Mode::Pod => dir.join("shm"),
        Mode::Node => PathBuf::from("/dev/shm"),
    };
    let mount = |host: PathBuf, place: &str, readonly| Mount {
        container_path: place.to_owned(),
        readonly,
        // Without a label of theirs containers could not use them. The host's is for all.
        selinux_relabel: host.starts_with(dir),
        host_path: host.to_string_lossy().into_owned(),
        ..Mount::default()
    };
    let files = FILES
        .iter()
        .map(|(name, place)| mount(dir.join(name), place, readonly));
    files
        .chain([mount(shm, "/dev/shm", false)])
        .filter(|mount| free(&mount.container_path))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolver_settings_are_written_as_the_resolver_reads_them() {
        let dns = Dns {
            servers: vec!["10.10.10.10".into(), "::1".into()],
            searches: vec!["a.example".into(), "b.example".into()],
            options: vec!["ndots:8".into()],
        };

        assert_eq!(
            resolv_conf(&dns),
            "search a.example b.example\nnameserver 10.10.10.10\nnameserver ::1\noptions ndots:8\n"
        );
    }

    #[test]
    fn a_mount_of_the_containers_own_takes_the_place_of_ours() {
        let taken = [Mount {
            container_path: "/etc/hosts/".into(),
            host_path: "/x".into(),
            ..Mount::default()
        }];
        let modes = Modes {
            network: Mode::Pod,
            ipc: Mode::Node,
            pid: crate::cri::sandbox::record::PidMode::Pod,
            user: None,
        };

        let mounts = mounts(Path::new("/run/s"), modes, true, &taken);

        let places: Vec<_> = mounts
            .iter()
            .map(|m| (m.host_path.as_str(), m.container_path.as_str(), m.readonly))
            .collect();
        assert_eq!(
            places,
            [
                ("/run/s/hostname", "/etc/hostname", true),
                ("/run/s/resolv.conf", "/etc/resolv.conf", true),
                ("/dev/shm", "/dev/shm", false),
            ]
        );
    }
}
