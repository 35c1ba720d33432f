//! Snapshots, volumes and what survives a restart.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use serde_json::json;

use super::fixture::{Answer, Bench, Item, Request, Server, TestImage, tar};
use crate::image::Settings;
use crate::model::{
    Filesystem as _, ImageService as _, ImageSpec, Kind, ListImagesRequest, RemoveImageRequest,
};

fn nothing(_: &Request) -> Option<Answer> {
    None
}

async fn pulled(layers: &[Vec<u8>]) -> (Bench, String) {
    let server = Server::registry(TestImage::new(layers, json!({})), nothing).await;
    let bench = Bench::new().await;
    let id = bench.pull(&format!("{}/a", server.address)).await.unwrap();
    (bench, id)
}

#[tokio::test]
async fn a_snapshot_has_the_images_layers_and_root_mode() {
    let layers = [
        tar(&[Item::Directory("./", 0o555), Item::File("one", "1")]),
        tar(&[Item::File("two", "2")]),
    ];
    let (bench, id) = pulled(&layers).await;
    let image = bench.images.resolve(&id).unwrap();

    let snapshot = bench.images.prepare("c1", &image, []).await.unwrap();

    assert_eq!(snapshot.lower.len(), 2);
    assert!(snapshot.lower[0].join("two").exists() && snapshot.lower[1].join("one").exists());
    assert_eq!(
        snapshot.upper.metadata().unwrap().permissions().mode() & 0o7777,
        0o555
    );
    assert!(snapshot.work.is_dir() && snapshot.rootfs.is_dir());
    assert_eq!(bench.images.prepare("c1", &image, []).await.unwrap(), snapshot);
    assert_eq!(bench.images.snapshots(), [snapshot]);
}

#[tokio::test]
async fn malformed_container_ids_are_refused() {
    let (bench, id) = pulled(&[tar(&[])]).await;
    let image = bench.images.resolve(&id).unwrap();

    for container in ["", ".", "..", "../x", "a/b", "a\0b", &"a".repeat(129)] {
        let error = bench.images.prepare(container, &image, []).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{container}");
        assert!(bench.images.remove_snapshot(container).await.is_err());
    }
}

#[tokio::test]
async fn layers_stay_while_a_snapshot_uses_them() {
    let (bench, id) = pulled(&[tar(&[Item::File("file", "x")])]).await;
    let image = bench.images.resolve(&id).unwrap();
    let snapshot = bench.images.prepare("c1", &image, []).await.unwrap();
    let request = RemoveImageRequest {
        image: Some(ImageSpec::named(id)),
    };

    bench.images.remove_image(request).await.unwrap();
    assert!(snapshot.lower[0].join("file").exists());
    bench.images.remove_snapshot("c1").await.unwrap();

    assert!(!snapshot.lower[0].exists());
    bench.images.remove_snapshot("c1").await.unwrap();
    bench.images.drain().await;
    assert!(bench.names("staging").is_empty());
}

#[tokio::test]
async fn a_volume_has_the_images_content_owner_and_mode() {
    let layers = [
        tar(&[
            Item::Directory("data", 0o700),
            Item::Directory("data/sub", 0o711),
            Item::File("data/sub/file", "x"),
        ]),
        tar(&[
            Item::Directory("data", 0o1770),
            Item::Symlink("data/link", "/etc"),
            Item::Symlink("alias", "data"),
        ]),
    ];
    let (bench, id) = pulled(&layers).await;
    bench
        .images
        .prepare("c1", &bench.images.resolve(&id).unwrap(), [])
        .await
        .unwrap();

    let volume = bench.images.volume_source("c1", "/alias").await.unwrap();

    assert_eq!(volume.source.metadata().unwrap().mode() & 0o7777, 0o1770);
    assert_eq!(std::fs::read(volume.source.join("sub/file")).unwrap(), b"x");
    assert_eq!(
        volume.source.join("sub").metadata().unwrap().mode() & 0o7777,
        0o711
    );
    assert_eq!(
        std::fs::read_link(volume.source.join("link")).unwrap().to_str(),
        Some("/etc")
    );
    std::fs::write(volume.source.join("new"), "").unwrap();
    let again = bench.images.volume_source("c1", "/alias").await.unwrap();
    assert!(again.source.join("new").exists());
    let empty = bench.images.volume_source("c1", "/nowhere").await.unwrap();
    assert_eq!(std::fs::read_dir(empty.source).unwrap().count(), 0);
}

