//! OCI artifacts as volumes: pulled, listed, mounted, kept while in use and removed as images are, and not run.

use std::fs;

use coracle::cri::wire::v1 as ours;
use k8s_cri::v1;
use libtest_mimic::Trial;
use serde_json::Value;
use tonic::Code;

use crate::harness::daemon::{Daemon, refused, shared};
use crate::harness::image::{ARTIFACT as KIND, TestImage, artifact};
use crate::harness::node::node;
use crate::harness::pod::Pod;
use crate::harness::registry::Registry;
use crate::harness::trials;
use crate::image_volumes::{self, create, output};
use crate::pulls::{pull, request, spec};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        an_artifact_is_pulled_and_mounted_as_a_volume,
        an_artifact_in_use_outlives_its_removal_and_a_restart,
        a_file_of_an_artifact_that_was_changed_is_found_and_brought_anew,
        an_artifact_without_content_is_an_empty_volume,
        an_artifact_is_not_run,
        an_artifact_whose_titles_lead_out_is_refused,
    ]
}

/// A volume as read-only as all of its kind; some runtimes want that said.
fn mount(image: &str, sub_path: &str) -> ours::Mount {
    ours::Mount {
        readonly: true,
        ..image_volumes::mount(image, sub_path)
    }
}

/// Files like no other's.
fn model() -> (TestImage, String) {
    let weights = format!("weights {}", node().number());
    let files: [(&str, &[u8]); 2] = [("weights", weights.as_bytes()), ("words/list", b"one\ntwo\n")];
    (artifact(&files), weights)
}

/// An artifact in a registry and its name there.
async fn pushed(registry: &Registry, repository: &str, artifact: &TestImage) -> String {
    registry.push(repository, "1", artifact).await;
    format!("{}/{repository}:1", registry.host)
}

async fn listed(daemon: &Daemon, id: &str) -> Option<v1::Image> {
    let images = daemon
        .images()
        .list_images(v1::ListImagesRequest::default())
        .await;
    images
        .unwrap()
        .into_inner()
        .images
        .into_iter()
        .find(|image| image.id == id)
}

async fn remove(daemon: &Daemon, name: &str) {
    let request = v1::RemoveImageRequest { image: spec(name) };
    daemon.images().remove_image(request).await.unwrap();
}

async fn an_artifact_is_pulled_and_mounted_as_a_volume() {
    let (daemon, registry) = (shared().await, Registry::start().await);
    let (artifact, weights) = model();
    let name = pushed(&registry, "e2e/model", &artifact).await;

    let id = pull(daemon, &name).await;

    assert_eq!(id, artifact.manifest.digest());
    let told = listed(daemon, &id).await.unwrap();
    assert_eq!(told.repo_tags, std::slice::from_ref(&name));
    assert_eq!(told.repo_digests.len(), 1);
    assert!(told.size > 0);
    let status = v1::ImageStatusRequest {
        image: spec(&name),
        verbose: true,
    };
    let status = daemon.images().image_status(status).await.unwrap().into_inner();
    let info: Value = serde_json::from_str(&status.info["info"]).unwrap();
    assert_eq!(info["artifactType"], KIND);
    let pod = Pod::run(daemon, "artifact").await;
    let container = create(&pod, "main", &["sleep", "infinity"], mount(&id, ""))
        .await
        .unwrap();
    container.start().await;
    assert_eq!(container.sh("cat /volume/weights").await, weights);
    assert_eq!(
        container.sh("cd /volume; find . -type f | sort").await,
        "./weights\n./words/list\n"
    );
    assert_eq!(
        container.sh("stat -c %a:%u:%g /volume /volume/weights").await,
        "755:0:0\n644:0:0\n"
    );
    let written = container.exec(&["touch", "/volume/weights"]).await;
    assert!(written.stderr.contains("Read-only file system"), "{written:?}");
    let one = output(&pod, "one", &["cat", "/volume"], mount(&name, "words/list")).await;
    assert_eq!(one, "one\ntwo\n");
    pod.remove().await;
    remove(daemon, &name).await;
    assert!(listed(daemon, &id).await.is_none());
}

