//! Devices by their paths: nodes, directories of nodes, and what a container may do with them.

use std::path::Path;

use k8s_cri::v1;
use libtest_mimic::Trial;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::harness::daemon::{refused, shared};
use crate::harness::node::node;
use crate::harness::pod::Pod;
use crate::harness::trials;
use crate::userns;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_device_can_be_used_as_its_permissions_say,
        a_directory_stands_for_every_device_below_it,
        a_place_that_is_the_runtimes_own_is_refused,
        in_a_user_namespace_a_device_at_another_path_is_that_device,
    ]
}

fn device(host_path: &str, container_path: &str, permissions: &str) -> v1::Device {
    v1::Device {
        container_path: container_path.to_owned(),
        host_path: host_path.to_owned(),
        permissions: permissions.to_owned(),
    }
}

/// The numbers of a device that no container may use by itself.
fn control() -> (u64, u64) {
    let number = nix::sys::stat::stat("/dev/loop-control").unwrap().st_rdev;
    (nix::sys::stat::major(number), nix::sys::stat::minor(number))
}

async fn a_device_can_be_used_as_its_permissions_say() {
    let pod = Pod::run(shared().await, "device-permissions").await;
    let with = async |name: &str, permissions: &str| {
        let script =
            "(: </dev/x) 2>/dev/null && r=r || r=-; (: >>/dev/x) 2>/dev/null && w=w || w=-; echo $r$w";
        pod.output_with(name, script, |config| {
            config
                .devices
                .push(device("/dev/loop-control", "/dev/x", permissions));
        })
        .await
    };

    assert_eq!(with("read", "r").await, "r-\n");
    assert_eq!(with("write", "w").await, "-w\n");
    assert_eq!(with("both", "rw").await, "rw\n");
    assert_eq!(with("make", "m").await, "--\n");
    assert_eq!(with("unsaid", "").await, "rw\n");
    pod.remove().await;
}

async fn a_directory_stands_for_every_device_below_it() {
    let dir = node().directory.join(format!("devices-{}", node().number()));
    std::fs::create_dir_all(dir.join("sub")).unwrap();
    let (major, minor) = control();
    let make = |path: &Path, mode: u32, number: u64| {
        mknod(path, SFlag::S_IFCHR, Mode::from_bits_truncate(mode), number).unwrap();
    };
    make(&dir.join("control"), 0o600, makedev(major, minor));
    make(&dir.join("sub/null"), 0o644, makedev(1, 3));
    std::fs::write(dir.join("readme"), "no device").unwrap();
    std::os::unix::fs::symlink("control", dir.join("link")).unwrap();
    let pod = Pod::run(shared().await, "device-directory").await;

    let output = pod
        .output_with(
            "main",
            "cd /dev/many; find . -type c | sort; ls | sort; stat -c %a control sub/null; : <control && echo read; (: >control) 2>&1",
            |config| config.devices.push(device(dir.to_str().unwrap(), "/dev/many", "r")),
        )
        .await;

    let expected = "./control\n./sub/null\ncontrol\nsub\n600\n644\nread\n";
    assert!(output.starts_with(expected), "{output}");
    assert!(output.ends_with("Operation not permitted\n"), "{output}");
    pod.remove().await;
}

async fn a_place_that_is_the_runtimes_own_is_refused() {
    let pod = Pod::run(shared().await, "device-place").await;

    for place in ["/dev/pts/5", "/dev/shm", "/dev/../etc/x"] {
        let mut config = pod.container_config("refused", &["true"]);
        config.devices.push(device("/dev/null", place, "rw"));
        let request = pod.create_request(config);
        let refusal = refused(shared().await.runtime().create_container(request)).await;
        assert_eq!(refusal.code(), tonic::Code::InvalidArgument, "{refusal}");
        assert!(
            refusal.message().contains("devices[0].container_path"),
            "{refusal}"
        );
    }
    pod.remove().await;
}

async fn in_a_user_namespace_a_device_at_another_path_is_that_device() {
    let pod = userns::run(shared().await, "device-user").await;

    // The place is that of another device of the node's.
    let output = pod
        .output_with("main", "stat -c %t:%T /dev/kmsg", |config| {
            config.devices.push(device("/dev/loop-control", "/dev/kmsg", "r"));
        })
        .await;

    let (major, minor) = control();
    assert_eq!(output, format!("{major:x}:{minor:x}\n"));
    pod.remove().await;
}
