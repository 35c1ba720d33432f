//! Artifacts: pulled and imported as images are, and kept as files.

use std::path::Path;

use serde_json::{Value, json};

use super::fixture::{Bench, Item, MANIFEST, Request, Server, TestImage, gzip, tar};
use crate::image::digest::Digest;
use crate::model::{Filesystem as _, ImageService as _, ImageSpec, Kind, RemoveImageRequest};

fn nothing(_: &Request) -> Option<super::fixture::Answer> {
    None
}

const TITLE: &str = "org.opencontainers.image.title";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// An artifact of blobs: media type, annotations, content. Its configuration is the empty one.
fn artifact(blobs: &[(&str, Value, &[u8])]) -> TestImage {
    let empty = b"{}".to_vec();
    let describe = |kind: &str, annotations: &Value, blob: &[u8]| json!({"mediaType": kind, "digest": Digest::of(blob).to_string(), "size": blob.len(), "annotations": annotations});
    let layers: Vec<Value> = blobs
        .iter()
        .map(|(kind, annotations, blob)| describe(kind, annotations, blob))
        .collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example.thing",
        "config": describe("application/vnd.oci.empty.v1+json", &json!({}), &empty), "layers": layers,
    });
    let mut contents: Vec<Vec<u8>> = blobs.iter().map(|(_, _, blob)| blob.to_vec()).collect();
    contents.push(empty);
    TestImage {
        manifest: manifest.to_string().into_bytes(),
        blobs: contents,
    }
}

fn file(title: &str, content: &'static str) -> TestImage {
    artifact(&[("text/plain", json!({TITLE: title}), content.as_bytes())])
}

async fn pulled(image: &TestImage) -> (Bench, Server, Result<String, crate::model::Error>) {
    let server = Server::registry(image.clone(), nothing).await;
    let bench = Bench::new().await;
    let outcome = bench.pull(&format!("{}/a", server.address)).await;
    (bench, server, outcome)
}

#[tokio::test]
async fn each_blob_is_a_file_of_its_title() {
    let packed = gzip(&tar(&[
        Item::Directory("dir", 0o750),
        Item::File("dir/inner", "packed"),
    ]));
    let image = artifact(&[
        ("text/plain", json!({TITLE: "one"}), b"1"),
        (TAR, json!({TITLE: "below/a name"}), b"no archive"),
        (
            &format!("{TAR}+gzip"),
            json!({TITLE: "dir", "io.deis.oras.content.unpack": "true"}),
            &packed,
        ),
        ("application/vnd.oci.empty.v1+json", json!({}), b"{}"),
        ("text/plain", json!({TITLE: "nothing"}), b""),
    ]);

    let (bench, _server, id) = pulled(&image).await;

    let id = id.unwrap();
    assert_eq!(id, image.digest(), "its configuration is that of many");
    let record = bench.images.resolve(&id).unwrap();
    assert_eq!(record.artifact.as_deref(), Some("application/vnd.example.thing"));
    assert_eq!(record.layers.len(), 4);
    assert!(record.size > 0);
    for (path, content) in [
        ("one", "1"),
        ("below/a name", "no archive"),
        ("dir/inner", "packed"),
        ("nothing", ""),
    ] {
        assert_eq!(bench.read(&id, path).await.as_deref(), Some(content), "{path}");
    }
    let compared = bench.images.compare().await.unwrap();
    assert!(
        compared.findings.is_empty() && compared.unverifiable.is_empty(),
        "{compared:?}"
    );
}

#[tokio::test]
async fn artifacts_of_one_configuration_are_as_many_as_their_manifests() {
    let bench = Bench::new().await;
    let mut ids = vec![];
    for (title, content) in [("a", "same"), ("b", "same"), ("a", "other")] {
        let server = Server::registry(file(title, content), nothing).await;
        let id = bench.pull(&format!("{}/a", server.address)).await.unwrap();
        assert_eq!(bench.read(&id, title).await.as_deref(), Some(content));
        ids.push(id);
    }

    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn an_artifact_is_there_after_a_restart_and_leaves_nothing_when_it_is_removed() {
    let (bench, _server, id) = pulled(&file("name", "text")).await;
    let id = id.unwrap();

    let bench = bench.restart(|_: &Path| {}).await;

    assert_eq!(bench.read(&id, "name").await.as_deref(), Some("text"));
    let image = Some(ImageSpec {
        image: id[7..20].to_owned(),
        ..ImageSpec::default()
    });
    bench
        .images
        .remove_image(RemoveImageRequest { image })
        .await
        .unwrap();
    bench.images.drain().await;
    assert!(bench.images.resolve(&id).is_none());
    assert!(bench.names("l").is_empty() && bench.names("m").is_empty());
    let used = bench.images.image_filesystems().await.unwrap().images[0].used_bytes;
    assert_eq!(used, 0);
}

#[tokio::test]
async fn blobs_that_are_there_are_not_fetched_again() {
    let (bench, server, id) = pulled(&file("name", "text")).await;
    let once = server.count("/blobs/");

    let again = bench.pull(&format!("{}/b", server.address)).await.unwrap();

    assert_eq!(
        (again, once),
        (id.unwrap(), 1),
        "the configuration is not fetched at all"
    );
    assert_eq!(server.count("/blobs/"), 1);
}

#[tokio::test]
async fn a_layout_with_an_artifact_is_imported() {
    let image = file("name", "text");
    let bench = Bench::new().await;
    let layout = bench.dir.path().join("layout");
    image.layout(&layout, json!({}));

    let imported = bench
        .images
        .import(&layout, Some("registry.example/a:1"))
        .await
        .unwrap();

    assert_eq!(imported[0].id, image.digest());
    assert_eq!(
        bench.read("registry.example/a:1", "name").await.as_deref(),
        Some("text")
    );
}

#[tokio::test]
async fn what_is_no_artifact_leaves_nothing() {
    let mut lying = file("name", "text");
    lying.blobs[0] = b"TEXT".to_vec();
    let served = lying.clone();
    let wanted = Digest::of(b"text").to_string();
    for (image, expected) in [
        (file("../name", "text"), "is not a path below the volume"),
        (file(".wh.name", "text"), "has a name that no file can have"),
        (
            artifact(&[(&format!("{TAR}+gzip"), json!({}), b"no archive")]),
            "layer is malformed",
        ),
    ] {
        let (bench, _server, outcome) = pulled(&image).await;

        let error = outcome.unwrap_err();
        let chain = crate::telemetry::chain(&error);
        assert!(chain.contains(expected), "{chain}");
        bench.images.drain().await;
        assert!(bench.names("l").is_empty() && bench.names("staging").is_empty());
    }
    let server = Server::start(move |request: &Request| match request.target.ends_with(&wanted) {
        true => super::fixture::Answer::ok(served.blobs[0].clone()),
        false => super::fixture::serve_image(&served, request),
    })
    .await;
    let bench = Bench::new().await;

    let error = bench.pull(&format!("{}/a", server.address)).await.unwrap_err();

    assert_ne!(error.kind(), Kind::InvalidArgument);
    let chain = crate::telemetry::chain(&error);
    assert!(chain.contains("digest of layer"), "{chain}");
}
