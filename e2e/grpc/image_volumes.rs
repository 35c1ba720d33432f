//! Images mounted as volumes: what a container sees of them, what protects them, and what is refused.

use std::fs;

use coracle::cri::wire::v1 as ours;
use k8s_cri::v1;
use libtest_mimic::Trial;
use prost::Message as _;
use tonic::Code;

use crate::harness::container::Made;
use crate::harness::daemon::{Daemon, shared};
use crate::harness::image::{Recipe, TestImage, links};
use crate::harness::node::node;
use crate::harness::pod::Pod;
use crate::harness::trials;
use crate::pulls::spec;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        an_image_is_mounted_beside_a_containers_own,
        a_path_of_an_image_is_mounted_and_its_links_stay_inside,
        an_image_in_use_as_a_volume_outlives_its_removal_and_a_restart,
        what_an_image_volume_cannot_be_is_refused,
    ]
}

/// An image of its own in the daemon's store, with files to mount.
async fn models(daemon: &Daemon) -> String {
    let name = format!("registry.example/e2e/models:{}", node().number());
    let image = TestImage::build(&Recipe {
        files: vec![
            ("models/", 0, 0o755, vec![]),
            ("models/weights", 0, 0o644, name.clone().into_bytes()),
            ("models/run", 0, 0o755, b"#!/bin/sh\necho ran\n".to_vec()),
        ],
        ..Recipe::default()
    });
    daemon.import(&name, &image).await;
    name
}

/// Fields that `k8s_cri` does not know yet are set in our own definition.
pub(crate) fn mount(image: &str, sub_path: &str) -> ours::Mount {
    ours::Mount {
        container_path: "/volume".to_owned(),
        image: Some(ours::ImageSpec {
            image: image.to_owned(),
            ..Default::default()
        }),
        image_sub_path: sub_path.to_owned(),
        ..Default::default()
    }
}

/// Creates a container with one mount.
pub(crate) async fn create<'a>(
    pod: &Pod<'a>,
    name: &str,
    command: &[&str],
    mount: ours::Mount,
) -> Result<Made<'a>, tonic::Status> {
    create_ours(pod, name, command, |config| config.mounts = vec![mount]).await
}

/// Creates a container whose configuration has fields that `k8s_cri` does not know yet.
pub(crate) async fn create_ours<'a>(
    pod: &Pod<'a>,
    name: &str,
    command: &[&str],
    change: impl FnOnce(&mut ours::ContainerConfig),
) -> Result<Made<'a>, tonic::Status> {
    let config = pod.container_config(name, command);
    let log = pod.logs().join(&config.log_path);
    let bytes = pod.create_request(config).encode_to_vec();
    let mut request = ours::CreateContainerRequest::decode(bytes.as_slice()).unwrap();
    change(request.config.as_mut().unwrap());
    let mut client = pod.daemon.own_runtime();
    let answer = client.create_container(request).await?;
    Ok(Made::adopted(pod.daemon, &answer.into_inner().container_id, &log))
}

/// What a command prints that runs with one mount.
pub(crate) async fn output(pod: &Pod<'_>, name: &str, command: &[&str], mount: ours::Mount) -> String {
    let container = create(pod, name, command, mount).await.unwrap();
    container.start().await;
    container.exited().await;
    container.output()
}