async fn an_artifact_in_use_outlives_its_removal_and_a_restart() {
    let (daemon, registry) = (Daemon::with_images("artifact").await, Registry::start().await);
    let (artifact, weights) = model();
    let name = pushed(&registry, "e2e/kept", &artifact).await;
    pull(&daemon, &name).await;
    let pod = Pod::run(&daemon, "kept").await;
    let container = create(&pod, "main", &["sleep", "infinity"], mount(&name, ""))
        .await
        .unwrap();
    let (id, log) = (container.id.clone(), container.log.clone());

    remove(&daemon, &name).await;
    let place = daemon.kill().await;
    let daemon = Daemon::start(place).await;

    // Mounted only now.
    let container = crate::harness::container::Made::adopted(&daemon, &id, &log);
    container.start().await;
    assert_eq!(container.sh("cat /volume/weights").await, weights);
    container.remove().await;
    daemon.check().await;
    let layers = fs::read_dir(daemon.place.state.join("images/l"))
        .unwrap()
        .flatten();
    let kept = layers
        .filter(|layer| layer.path().join("weights").exists())
        .count();
    assert_eq!(kept, 0, "nobody has the artifact any more");
}

async fn a_file_of_an_artifact_that_was_changed_is_found_and_brought_anew() {
    let (daemon, registry) = (
        Daemon::with_images("artifact-deep").await,
        Registry::start().await,
    );
    let (artifact, weights) = model();
    let name = pushed(&registry, "e2e/deep", &artifact).await;
    let id = pull(&daemon, &name).await;
    let file = || {
        let mut layers = fs::read_dir(daemon.place.state.join("images/l"))
            .unwrap()
            .flatten();
        layers
            .find_map(|layer| Some(layer.path().join("weights")).filter(|file| file.exists()))
            .unwrap()
    };
    assert_eq!(daemon.place.audit(&["--deep"]).await.code, 0);
    let changed = file();
    fs::write(&changed, weights.to_uppercase()).unwrap();

    let found = daemon.place.audit(&["--deep"]).await;
    let repaired = daemon.place.audit(&["--deep", "--repair"]).await;

    let changed = changed.display().to_string();
    assert_eq!(found.of("content"), [(changed.clone(), false)]);
    assert_eq!(repaired.of("content"), [(changed, true)]);
    assert_eq!(fs::read_to_string(file()).unwrap(), weights);
    assert_eq!(listed(&daemon, &id).await.unwrap().repo_tags, [name]);
    assert_eq!(daemon.place.audit(&["--deep"]).await.code, 0);
}

async fn an_artifact_without_content_is_an_empty_volume() {
    let (daemon, registry) = (shared().await, Registry::start().await);
    let name = pushed(&registry, "e2e/nothing", &artifact(&[])).await;
    pull(daemon, &name).await;
    let pod = Pod::run(daemon, "nothing").await;

    let seen = output(&pod, "main", &["ls", "-A", "/volume"], mount(&name, "")).await;

    assert_eq!(seen, "");
    pod.remove().await;
    remove(daemon, &name).await;
}

async fn an_artifact_is_not_run() {
    let (daemon, registry) = (shared().await, Registry::start().await);
    let (artifact, _) = model();
    let name = pushed(&registry, "e2e/run", &artifact).await;
    pull(daemon, &name).await;
    let pod = Pod::run(daemon, "run-artifact").await;
    let mut config = pod.container_config("main", &["true"]);
    config.image = spec(&name);

    let error = refused(daemon.runtime().create_container(pod.create_request(config))).await;

    assert_eq!(error.code(), Code::InvalidArgument);
    let expected = format!("image {name} is an artifact of type {KIND:?}");
    assert!(error.message().contains(&expected), "{error}");
    let request = v1::ListContainersRequest {
        filter: Some(v1::ContainerFilter {
            pod_sandbox_id: pod.id.clone(),
            ..Default::default()
        }),
    };
    let left = daemon
        .runtime()
        .list_containers(request)
        .await
        .unwrap()
        .into_inner();
    assert!(left.containers.is_empty());
    pod.remove().await;
    remove(daemon, &name).await;
}

async fn an_artifact_whose_titles_lead_out_is_refused() {
    let (daemon, registry) = (shared().await, Registry::start().await);
    for title in ["../../escape", "/escape", "a/../../escape", ".wh.escape", "a\nb"] {
        let bad = artifact(&[("good", b"good"), (title, b"bad")]);
        let name = pushed(&registry, "e2e/bad", &bad).await;

        let error = refused(daemon.images().pull_image(request(&name, None))).await;

        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert!(
            error.message().contains(&format!("its title {title:?}")),
            "{error}"
        );
        assert!(listed(daemon, &bad.manifest.digest()).await.is_none());
    }
}
