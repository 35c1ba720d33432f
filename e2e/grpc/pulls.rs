//! Pulls from real registries: names, mirrors, credentials, and what goes wrong.

use k8s_cri::v1;
use libtest_mimic::Trial;
use serde_json::json;

use crate::harness::daemon::{Daemon, shared};
use crate::harness::image::{Blob, Packing, Recipe, TestImage, architecture};
use crate::harness::node::node;
use crate::harness::pod::Pod;
use crate::harness::registry::{Registry, hosts_toml};
use crate::harness::trials;

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        an_image_is_pulled_by_its_tag,
        an_image_is_pulled_by_its_digest,
        a_name_without_a_tag_means_latest,
        the_image_of_this_platform_is_chosen,
        layers_may_be_packed_in_any_way,
        a_mirror_serves_under_the_original_name,
        the_next_host_is_asked_when_a_mirror_fails,
        identical_pulls_give_one_image,
        removing_one_name_removes_all,
    ]
}

/// An image like no other.
pub(crate) fn image(packing: Packing) -> TestImage {
    let content = format!("image {}\n", node().number());
    TestImage::build(&Recipe {
        files: vec![("which", 0, 0o644, content.into_bytes())],
        packing,
        ..Recipe::default()
    })
}

pub(crate) fn spec(name: &str) -> Option<v1::ImageSpec> {
    Some(v1::ImageSpec {
        image: name.to_owned(),
        ..Default::default()
    })
}

pub(crate) fn request(name: &str, auth: Option<v1::AuthConfig>) -> v1::PullImageRequest {
    v1::PullImageRequest {
        image: spec(name),
        auth,
        ..Default::default()
    }
}

pub(crate) async fn pull(daemon: &Daemon, name: &str) -> String {
    daemon
        .images()
        .pull_image(request(name, None))
        .await
        .unwrap()
        .into_inner()
        .image_ref
}

async fn status(daemon: &Daemon, name: &str) -> Option<v1::Image> {
    let request = v1::ImageStatusRequest {
        image: spec(name),
        verbose: false,
    };
    daemon
        .images()
        .image_status(request)
        .await
        .unwrap()
        .into_inner()
        .image
}

async fn an_image_is_pulled_by_its_tag() {
    let (daemon, registry, image) = (shared().await, Registry::start().await, image(Packing::Gzip));
    let name = format!("{}/e2e/tagged:1", registry.host);
    registry.push("e2e/tagged", "1", &image).await;

    let pulled = pull(daemon, &name).await;

    assert_eq!(pulled, image.id());
    let found = status(daemon, &name).await.unwrap();
    assert_eq!(found.id, image.id());
    assert_eq!(found.repo_tags, [name.as_str()]);
    assert_eq!(
        found.repo_digests,
        [format!(
            "{}/e2e/tagged@{}",
            registry.host,
            image.manifest.digest()
        )]
    );
    assert!(found.size > 0);
    assert_eq!(status(daemon, &image.id()).await.unwrap(), found);
    assert_eq!(status(daemon, &found.repo_digests[0]).await.unwrap(), found);
    let filter = v1::ImageFilter { image: spec(&name) };
    let listed = daemon
        .images()
        .list_images(v1::ListImagesRequest { filter: Some(filter) })
        .await
        .unwrap();
    assert_eq!(listed.into_inner().images, [found]);
    let pod = Pod::run(daemon, "pulled").await;
    let output = pod
        .output_with("main", "cat /which", |config| config.image = spec(&name))
        .await;
    assert!(output.starts_with("image "), "{output}");
    pod.remove().await;
}

async fn an_image_is_pulled_by_its_digest() {
    let (daemon, registry, image) = (shared().await, Registry::start().await, image(Packing::Gzip));
    registry.push("e2e/digest", "1", &image).await;
    let name = format!("{}/e2e/digest@{}", registry.host, image.manifest.digest());

    let pulled = pull(daemon, &name).await;

    assert_eq!(pulled, image.id());
    let found = status(daemon, &name).await.unwrap();
    assert_eq!(found.repo_digests, [name]);
    assert_eq!(found.repo_tags, Vec::<String>::new());
}

async fn a_name_without_a_tag_means_latest() {
    let (daemon, registry, image) = (shared().await, Registry::start().await, image(Packing::Gzip));
    registry.push("e2e/untagged", "latest", &image).await;
    let name = format!("{}/e2e/untagged", registry.host);

    let pulled = pull(daemon, &name).await;

    assert_eq!(pulled, image.id());
    let found = status(daemon, &name).await.unwrap();
    assert_eq!(found.repo_tags, [format!("{name}:latest")]);
    assert_eq!(status(daemon, &format!("{name}:latest")).await, Some(found));
}

