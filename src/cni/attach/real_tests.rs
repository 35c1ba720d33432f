//! Tests with real plugins, in network namespaces of their own: bridge, host-local and portmap, dual stack. They need
//! root, and skip with a line that says why where something is missing.

use std::collections::HashSet;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use serde_json::json;

use super::*;
use crate::cni::{Capabilities, PortMapping, Protocol, Settings};

/// A namespace in the place of the machine's for this thread, and back at the end: the plugins it starts make their
/// bridges and rules there.
struct OwnNamespace {
    outside: File,
}

impl OwnNamespace {
    fn enter() -> Option<Self> {
        let outside = current();
        unshare(CloneFlags::CLONE_NEWNET).ok()?;
        Some(Self { outside })
    }
}

impl Drop for OwnNamespace {
    fn drop(&mut self) {
        setns(&self.outside, CloneFlags::CLONE_NEWNET).unwrap();
    }
}

fn current() -> File {
    File::open("/proc/thread-self/ns/net").unwrap()
}

/// Makes a namespace that lives as long as the file, and the path plugins find it by.
fn namespace() -> (File, PathBuf) {
    let host = current();
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let made = current();
    setns(&host, CloneFlags::CLONE_NEWNET).unwrap();
    let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), made.as_raw_fd()));
    (made, path)
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn settings(root: &Path, plugins: &Path, version: &str) -> Settings {
    let text = json!({"cniVersion": version, "name": "real", "plugins": [
        {"type": "bridge", "bridge": "br-own", "isGateway": true, "ipMasq": true, "ipam": {
            "type": "host-local", "dataDir": root.join("addresses"), "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
            "ranges": [[{"subnet": "fd77::/64"}], [{"subnet": "10.77.0.0/24"}]]}},
        {"type": "portmap", "capabilities": {"portMappings": true}}]});
    std::fs::create_dir(root.join("conf")).unwrap();
    std::fs::write(root.join("conf/10.conflist"), text.to_string()).unwrap();
    Settings {
        conf_dir: root.join("conf"),
        further_conf_dirs: Default::default(),
        plugin_dirs: vec![plugins.to_owned()],
        cache_dir: root.join("cache"),
        template: None,
        deadline: Duration::from_secs(60),
    }
}

/// Attaches two namespaces and removes them, one of them gone by then; looks at each step at what the kernel has.
async fn attach_and_detach(plugins: &Path, version: &str) {
    let Some(_own) = OwnNamespace::enter() else {
        println!("skipped: no network namespace can be made");
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let (network, _keeper) = Network::open(settings(root.path(), plugins, version))
        .await
        .unwrap();
    let mapping = PortMapping {
        host_port: 8080,
        container_port: 80,
        protocol: Protocol::Tcp,
        host_ip: None,
    };
    let capabilities = Capabilities {
        port_mappings: vec![mapping],
        ..Capabilities::default()
    };
    let request = |id: &str, netns: PathBuf, capabilities: Capabilities| AddRequest {
        attachment: Attachment::new(id, "eth0").unwrap(),
        netns,
        args: vec![
            ("IgnoreUnknown".to_owned(), "1".to_owned()),
            ("OTHER_NAME".to_owned(), "a".to_owned()),
        ],
        capabilities,
    };
    let (_first_file, first_path) = namespace();
    let (second_file, second_path) = namespace();
    let first = request("first", first_path.clone(), capabilities);
    let second = request("second", second_path.clone(), Capabilities::default());

    let first_result = network.add(&first).await.unwrap();
    let second_result = network.add(&second).await.unwrap();

    let addresses = first_result.addresses("eth0");
    assert_eq!(
        addresses.iter().map(IpAddr::is_ipv4).collect::<Vec<_>>(),
        [true, false]
    );
    assert_ne!(second_result.addresses("eth0"), addresses);
    assert!(output("ip", &["-br", "link"]).contains("br-own"));
    let rules = output("iptables", &["-t", "nat", "-S"]);
    assert!(
        rules.contains(&format!("--to-destination {}:80", addresses[0])),
        "{rules}"
    );

    drop(second_file);
    network
        .del(&DelRequest {
            attachment: second.attachment,
            netns: Some(second_path),
        })
        .await
        .unwrap();
    network
        .del(&DelRequest {
            attachment: first.attachment,
            netns: Some(first_path),
        })
        .await
        .unwrap();

    let rules = output("iptables", &["-t", "nat", "-S"]);
    assert!(!rules.contains("--to-destination"), "{rules}");
    let links = output("ip", &["-br", "link"]);
    assert!(!links.contains("veth"), "{links}");
    let reserved = std::fs::read_dir(root.path().join("addresses/real")).unwrap();
    let reserved: Vec<_> = reserved.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        reserved
            .iter()
            .all(|name| name.to_string_lossy().starts_with("l")),
        "{reserved:?}"
    );
}

#[tokio::test]
async fn the_distributions_plugins_attach_and_detach() {
    let plugins = Path::new("/usr/lib/cni");
    if !plugins.join("bridge").exists() {
        println!("skipped: {} has no plugins", plugins.display());
        return;
    }
    for version in ["0.4.0", "1.0.0"] {
        attach_and_detach(plugins, version).await;
    }
}

#[tokio::test]
async fn the_newest_plugins_attach_detach_check_and_collect() {
    let Some(plugins) = std::env::var_os("CORACLE_CNI_BIN").map(PathBuf::from) else {
        println!("skipped: CORACLE_CNI_BIN names no directory of plugins");
        return;
    };
    attach_and_detach(&plugins, "1.1.0").await;
    let _own = OwnNamespace::enter().unwrap();
    let root = tempfile::tempdir().unwrap();
    let (network, _keeper) = Network::open(settings(root.path(), &plugins, "1.1.0"))
        .await
        .unwrap();
    let ready = async {
        network
            .subscribe()
            .wait_for(|status| status.is_ready())
            .await
            .map(drop)
    };
    let (_file, path) = namespace();
    let left = Attachment::new("left", "eth0").unwrap();
    let capabilities = Capabilities::default();
    let request = AddRequest {
        attachment: left,
        netns: path,
        args: Vec::new(),
        capabilities,
    };
    tokio::time::timeout(Duration::from_secs(30), ready)
        .await
        .unwrap()
        .unwrap();
    network.add(&request).await.unwrap();

    network.check(&request.attachment, &request.netns).await.unwrap();
    output("ip", &["link", "del", "br-own"]);
    network
        .check(&request.attachment, &request.netns)
        .await
        .unwrap_err();
    network
        .del(&DelRequest {
            attachment: request.attachment,
            netns: Some(request.netns),
        })
        .await
        .unwrap();
    network.gc(HashSet::new).await.unwrap();

    assert!(network.attachments().await.unwrap().is_empty());
    assert!(!output("ip", &["-br", "link"]).contains("veth"));
}
