//! What such a pod sees of the node's files: owners as on the node where the mount is mapped, nobody's where it is not.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;

use coracle::cri::wire::v1 as ours;
use k8s_cri::v1;
use libtest_mimic::Trial;
use tonic::Code;

use super::{mapped, our_mappings, plain, run};
use crate::harness::container::Made;
use crate::harness::daemon::{Daemon, refused, rich_image_name, shared};
use crate::harness::node::{node, shell};
use crate::harness::pod::{Pod, security};
use crate::harness::trials;
use crate::image_volumes::create;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        owners_of_a_mapped_volume_are_the_same_on_both_sides,
        a_mapped_file_and_a_volume_in_memory_are_mounted,
        a_volume_that_is_not_mapped_is_nobodys,
        a_file_system_that_cannot_be_mapped_is_named,
        volumes_of_the_image_belong_to_the_pods_users,
        an_image_volume_belongs_to_the_pods_users,
        mounts_tell_their_mappings,
    ]
}

/// A directory on the node's disk that only the node's root may pass, as the kubelet's are, with one inside for a volume.
fn private(daemon: &Daemon) -> PathBuf {
    let parent = daemon.place.logs().join(format!("private-{}", node().number()));
    let volume = parent.join("volume");
    fs::create_dir_all(&volume).unwrap();
    fs::set_permissions(&parent, fs::Permissions::from_mode(0o700)).unwrap();
    volume
}

async fn idle_with<'a>(pod: &Pod<'a>, name: &str, mounts: Vec<v1::Mount>) -> Made<'a> {
    let command = ["sleep", "infinity"];
    pod.start_with(name, &command, |config| config.mounts = mounts)
        .await
}

async fn owners_of_a_mapped_volume_are_the_same_on_both_sides() {
    let daemon = shared().await;
    let volume = private(daemon);
    fs::write(volume.join("roots"), "secret").unwrap();
    fs::set_permissions(volume.join("roots"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(volume.join("apps"), "").unwrap();
    chown(volume.join("apps"), Some(1000), Some(1001)).unwrap();
    let pod = run(daemon, "volume").await;
    let mut read_only = mapped(&volume, "/ro");
    read_only.readonly = true;
    let mut following = mapped(&volume, "/slave");
    following.propagation = v1::MountPropagation::PropagationHostToContainer.into();
    let container = idle_with(&pod, "main", vec![mapped(&volume, "/rw"), read_only, following]).await;

    let seen = container
        .sh("cat /rw/roots; stat -c ' %u:%g' /rw/roots /rw/apps /slave/apps; echo >/rw/made; chown 7:8 /rw/made; mkdir /rw/d")
        .await;
    assert_eq!(seen, "secret 0:0\n 1000:1001\n 1000:1001\n");
    let made = fs::metadata(volume.join("made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (7, 8));
    assert_eq!(fs::metadata(volume.join("d")).unwrap().uid(), 0);
    let tried = container.exec(&["touch", "/ro/x"]).await;
    assert!(tried.stderr.contains("Read-only file system"), "{tried:?}");
    container.remove().await;
    pod.remove().await;
}

async fn a_mapped_file_and_a_volume_in_memory_are_mounted() {
    let daemon = shared().await;
    let volume = private(daemon);
    shell(&format!(
        "mount -t tmpfs -o nosuid,nodev,noexec secret {}",
        volume.display()
    ));
    fs::write(volume.join("token"), "abc").unwrap();
    let message = volume.with_file_name("termination-log");
    fs::write(&message, "").unwrap();
    let pod = run(daemon, "memory").await;
    let mut secret = mapped(&volume, "/secret");
    secret.readonly = true;
    let mounts = vec![
        secret,
        mapped(&volume, "/memory"),
        mapped(&message, "/dev/termination-log"),
    ];
    let container = idle_with(&pod, "main", mounts).await;

    let script = "cat /secret/token; stat -c ' %u' /secret/token; echo x >/memory/made; echo farewell >/dev/termination-log";
    assert_eq!(container.sh(script).await, "abc 0\n");
    assert_eq!(fs::read_to_string(&message).unwrap(), "farewell\n");
    assert_eq!(fs::metadata(volume.join("made")).unwrap().uid(), 0);
    container.remove().await;
    pod.remove().await;
    shell(&format!("umount {}", volume.display()));
}

async fn a_volume_that_is_not_mapped_is_nobodys() {
    let daemon = shared().await;
    let volume = private(daemon);
    fs::write(volume.join("closed"), "secret").unwrap();
    fs::set_permissions(volume.join("closed"), fs::Permissions::from_mode(0o600)).unwrap();
    let pod = run(daemon, "unmapped").await;
    let container = idle_with(&pod, "main", vec![plain(&volume, "/volume")]).await;

    assert_eq!(container.sh("stat -c %u /volume/closed").await, "65534\n");
    for tried in [
        "cat /volume/closed",
        "touch /volume/x",
        "chown 0 /volume/closed",
        "rm -f /volume/closed",
    ] {
        let ran = container.exec(&["sh", "-c", tried]).await;
        assert_ne!(ran.code, 0, "{tried}: {ran:?}");
    }
    container.remove().await;
    pod.remove().await;
}

async fn a_file_system_that_cannot_be_mapped_is_named() {
    let daemon = shared().await;
    let pod = run(daemon, "unmappable").await;
    let mut config = pod.container_config("main", &["true"]);
    config.mounts = vec![mapped("/proc/fs".as_ref(), "/figures")];

    let status = refused(daemon.runtime().create_container(pod.create_request(config))).await;

    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let text = status.message();
    assert!(
        text.contains("/proc/fs at /figures") && text.contains("cannot be idmapped"),
        "{text}"
    );
    pod.remove().await;
    daemon.check().await;
}

async fn volumes_of_the_image_belong_to_the_pods_users() {
    let pod = run(shared().await, "image-volumes").await;
    let container = pod
        .start_with("main", &["sleep", "infinity"], |config| {
            config.image.as_mut().unwrap().image = rich_image_name();
            security(config).run_as_user = Some(v1::Int64Value { value: 0 });
        })
        .await;

    let owner = container
        .sh("echo >/data/made; stat -c '%u' /data/made; grep -c ' /data ' /proc/mounts")
        .await;
    assert_eq!(owner, "0\n1\n");
    container.remove().await;
    pod.remove().await;
}

async fn an_image_volume_belongs_to_the_pods_users() {
    let pod = run(shared().await, "image-volume").await;
    let mount = ours::Mount {
        container_path: "/volume".to_owned(),
        image: Some(ours::ImageSpec {
            image: rich_image_name(),
            ..Default::default()
        }),
        readonly: true,
        uid_mappings: our_mappings(),
        gid_mappings: our_mappings(),
        ..Default::default()
    };
    let container = create(&pod, "main", &["sleep", "infinity"], mount).await.unwrap();
    container.start().await;

    assert_eq!(
        container.sh("stat -c %u:%g /volume /volume/bin/busybox").await,
        "0:0\n0:0\n"
    );
    let tried = container.exec(&["touch", "/volume/x"]).await;
    assert!(tried.stderr.contains("Read-only file system"), "{tried:?}");
    container.remove().await;
    pod.remove().await;
}

async fn mounts_tell_their_mappings() {
    let daemon = shared().await;
    let pod = run(daemon, "told").await;
    let volume = private(daemon);
    let mounts = vec![mapped(&volume, "/mapped"), plain(&volume, "/plain")];
    let container = idle_with(&pod, "main", mounts.clone()).await;

    assert_eq!(container.status().await.mounts, mounts);
    container.remove().await;
    pod.remove().await;
}
