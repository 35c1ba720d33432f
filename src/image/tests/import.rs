//! Images from files.

use serde_json::json;

use super::fixture::{Bench, Item, TestImage, gzip, tar};
use crate::image::Imported;
use crate::model::Kind;

#[tokio::test]
async fn a_layout_is_imported_under_the_name_it_tells() {
    let image = TestImage::of("text");
    let bench = Bench::new().await;
    let layout = bench.dir.path().join("layout");
    image.layout(
        &layout,
        json!({ "org.opencontainers.image.ref.name": "registry.example/app:1" }),
    );

    let imported = bench.images.import(&layout, None).await.unwrap();

    let name = "registry.example/app:1".to_owned();
    let id = image.id();
    assert_eq!(imported, [Imported { name, id }]);
    assert_eq!(
        bench.read("registry.example/app:1", "file").await.as_deref(),
        Some("text")
    );
}

#[tokio::test]
async fn a_packed_layout_is_imported_under_a_given_name() {
    let image = TestImage::of("text");
    let bench = Bench::new().await;
    let layout = bench.dir.path().join("layout");
    image.layout(&layout, json!({ "org.opencontainers.image.ref.name": "1" }));
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all(".", &layout).unwrap();
    let file = bench.dir.path().join("image.tar.gz");
    std::fs::write(&file, gzip(&builder.into_inner().unwrap())).unwrap();

    let without = bench.images.import(&file, None).await;
    let imported = bench.images.import(&file, Some("app")).await.unwrap();

    assert_eq!(without.unwrap_err().kind(), Kind::InvalidArgument);
    assert_eq!(imported[0].name, "docker.io/library/app:latest");
    assert_eq!(bench.read("app", "file").await.as_deref(), Some("text"));
    bench.images.drain().await;
    assert!(bench.names("staging").is_empty());
}

#[tokio::test]
async fn what_docker_saves_is_imported() {
    let layer = tar(&[Item::File("file", "text")]);
    let image = TestImage::new(std::slice::from_ref(&layer), json!({}));
    let config = String::from_utf8(image.blobs[1].clone()).unwrap();
    let manifest = json!([{ "Config": "c.json", "RepoTags": ["app:1", "app:2"], "Layers": ["l/layer.tar"] }]);
    let bench = Bench::new().await;
    let layer = String::from_utf8(layer).unwrap();
    let archive = tar(&[
        Item::File("c.json", &config),
        Item::File("l/layer.tar", &layer),
        Item::File("manifest.json", &manifest.to_string()),
    ]);
    let file = bench.dir.path().join("image.tar");
    std::fs::write(&file, archive).unwrap();

    let imported = bench.images.import(&file, None).await.unwrap();

    assert_eq!(imported.len(), 2);
    assert_eq!(bench.images.resolve("app:2").unwrap().id, image.id());
    assert_eq!(bench.read("app:1", "file").await.as_deref(), Some("text"));
}

#[tokio::test]
async fn files_that_are_no_images_are_refused() {
    let bench = Bench::new().await;
    let check = async |content: &[u8], kind: Kind| {
        let file = bench.dir.path().join("file");
        std::fs::write(&file, content).unwrap();
        let error = bench.images.import(&file, Some("app")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    };

    check(b"garbage", Kind::InvalidArgument).await;
    check(&tar(&[]), Kind::InvalidArgument).await;
    check(&tar(&[Item::File("index.json", "{")]), Kind::InvalidArgument).await;
    check(&tar(&[Item::File("manifest.json", "[]")]), Kind::InvalidArgument).await;
    check(
        &tar(&[Item::Symlink("index.json", "/etc/passwd")]),
        Kind::InvalidArgument,
    )
    .await;
    let missing = bench.images.import(&bench.dir.path().join("none"), None).await;
    assert_eq!(missing.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_layout_with_a_wrong_blob_is_refused() {
    let image = TestImage::of("text");
    let bench = Bench::new().await;
    let layout = bench.dir.path().join("layout");
    image.layout(&layout, json!({}));
    let blob = crate::image::digest::Digest::of(&image.blobs[0]);
    let path = layout.join("blobs/sha256").join(&blob.as_str()[7..]);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let error = bench.images.import(&layout, Some("app")).await.unwrap_err();

    assert!(error.to_string().contains("digest"), "{error}");
    assert_eq!(bench.images.resolve("app"), None);
}