#[tokio::test]
async fn everything_is_found_again_after_a_restart() {
    let (bench, id) = pulled(&[tar(&[Item::File("file", "x")]), tar(&[Item::File("more", "y")])]).await;
    let image = bench.images.resolve(&id).unwrap();
    let snapshot = bench.images.prepare("c1", &image, []).await.unwrap();
    let bench = bench
        .restart(|root| {
            for leftover in ["staging/leftover", "l/zz", "m/zz", "c/broken"] {
                std::fs::create_dir(root.join(leftover)).unwrap();
            }
        })
        .await;

    assert_eq!(bench.images.resolve(&id), Some(image));
    assert_eq!(bench.images.snapshots(), [snapshot]);
    bench.images.drain().await;
    assert!(bench.names("staging").is_empty());
    assert_eq!(bench.names("l").len(), 2);
    assert_eq!(bench.names("c"), ["c1"]);
}

#[tokio::test]
async fn an_image_whose_layer_is_gone_is_forgotten() {
    let (bench, id) = pulled(&[tar(&[Item::File("file", "x")])]).await;
    let bench = bench
        .restart(|root| std::fs::remove_dir_all(root.join("l")).unwrap())
        .await;

    assert_eq!(bench.images.resolve(&id), None);
}

#[tokio::test]
async fn file_systems_are_told_from_accounts() {
    let (bench, id) = pulled(&[tar(&[Item::File("file", &"x".repeat(5000))])]).await;
    let image = bench.images.resolve(&id).unwrap();
    bench.images.prepare("c1", &image, []).await.unwrap();

    let told = bench.images.image_filesystems().await.unwrap();

    assert_eq!(
        (told.images[0].used_bytes, told.images[0].inodes_used),
        (4096 + 8192, 2)
    );
    assert_eq!(
        (told.containers[0].used_bytes, told.containers[0].inodes_used),
        (4096, 1)
    );
    assert_eq!(told.images[0].mountpoint, bench.dir.path().join("images"));
}

#[tokio::test]
async fn images_are_pinned_by_name_or_beginning_from_one_list_to_the_next() {
    let (bench, _) = pulled(&[tar(&[])]).await;
    let listed = async || {
        let answer = bench
            .images
            .list_images(ListImagesRequest::default())
            .await
            .unwrap();
        answer.images.into_iter().next().unwrap()
    };
    let name = listed().await.repo_tags[0].clone();
    let untagged = name.strip_suffix(":latest").unwrap();

    for (pattern, pinned) in [
        (name.as_str(), true),
        (untagged, true),
        (&format!("{untagged}*"), true),
        ("*", true),
        (&format!("{untagged}:other"), false),
        ("127.0.0.1", false),
        ("a*", false),
    ] {
        bench.images.pull_by(Settings {
            pinned: vec!["other.example/b:1".to_owned(), pattern.to_owned()],
            ..Settings::at(bench.dir.path().join("images"))
        });

        assert_eq!(listed().await.pinned, pinned, "{pattern}");
    }
}

