//! Images whose layers play together to get out, or to grow.

use std::os::unix::fs::MetadataExt as _;

use serde_json::json;

use super::fixture::{Answer, Bench, Item, Server, TestImage, tar};
use crate::model::{Kind, Result};

async fn pull(layers: &[Vec<u8>]) -> (Bench, Result<String>) {
    let bench = Bench::new().await;
    let image = TestImage::new(layers, json!({}));
    let server = Server::registry(image, |_| None).await;
    let pulled = bench.pull(&format!("{}/hostile:1", server.address)).await;
    (bench, pulled)
}

/// Hard links, path and target, in an archive of their own.
fn hard_links(links: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, target) in links {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Link);
        header.set_size(0);
        header.set_mode(0o644);
        archive.append_link(&mut header, path, target).unwrap();
    }
    archive.into_inner().unwrap()
}

/// A lower layer has a link where an upper one has a directory that it does not describe, and links into it.
#[tokio::test]
async fn links_swapped_between_layers_lead_nowhere() {
    for target in ["/etc", "../../../../../../../../etc", "/proc/self/root/etc"] {
        let lower = tar(&[Item::Symlink("out", target), Item::File("own", "x")]);

        let (bench, pulled) = pull(&[lower.clone(), tar(&[Item::File("out/made", "x")])]).await;
        let image = bench.images.resolve(&pulled.unwrap()).unwrap();
        let top = &bench.images.rootfs_layers(&image).unwrap()[0];
        assert!(top.join("out").symlink_metadata().unwrap().is_dir());
        assert_eq!(top.join("out").metadata().unwrap().mode() & 0o7777, 0o755);

        let (_bench, refused) = pull(&[lower, hard_links(&[("stolen", "out/passwd")])]).await;
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
        assert!(error.to_string().contains("has no target out/passwd"), "{error}");
    }
}

/// Each entry of a few bytes names a large file of the layer below.
#[tokio::test]
async fn hard_links_to_a_layer_below_do_not_multiply_it() {
    let names: Vec<String> = (0..500).map(|n| format!("link{n}")).collect();
    let links: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "large")).collect();
    let large = "x".repeat(1 << 20);

    let (bench, pulled) = pull(&[tar(&[Item::File("large", &large)]), hard_links(&links)]).await;

    let image = bench.images.resolve(&pulled.unwrap()).unwrap();
    let top = &bench.images.rootfs_layers(&image).unwrap()[0];
    assert_eq!(top.join("link0").metadata().unwrap().nlink(), 500);
    assert!(image.size < 4 << 20, "{} bytes", image.size);
}

#[tokio::test]
async fn documents_beyond_the_limit_are_refused_by_its_name() {
    let bench = Bench::new().await;
    let labels = json!({"Labels": {"long": "x".repeat(5 << 20)}});
    let image = TestImage::new(&[tar(&[Item::File("f", "x")])], labels);
    let server = Server::registry(image, |_| None).await;
    let error = bench
        .pull(&format!("{}/hostile:1", server.address))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::ResourceExhausted, "{error}");
    assert!(error.to_string().contains("images.max_document_bytes"), "{error}");

    let image = TestImage::of("x");
    let server = Server::registry(image, |request| {
        let manifest = request.target.contains("/manifests/");
        manifest.then(|| Answer::ok(vec![b' '; 5 << 20]))
    })
    .await;
    let error = bench
        .pull(&format!("{}/hostile:1", server.address))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::ResourceExhausted, "{error}");
    assert!(error.to_string().contains("images.max_document_bytes"), "{error}");
}

#[tokio::test]
async fn configurations_with_wrong_types_are_refused_or_pass_for_empty() {
    for (config, good) in [
        (json!(null), true),
        (
            json!({"Env": null, "Cmd": null, "Volumes": null, "User": null, "WorkingDir": null}),
            true,
        ),
        (json!({"Env": "PATH=/"}), false),
        (json!({"Cmd": 5}), false),
        (json!({"Volumes": ["/a"]}), false),
        (json!({"User": 0}), false),
        (json!([]), false),
    ] {
        let bench = Bench::new().await;
        let image = TestImage::new(&[tar(&[Item::File("f", "x")])], config.clone());
        let server = Server::registry(image, |_| None).await;

        match bench.pull(&format!("{}/hostile:1", server.address)).await {
            Ok(_) => assert!(good, "{config}"),
            Err(error) => {
                assert!(!good, "{config}: {error}");
                assert_eq!(error.kind(), Kind::InvalidArgument, "{config}: {error}");
                assert!(
                    error.to_string().contains("image configuration"),
                    "{config}: {error}"
                );
            }
        }
    }
}