async fn an_image_is_mounted_beside_a_containers_own() {
    let daemon = shared().await;
    let name = models(daemon).await;
    let pod = Pod::run(daemon, "image-volume").await;
    let container = create(&pod, "main", &["sleep", "infinity"], mount(&name, ""))
        .await
        .unwrap();
    container.start().await;

    assert_eq!(container.sh("cat /volume/models/weights").await, name);
    assert_eq!(container.sh("ls /volume/bin/sh").await, "/volume/bin/sh\n");
    let written = container.exec(&["touch", "/volume/models/x"]).await;
    assert!(written.stderr.contains("Read-only file system"), "{written:?}");
    let ran = container.exec(&["sh", "-c", "/volume/models/run"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (126, ""), "{ran:?}");
    let told = container.status().await.mounts.remove(0);
    assert_eq!((told.image, told.host_path), (spec(&name), String::new()));
    container.remove().await;
    pod.remove().await;
}

async fn a_path_of_an_image_is_mounted_and_its_links_stay_inside() {
    let daemon = shared().await;
    let name = format!("registry.example/e2e/links:{}", node().number());
    let image = Recipe {
        files: vec![
            ("real/", 0, 0o755, vec![]),
            ("real/file", 0, 0o644, b"inside".to_vec()),
        ],
        top: Some(links(&[
            ("way", "/real"),
            ("out", "../../../../../../etc/hostname"),
        ])),
        ..Recipe::default()
    };
    daemon.import(&name, &TestImage::build(&image)).await;
    let pod = Pod::run(daemon, "image-sub-path").await;

    let by_link = output(&pod, "link", &["cat", "/volume/file"], mount(&name, "way")).await;
    let a_file = output(&pod, "file", &["cat", "/volume"], mount(&name, "/real/file")).await;
    let out = create(&pod, "out", &["true"], mount(&name, "out")).await;

    assert_eq!((by_link.as_str(), a_file.as_str()), ("inside", "inside"));
    // The host has that file; the image has not.
    assert!(fs::exists("/etc/hostname").unwrap());
    let error = out.err().unwrap();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("image_sub_path"), "{error}");
    pod.remove().await;
}

async fn an_image_in_use_as_a_volume_outlives_its_removal_and_a_restart() {
    let daemon = Daemon::with_images("image-volume").await;
    let name = models(&daemon).await;
    let pod = Pod::run(&daemon, "kept").await;
    let script = "sleep 0.1; trap 'cat /volume/models/weights; exit' TERM; while :; do sleep 0.05; done";
    let container = create(&pod, "main", &["sh", "-c", script], mount(&name, ""))
        .await
        .unwrap();
    container.start().await;
    let (id, log) = (container.id.clone(), container.log.clone());

    let request = v1::RemoveImageRequest { image: spec(&name) };
    daemon.images().remove_image(request).await.unwrap();
    let place = daemon.kill().await;
    let daemon = Daemon::start(place).await;

    let container = Made::adopted(&daemon, &id, &log);
    assert_eq!(container.sh("cat /volume/models/weights").await, name);
    container.stop(20).await;
    assert_eq!(container.output(), name);
    container.remove().await;
}

async fn what_an_image_volume_cannot_be_is_refused() {
    let daemon = shared().await;
    let name = models(daemon).await;
    let pod = Pod::run(daemon, "image-refused").await;
    type Change = fn(&mut ours::Mount);
    let rows: [(&str, Code, Change); 6] = [
        ("to mount at /volume", Code::NotFound, |m| {
            m.image = mount("registry.example/e2e/none:1", "").image
        }),
        ("image.image", Code::InvalidArgument, |m| {
            m.image = mount("", "").image
        }),
        ("host_path", Code::InvalidArgument, |m| {
            m.host_path = "/etc".into()
        }),
        ("image_sub_path", Code::InvalidArgument, |m| {
            m.image_sub_path = "../etc".into()
        }),
        ("image_sub_path", Code::InvalidArgument, |m| {
            m.image_sub_path = "models/none".into()
        }),
        ("propagation", Code::InvalidArgument, |m| {
            m.propagation = ours::MountPropagation::PropagationBidirectional as i32;
        }),
    ];
    for (field, code, change) in rows {
        let mut wanted = mount(&name, "");
        change(&mut wanted);

        let error = create(&pod, "refused", &["true"], wanted)
            .await
            .err()
            .expect(field);

        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(field), "{field}: {error}");
    }
    pod.remove().await;
}
