//! Pulls from real registries: names, mirrors, credentials, and what goes wrong.

use k8s_cri::v1;
use libtest_mimic::Trial;
use serde_json::json;
use tonic::{Code, Status};

use crate::harness::daemon::{Daemon, refused, shared};
use crate::harness::image::{Blob, Packing, Recipe, TestImage, architecture, digest};
use crate::harness::node::node;
use crate::harness::pod::Pod;
use crate::harness::registry::{Liar, PASSWORD, Registry, USER, hosts_toml};
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
        what_a_registry_does_not_have_is_not_found,
        a_registry_that_does_not_answer_is_unavailable,
        credentials_are_asked_for_and_used,
        content_that_is_not_what_its_digest_says_is_refused,
    ]
}

/// An image like no other.
fn image(packing: Packing) -> TestImage {
    let content = format!("image {}\n", node().number());
    TestImage::build(&Recipe {
        files: vec![("which", 0, 0o644, content.into_bytes())],
        packing,
        ..Recipe::default()
    })
}

fn spec(name: &str) -> Option<v1::ImageSpec> {
    Some(v1::ImageSpec {
        image: name.to_owned(),
        ..Default::default()
    })
}

fn request(name: &str, auth: Option<v1::AuthConfig>) -> v1::PullImageRequest {
    v1::PullImageRequest {
        image: spec(name),
        auth,
        ..Default::default()
    }
}

async fn pull(daemon: &Daemon, name: &str) -> String {
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

/// What a failed pull must leave as it was: images, and the space they take.
async fn store(daemon: &Daemon) -> (Vec<v1::Image>, u64) {
    let listed = daemon
        .images()
        .list_images(v1::ListImagesRequest::default())
        .await
        .unwrap();
    let mut images = listed.into_inner().images;
    images.sort_by(|a, b| a.id.cmp(&b.id));
    let usage = daemon
        .images()
        .image_fs_info(v1::ImageFsInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    (
        images,
        usage.image_filesystems[0].used_bytes.as_ref().unwrap().value,
    )
}

/// Pulls what cannot be pulled, and sees to it that the store is as before.
async fn fails(daemon: &Daemon, name: &str, auth: Option<v1::AuthConfig>) -> Status {
    let before = store(daemon).await;
    let refusal = refused(daemon.images().pull_image(request(name, auth))).await;
    assert_eq!(store(daemon).await, before, "{refusal}");
    refusal
}

async fn what_a_registry_does_not_have_is_not_found() {
    let (daemon, registry) = (crate::harness::daemon::alone().await, Registry::start().await);
    registry.push("e2e/known", "1", &image(Packing::Gzip)).await;
    let check = async |name: String| {
        let refusal = fails(&daemon, &name, None).await;
        assert_eq!(refusal.code(), Code::NotFound, "{refusal}");
        assert!(refusal.message().contains(&name), "{refusal}");
    };

    check(format!("{}/e2e/unknown:1", registry.host)).await;
    check(format!("{}/e2e/known:2", registry.host)).await;
    check(format!("{}/e2e/known@{}", registry.host, digest(b"nothing"))).await;
}

async fn a_registry_that_does_not_answer_is_unavailable() {
    let daemon = crate::harness::daemon::alone().await;

    let refusal = fails(&daemon, "127.0.0.1:1/e2e/any:1", None).await;

    assert_eq!(refusal.code(), Code::Unavailable, "{refusal}");
    assert!(refusal.message().contains("127.0.0.1:1"), "{refusal}");
}

async fn credentials_are_asked_for_and_used() {
    let (daemon, registry) = (
        crate::harness::daemon::alone().await,
        Registry::start_closed().await,
    );
    let image = image(Packing::Gzip);
    registry.push("e2e/closed", "1", &image).await;
    let name = format!("{}/e2e/closed:1", registry.host);
    let basic = |password: &str| v1::AuthConfig {
        username: USER.into(),
        password: password.into(),
        ..Default::default()
    };

    for auth in [None, Some(basic("wrong")), Some(v1::AuthConfig::default())] {
        let refusal = fails(&daemon, &name, auth).await;
        assert_eq!(refusal.code(), Code::PermissionDenied, "{refusal}");
        assert!(
            !refusal.message().contains("wrong"),
            "the password is told: {refusal}"
        );
    }
    let pulled = daemon
        .images()
        .pull_image(request(&name, Some(basic(PASSWORD))))
        .await
        .unwrap();
    assert_eq!(pulled.into_inner().image_ref, image.id());
    let encoded = v1::AuthConfig {
        // `reader:open sesame`
        auth: "cmVhZGVyOm9wZW4gc2VzYW1l".into(),
        ..Default::default()
    };
    let pulled = daemon
        .images()
        .pull_image(request(&name, Some(encoded)))
        .await
        .unwrap();
    assert_eq!(pulled.into_inner().image_ref, image.id());
    let request = v1::RemoveImageRequest { image: spec(&name) };
    daemon.images().remove_image(request).await.unwrap();
}

async fn content_that_is_not_what_its_digest_says_is_refused() {
    let daemon = crate::harness::daemon::alone().await;
    let check = async |what: &str, by_digest: bool, wrong: &dyn Fn(&TestImage) -> (String, Blob)| {
        let image = image(Packing::Gzip);
        let (path, blob) = wrong(&image);
        let liar = Liar::start("e2e/lie", "1", &image, |answers| {
            answers.insert(format!("/v2/e2e/lie/{path}"), blob);
        })
        .await;
        let name = match by_digest {
            true => format!("{}/e2e/lie@{}", liar.host, image.manifest.digest()),
            false => format!("{}/e2e/lie:1", liar.host),
        };

        let refusal = fails(&daemon, &name, None).await;

        let expected = path.rsplit('/').next().unwrap();
        assert!(refusal.message().contains(expected), "{what}: {refusal}");
        assert!(
            !matches!(refusal.code(), Code::Unknown | Code::NotFound | Code::Unavailable),
            "{what}: {refusal}"
        );
    };

    check("manifest", true, &|image| {
        let mut manifest = image.manifest.clone();
        // Still JSON, with the same meaning: only the bytes differ.
        manifest.content.push(b'\n');
        (format!("manifests/{}", image.manifest.digest()), manifest)
    })
    .await;
    check("configuration", false, &|image| {
        let mut config = image.blobs[0].clone();
        let last = config.content.len() - 1;
        config.content.insert(last, b' ');
        (format!("blobs/{}", image.blobs[0].digest()), config)
    })
    .await;
    check("layer", false, &|image| {
        let mut layer = image.blobs[2].clone();
        // A gzip member of nothing at the end: unpacks to the same.
        layer.content.extend(Packing::Gzip.empty());
        (format!("blobs/{}", image.blobs[2].digest()), layer)
    })
    .await;
    check("another layer", false, &|image| {
        (
            format!("blobs/{}", image.blobs[2].digest()),
            image.blobs[1].clone(),
        )
    })
    .await;
}
