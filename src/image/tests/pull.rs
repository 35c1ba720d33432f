//! Pulls from registries that behave, and from ones that do not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use super::fixture::{Answer, Bench, Item, Server, TestImage, gzip, index, serve_image, tar};
use crate::model::{ImageService as _, ImageSpec, ImageStatusRequest, Kind, RemoveImageRequest};

fn nothing(_: &super::fixture::Request) -> Option<Answer> {
    None
}

#[tokio::test]
async fn a_pulled_image_is_found_by_every_name_and_id() {
    let image = TestImage::of("text");
    let server = Server::registry(image.clone(), nothing).await;
    let bench = Bench::new().await;
    let name = format!("{}/a/b", server.address);

    let id = bench.pull(&name).await.unwrap();

    assert_eq!(id, image.id());
    let record = bench.images.resolve(&name).unwrap();
    assert_eq!(record.repo_tags, [format!("{name}:latest")]);
    assert_eq!(record.repo_digests, [format!("{name}@{}", image.digest())]);
    for known in [
        &id,
        &id[7..],
        &id[7..20],
        &id[..20],
        &record.repo_tags[0],
        &record.repo_digests[0],
    ] {
        assert_eq!(bench.images.resolve(known).as_ref(), Some(&record), "{known}");
    }
    assert_eq!(bench.read(&id, "/file").await.as_deref(), Some("text"));
}

#[tokio::test]
async fn an_image_pulled_by_digest_has_no_tag() {
    let image = TestImage::of("text");
    let server = Server::registry(image.clone(), nothing).await;
    let bench = Bench::new().await;
    let name = format!("{}/a@{}", server.address, image.digest());

    bench.pull(&name).await.unwrap();

    let record = bench.images.resolve(&name).unwrap();
    assert!(record.repo_tags.is_empty());
    assert_eq!(record.repo_digests, [name]);
}

#[tokio::test]
async fn the_image_of_this_platform_is_taken_from_an_index() {
    let (ours, other) = (TestImage::of("ours"), TestImage::of("other"));
    let top = index(&[("arm64", &other), ("amd64", &ours)]);
    let served = top.clone();
    let digest = ours.digest();
    let server = Server::registry(ours.clone(), move |request| {
        let ours = !request.target.contains("/manifests/") || request.target.contains(&digest);
        (!ours).then(|| Answer::ok(served.clone()))
    })
    .await;
    let bench = Bench::new().await;
    let name = format!("{}/a:1", server.address);

    let id = bench.pull(&name).await.unwrap();

    assert_eq!(id, ours.id());
    let digest = crate::image::digest::Digest::of(&top);
    assert_eq!(
        bench.images.resolve(&id).unwrap().repo_digests,
        [format!("{}/a@{digest}", server.address)]
    );
}

#[tokio::test]
async fn layers_of_every_packing_are_merged() {
    let layers = [
        tar(&[
            Item::Directory("etc", 0o755),
            Item::File("etc/one", "1"),
            Item::File("etc/gone", "x"),
            Item::Directory("opaque", 0o755),
            Item::File("opaque/below", "x"),
        ]),
        tar(&[
            Item::Directory("etc", 0o755),
            Item::File("etc/.wh.gone", ""),
            Item::File("etc/two", "2"),
            Item::Directory("opaque", 0o755),
            Item::File("opaque/.wh..wh..opq", ""),
        ]),
        tar(&[
            Item::Symlink("link", "/etc/two"),
            Item::Symlink("up", "../../../etc/one"),
        ]),
    ];
    let server = Server::registry(TestImage::new(&layers, json!({})), nothing).await;
    let bench = Bench::new().await;

    let id = bench.pull(&format!("{}/a", server.address)).await.unwrap();

    for (path, text) in [
        ("/etc/one", Some("1")),
        ("/etc/two", Some("2")),
        ("/link", Some("2")),
        ("/up", Some("1")),
        ("/etc/gone", None),
        ("/opaque/below", None),
        ("/etc/one/x", None),
    ] {
        assert_eq!(bench.read(&id, path).await.as_deref(), text, "{path}");
    }
}

#[tokio::test]
async fn a_second_pull_fetches_no_layer_again() {
    let shared = tar(&[Item::File("file", "shared")]);
    let one = TestImage::new(std::slice::from_ref(&shared), json!({}));
    let two = TestImage::new(&[shared, tar(&[Item::File("more", "x")])], json!({}));
    let (first, second) = (
        Server::registry(one, nothing).await,
        Server::registry(two, nothing).await,
    );
    let bench = Bench::new().await;
    bench.pull(&format!("{}/a", first.address)).await.unwrap();

    bench.pull(&format!("{}/a", second.address)).await.unwrap();

    // Its configuration and the layer on top.
    assert_eq!(second.count("/blobs/"), 2);
    assert_eq!(bench.names("l").len(), 2);
}

