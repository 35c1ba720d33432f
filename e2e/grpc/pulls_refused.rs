//! Pulls that cannot succeed: what is missing, closed or not what it says. Each leaves the store as it was.

use k8s_cri::v1;
use libtest_mimic::Trial;
use tonic::{Code, Status};

use crate::harness::daemon::{Daemon, alone, refused};
use crate::harness::image::{Blob, Packing, TestImage, digest};
use crate::harness::registry::{Liar, PASSWORD, Registry, USER};
use crate::harness::trials;
use crate::pulls::{image, request, spec};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        what_a_registry_does_not_have_is_not_found,
        a_registry_that_does_not_answer_is_unavailable,
        credentials_are_asked_for_and_used,
        content_that_is_not_what_its_digest_says_is_refused,
    ]
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
    let (daemon, registry) = (alone().await, Registry::start().await);
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
    let daemon = alone().await;

    let refusal = fails(&daemon, "127.0.0.1:1/e2e/any:1", None).await;

    assert_eq!(refusal.code(), Code::Unavailable, "{refusal}");
    assert!(refusal.message().contains("127.0.0.1:1"), "{refusal}");
}

async fn credentials_are_asked_for_and_used() {
    let (daemon, registry) = (alone().await, Registry::start_closed().await);
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
    let daemon = alone().await;
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