#[tokio::test]
async fn a_writable_layer_is_counted_when_it_is_asked_for() {
    let (bench, id) = pulled(&[tar(&[])]).await;
    let snapshot = bench
        .images
        .prepare("c1", &bench.images.resolve(&id).unwrap(), [])
        .await
        .unwrap();
    std::fs::write(snapshot.upper.join("one"), vec![1; 8192]).unwrap();
    std::fs::hard_link(snapshot.upper.join("one"), snapshot.upper.join("two")).unwrap();

    let before = bench.images.writable_layer_usage("c1").unwrap();
    bench.images.drain().await;
    let after = bench.images.writable_layer_usage("c1").unwrap();

    assert_eq!(before.inodes_used, 1);
    assert_eq!(after.inodes_used, 2);
    for usage in [before, after] {
        assert_eq!(usage.mountpoint, bench.dir.path().join("images"));
    }
    assert_eq!(bench.images.writable_layer_usage("other"), None);
}

#[tokio::test]
async fn files_that_are_not_regular_or_large_are_not_read() {
    let layer = tar(&[
        Item::Directory("dir", 0o755),
        Item::Symlink("loop", "loop"),
        Item::File("large", &"x".repeat((1 << 20) + 1)),
    ]);
    let (bench, id) = pulled(&[layer]).await;
    let image = bench.images.resolve(&id).unwrap();

    for path in ["/dir", "/loop", "/large", "/"] {
        assert!(bench.images.read_file(&image, path).await.is_err(), "{path}");
    }
    assert_eq!(bench.images.read_file(&image, "/none/x").await.unwrap(), None);
}

#[tokio::test]
async fn what_a_layer_leaves_open_is_settled_from_below() {
    let mut links = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Link);
    header.set_size(0);
    header.set_mode(0o644);
    links.append_link(&mut header, "dir/hard", "dir/file").unwrap();
    let layers = [
        tar(&[Item::Directory("dir", 0o710), Item::File("dir/file", "below")]),
        links.into_inner().unwrap(),
    ];

    let (bench, id) = pulled(&layers).await;

    let image = bench.images.resolve(&id).unwrap();
    let top = bench.images.rootfs_layers(&image).unwrap()[0].join("dir");
    assert_eq!(top.metadata().unwrap().mode() & 0o7777, 0o710);
    assert_eq!(std::fs::read(top.join("hard")).unwrap(), b"below");
    assert_eq!(bench.read(&id, "dir/file").await.unwrap(), "below");
}

/// Unmounts at the end of a test, failed or not.
struct Mounted<'a>(&'a std::path::Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

#[tokio::test]
async fn the_kernel_merges_a_snapshot_as_the_image_says() {
    let layers = [
        tar(&[
            Item::Directory("./", 0o751),
            Item::Directory("a", 0o755),
            Item::File("a/gone", "x"),
            Item::File("a/kept", "x"),
            Item::Directory("o", 0o755),
            Item::File("o/below", "x"),
        ]),
        tar(&[
            Item::Directory("a", 0o700),
            Item::File("a/.wh.gone", ""),
            Item::Directory("o", 0o755),
            Item::File("o/.wh..wh..opq", ""),
            Item::File("o/above", "x"),
        ]),
    ];
    let (bench, id) = pulled(&layers).await;
    let snapshot = bench
        .images
        .prepare("c1", &bench.images.resolve(&id).unwrap(), [])
        .await
        .unwrap();
    let lower: Vec<_> = snapshot.lower.iter().map(|p| p.to_str().unwrap()).collect();
    let (upper, work) = (snapshot.upper.display(), snapshot.work.display());
    let options = format!("lowerdir={},upperdir={upper},workdir={work}", lower.join(":"));
    let options = std::ffi::CString::new(options).unwrap();

    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("overlay", &snapshot.rootfs, "overlay", flags, options.as_c_str()).unwrap();
    let _mounted = Mounted(&snapshot.rootfs);

    let names = |path: &str| {
        let mut names: Vec<_> = std::fs::read_dir(snapshot.rootfs.join(path))
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(""), ["a", "o"]);
    assert_eq!(names("a"), ["kept"]);
    assert_eq!(names("o"), ["above"]);
    assert_eq!(snapshot.rootfs.metadata().unwrap().mode() & 0o7777, 0o751);
    assert_eq!(
        snapshot.rootfs.join("a").metadata().unwrap().mode() & 0o7777,
        0o700
    );
}