#[tokio::test]
async fn pulls_of_the_same_image_at_once_share_one_flight() {
    let server = Server::registry(TestImage::of("text"), nothing).await;
    let bench = Bench::new().await;
    let name = format!("{}/a", server.address);

    let (one, two, three) = tokio::join!(bench.pull(&name), bench.pull(&name), bench.pull(&name));

    assert_eq!((one.unwrap(), two.unwrap()), (three.unwrap(), server_id()));
    assert_eq!(server.count("/manifests/"), 1);
}

fn server_id() -> String {
    TestImage::of("text").id()
}

#[tokio::test]
async fn a_broken_transfer_goes_on_where_it_stopped() {
    let layer = tar(&[Item::File("file", &"0123456789".repeat(50_000))]);
    let image = TestImage::new(&[tar(&[]), layer], json!({}));
    let big = crate::image::digest::Digest::of(&image.blobs[1]).to_string();
    let (served, tries) = (image.clone(), AtomicUsize::new(0));
    let server = Server::registry(image.clone(), move |request| {
        let cut = request.target.contains(&big) && tries.fetch_add(1, Ordering::SeqCst) < 2;
        cut.then(|| Answer {
            cut: Some(100_000),
            ..serve_image(&served, request)
        })
    })
    .await;
    let bench = Bench::new().await;

    let id = bench.pull(&format!("{}/a", server.address)).await.unwrap();

    assert_eq!(id, image.id());
    let ranges: Vec<_> = server
        .requests()
        .iter()
        .filter_map(|r| r.headers.get("range").cloned())
        .collect();
    assert!(ranges.contains(&"bytes=200000-".to_owned()), "{ranges:?}");
}

#[tokio::test]
async fn content_of_another_digest_is_refused_and_leaves_no_trace() {
    let image = TestImage::of("text");
    let other = gzip(&tar(&[Item::File("file", "TEXT")]));
    for wrong in [other, b"garbage".to_vec(), image.blobs[0][..20].to_vec()] {
        let layer = crate::image::digest::Digest::of(&image.blobs[0]).to_string();
        let mut wrong = wrong;
        wrong.resize(image.blobs[0].len(), 0);
        let server = Server::registry(image.clone(), move |request| {
            request.target.contains(&layer).then(|| Answer::ok(wrong.clone()))
        })
        .await;
        let bench = Bench::new().await;

        let error = bench.pull(&format!("{}/a", server.address)).await.unwrap_err();

        assert!(error.to_string().to_lowercase().contains("digest"), "{error}");
        bench.images.drain().await;
        assert_eq!(
            bench.names("l").len() + bench.names("m").len() + bench.names("staging").len(),
            0
        );
    }
}

#[tokio::test]
async fn a_layer_that_is_the_same_only_when_inflated_is_refused() {
    let image = TestImage::of("text");
    let layer = crate::image::digest::Digest::of(&image.blobs[0]).to_string();
    let mut other = image.blobs[0].clone();
    // The time in gzip's header.
    other[4] ^= 1;
    let server = Server::registry(image, move |request| {
        request.target.contains(&layer).then(|| Answer::ok(other.clone()))
    })
    .await;
    let bench = Bench::new().await;

    let error = bench.pull(&format!("{}/a", server.address)).await.unwrap_err();

    assert!(error.to_string().contains("digest of layer"), "{error}");
}

#[tokio::test]
async fn a_layer_that_inflates_to_another_digest_is_refused() {
    let mut image = TestImage::of("text");
    let other = gzip(&tar(&[Item::File("file", "TEXT")]));
    let mut manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
    manifest["layers"][0]["digest"] = crate::image::digest::Digest::of(&other).to_string().into();
    manifest["layers"][0]["size"] = other.len().into();
    (image.manifest, image.blobs[0]) = (serde_json::to_vec(&manifest).unwrap(), other);
    let server = Server::registry(image, nothing).await;
    let bench = Bench::new().await;

    let error = bench.pull(&format!("{}/a", server.address)).await.unwrap_err();

    assert!(error.to_string().contains("inflated digest"), "{error}");
}

#[tokio::test]
async fn a_manifest_of_another_digest_is_refused() {
    let (image, other) = (TestImage::of("text"), TestImage::of("other"));
    let server = Server::registry(other, nothing).await;
    let bench = Bench::new().await;

    let result = bench
        .pull(&format!("{}/a@{}", server.address, image.digest()))
        .await;

    assert!(result.unwrap_err().to_string().contains("digest"));
}