async fn the_image_of_this_platform_is_chosen() {
    let (daemon, registry) = (shared().await, Registry::start().await);
    let (ours, other) = (image(Packing::Gzip), image(Packing::Gzip));
    registry.push("e2e/index", "ours", &ours).await;
    registry.push("e2e/index", "other", &other).await;
    let entry = |image: &TestImage, architecture: &str| {
        let mut entry = image.manifest.descriptor();
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    };
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({
        "schemaVersion": 2, "mediaType": media_type,
        "manifests": [entry(&other, "s390x"), entry(&ours, architecture())],
    });
    let content = index.to_string().into_bytes();
    registry
        .push_manifest("e2e/index", "1", &Blob { media_type, content })
        .await;

    let pulled = pull(daemon, &format!("{}/e2e/index:1", registry.host)).await;

    assert_eq!(pulled, ours.id());
}

async fn layers_may_be_packed_in_any_way() {
    let (daemon, registry) = (shared().await, Registry::start().await);
    let pod = Pod::run(daemon, "packed").await;

    for (tag, packing) in [
        ("plain", Packing::Plain),
        ("gzip", Packing::Gzip),
        ("zstd", Packing::Zstd),
    ] {
        registry.push("e2e/packed", tag, &image(packing)).await;
        let name = format!("{}/e2e/packed:{tag}", registry.host);
        pull(daemon, &name).await;
        let output = pod
            .output_with(tag, "cat /which", |config| config.image = spec(&name))
            .await;
        assert!(output.starts_with("image "), "{tag}: {output}");
    }
    pod.remove().await;
}

async fn a_mirror_serves_under_the_original_name() {
    let (daemon, mirror, image) = (shared().await, Registry::start().await, image(Packing::Gzip));
    mirror.push("e2e/mirrored", "1", &image).await;
    let toml = format!(
        "server = \"http://127.0.0.1:1\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        mirror.host
    );
    hosts_toml(daemon, "mirrored.example", &toml);

    let pulled = pull(daemon, "mirrored.example/e2e/mirrored:1").await;

    assert_eq!(pulled, image.id());
    let found = status(daemon, "mirrored.example/e2e/mirrored:1").await.unwrap();
    assert_eq!(found.repo_tags, ["mirrored.example/e2e/mirrored:1"]);
    assert_eq!(
        found.repo_digests,
        [format!(
            "mirrored.example/e2e/mirrored@{}",
            image.manifest.digest()
        )]
    );
}

async fn the_next_host_is_asked_when_a_mirror_fails() {
    let (daemon, origin, image) = (shared().await, Registry::start().await, image(Packing::Gzip));
    let empty = Registry::start().await;
    origin.push("e2e/next", "1", &image).await;
    let toml = format!(
        "server = \"http://{}\"\n[host.\"http://127.0.0.1:1\"]\n[host.\"http://{}\"]\n",
        origin.host, empty.host
    );
    hosts_toml(daemon, "next.example", &toml);

    assert_eq!(pull(daemon, "next.example/e2e/next:1").await, image.id());
}

async fn identical_pulls_give_one_image() {
    let (daemon, registry, image) = (shared().await, Registry::start().await, image(Packing::Gzip));
    registry.push("e2e/same", "1", &image).await;
    let name = format!("{}/e2e/same:1", registry.host);

    let (one, other, third) = tokio::join!(pull(daemon, &name), pull(daemon, &name), pull(daemon, &name));
    let later = pull(daemon, &name).await;

    assert_eq!(
        [one, other, third, later],
        [image.id(), image.id(), image.id(), image.id()]
    );
}

async fn removing_one_name_removes_all() {
    let (daemon, registry, image) = (shared().await, Registry::start().await, image(Packing::Gzip));
    let name = |tag: &str| format!("{}/e2e/names:{tag}", registry.host);
    for tag in ["1", "2"] {
        registry.push("e2e/names", tag, &image).await;
        pull(daemon, &name(tag)).await;
    }
    let mut tags = status(daemon, &image.id()).await.unwrap().repo_tags;
    tags.sort();

    let remove = async || {
        let request = v1::RemoveImageRequest {
            image: spec(&name("1")),
        };
        daemon.images().remove_image(request).await.unwrap();
    };
    remove().await;
    remove().await;

    assert_eq!(tags, [name("1"), name("2")]);
    for gone in [name("1"), name("2"), image.id()] {
        assert_eq!(status(daemon, &gone).await, None, "{gone}");
    }
    assert_eq!(pull(daemon, &name("2")).await, image.id());
}