#[tokio::test]
async fn what_goes_wrong_is_told_by_kind_and_name() {
    let bench = Bench::new().await;
    let check = async |status: u16, kind: Kind| {
        let server = Server::start(move |_| Answer::status(status)).await;
        let name = format!("{}/team/app:1", server.address);
        let error = bench.pull(&name).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(&name), "{error}");
    };
    check(404, Kind::NotFound).await;
    check(403, Kind::PermissionDenied).await;
    check(400, Kind::Internal).await;

    let error = bench.pull("127.0.0.1:1/a").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    let error = bench.pull("Not A Name").await.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
    let error = bench.pull("").await.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
    assert!(
        bench
            .images
            .list_images(Default::default())
            .await
            .unwrap()
            .images
            .is_empty()
    );
}

#[tokio::test]
async fn removal_by_any_name_removes_all_names_and_layers() {
    let server = Server::registry(TestImage::of("text"), nothing).await;
    let bench = Bench::new().await;
    for tag in ["1", "2", "3"] {
        bench.pull(&format!("{}/a:{tag}", server.address)).await.unwrap();
    }
    let image = Some(ImageSpec::named(format!("{}/a:2", server.address)));
    assert_eq!(bench.images.resolve(&server_id()).unwrap().repo_tags.len(), 3);

    let request = || RemoveImageRequest { image: image.clone() };
    let results = tokio::join!(
        bench.images.remove_image(request()),
        bench.images.remove_image(request()),
        bench.images.remove_image(request()),
    );

    assert!(results.0.is_ok() && results.1.is_ok() && results.2.is_ok());
    let status = ImageStatusRequest {
        image: Some(ImageSpec::named(server_id())),
        verbose: false,
    };
    assert_eq!(bench.images.image_status(status).await.unwrap().image, None);
    assert!(
        bench
            .images
            .list_images(Default::default())
            .await
            .unwrap()
            .images
            .is_empty()
    );
    bench.images.drain().await;
    assert_eq!(
        bench.names("l").len() + bench.names("m").len() + bench.names("staging").len(),
        0
    );
}

#[tokio::test]
async fn a_tag_that_moves_leaves_its_old_image_with_its_digest() {
    let (old, new) = (TestImage::of("old"), TestImage::of("new"));
    let (served, turn) = (new.clone(), AtomicUsize::new(0));
    let server = Server::registry(old.clone(), move |request| {
        let by_tag = request.target.ends_with("/manifests/1");
        let moved = turn.fetch_add(usize::from(by_tag), Ordering::SeqCst) > 0
            && (by_tag || request.target.contains("blobs"));
        moved
            .then(|| serve_image(&served, request))
            .filter(|a| a.status != 404)
    })
    .await;
    let bench = Bench::new().await;
    let name = format!("{}/a:1", server.address);
    bench.pull(&name).await.unwrap();

    let id = bench.pull(&name).await.unwrap();

    assert_eq!(id, new.id());
    assert_eq!(bench.images.resolve(&name).unwrap().id, new.id());
    let left = bench.images.resolve(&old.id()).unwrap();
    assert!(left.repo_tags.is_empty());
    assert_eq!(left.repo_digests.len(), 1);
}

#[tokio::test]
async fn users_of_configurations_are_told() {
    let bench = Bench::new().await;
    let check = async |user: &str, uid: Option<i64>, username: &str| {
        let image = TestImage::new(&[tar(&[])], json!({ "User": user }));
        let server = Server::registry(image.clone(), nothing).await;
        bench.pull(&format!("{}/a", server.address)).await.unwrap();
        let status = ImageStatusRequest {
            image: Some(ImageSpec::named(image.id())),
            verbose: true,
        };
        let answer = bench.images.image_status(status).await.unwrap();
        let image = answer.image.unwrap();
        assert_eq!(
            (image.has_uid.then_some(image.uid), image.username.as_str()),
            (uid, username),
            "{user}"
        );
        assert!(answer.info["info"].contains("diff_ids"));
    };

    check("1002", Some(1002), "").await;
    check("www-data", None, "www-data").await;
    check("1003:1004", Some(1003), "").await;
    check("www-data:1004", None, "www-data").await;
    check("0", Some(0), "").await;
    check("", None, "").await;
}

#[tokio::test]
async fn a_pull_that_all_callers_left_ends_after_the_grace_time() {
    let server = Server::start(|_| Answer {
        hang: true,
        ..Answer::default()
    })
    .await;
    let bench = Bench::new().await;
    let name = format!("{}/a", server.address);

    let left = tokio::time::timeout(Duration::from_millis(50), bench.pull(&name)).await;

    assert!(left.is_err());
    // Returns once the flight is over: its own time-outs are longer than the grace.
    bench.images.drain().await;
}
