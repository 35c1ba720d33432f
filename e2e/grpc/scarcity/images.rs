//! Images on disks without room or inodes: what could not be brought says so, leaves nothing, and comes when there is room.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use k8s_cri::v1;
use libtest_mimic::Trial;
use tonic::Code;

use super::disk::Disk;
use crate::harness::daemon::{Daemon, Place, image_name};
use crate::harness::image::{Packing, Recipe, TestImage};
use crate::harness::node::node;
use crate::harness::pod::Pod;
use crate::harness::registry::Registry;
use crate::harness::{eventually, trials};
use crate::pulls::{request, spec};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        images_are_pulled_onto_a_disk_with_ever_less_room,
        images_are_imported_onto_a_disk_with_ever_less_room,
        images_are_pulled_onto_a_disk_with_ever_fewer_inodes,
    ]
}

/// Files of an image: as many inodes as these, and some room.
const FILES: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

fn image() -> TestImage {
    let file = |name| (name, 0, 0o644, format!("{name}\n").repeat(100_000).into_bytes());
    TestImage::build(&Recipe {
        files: FILES.into_iter().map(file).collect(),
        packing: Packing::Gzip,
        ..Recipe::default()
    })
}

/// A daemon with the common image, whose state lies on a small disk.
async fn on_small_disk(purpose: &str, options: &str) -> (Daemon, Disk) {
    let place = Place::new(purpose);
    let disk = Disk::ext4(&place.state, "48M", options);
    let daemon = Daemon::start(place).await;
    daemon
        .import(&image_name(), &TestImage::build(&Recipe::default()))
        .await;
    (daemon, disk)
}

/// All paths below a directory.
fn paths(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(paths(&entry.path()));
        }
        found.insert(entry.path());
    }
    found
}

async fn names(daemon: &Daemon) -> Vec<String> {
    let mut client = daemon.images();
    let list = client.list_images(v1::ListImagesRequest::default()).await;
    let images = list.unwrap().into_inner().images;
    images.into_iter().flat_map(|image| image.repo_tags).collect()
}

/// Brings an image with ever less of something. `Err` is why it could not be brought: a code and a text.
async fn ever_less(
    daemon: &Daemon,
    disk: &Disk,
    (amounts, take): (&[u64], impl Fn(&Disk, u64)),
    name: &str,
    mut bring: impl AsyncFnMut() -> Result<(), (Option<Code>, String)>,
) {
    let store = daemon.place.state.join("images");
    let before = (names(daemon).await, paths(&store));
    let mut refused = 0;
    for left in amounts {
        take(disk, *left);
        let outcome = bring().await;
        if let Err((code, text)) = &outcome {
            refused += 1;
            assert!(
                code.is_none_or(|code| code == Code::ResourceExhausted),
                "{left}: {code:?} {text}"
            );
            assert!(text.contains("No space left on device"), "{left}: {text}");
            assert_eq!(names(daemon).await, before.0, "{left}");
            eventually("nothing of it is left", async || {
                (paths(&store) == before.1).then_some(())
            })
            .await;
        }
        disk.free();
        daemon.check().await;
        eventually("it is brought when there is room", async || bring().await.ok()).await;
        let pod = Pod::run(daemon, "brought").await;
        let output = pod
            .output_with("main", "cat /one | head -n 1", |config| config.image = spec(name))
            .await;
        assert_eq!(output, "one\n", "{left}");
        pod.remove().await;
        let remove = v1::RemoveImageRequest { image: spec(name) };
        daemon.images().remove_image(remove).await.unwrap();
        eventually("the store is as before", async || {
            (paths(&store) == before.1).then_some(())
        })
        .await;
    }
    assert!(refused > 0 && refused < amounts.len(), "{refused}");
}

async fn pulled(daemon: &Daemon, name: &str) -> Result<(), (Option<Code>, String)> {
    let answer = daemon.images().pull_image(request(name, None)).await;
    answer
        .map(drop)
        .map_err(|status| (Some(status.code()), status.message().to_owned()))
}

const ROOM: [u64; 9] = [24_576, 4096, 2048, 1024, 256, 64, 32, 8, 0];

async fn images_are_pulled_onto_a_disk_with_ever_less_room() {
    let (daemon, disk) = on_small_disk("pull-room", "").await;
    let registry = Registry::start().await;
    registry.push("e2e/room", "1", &image()).await;
    let name = format!("{}/e2e/room:1", registry.host);

    let bring = async || pulled(&daemon, &name).await;
    ever_less(&daemon, &disk, (&ROOM, Disk::fill), &name, bring).await;
}

async fn images_are_pulled_onto_a_disk_with_ever_fewer_inodes() {
    let (daemon, disk) = on_small_disk("pull-inodes", "-N 1024").await;
    let registry = Registry::start().await;
    registry.push("e2e/inodes", "1", &image()).await;
    let name = format!("{}/e2e/inodes:1", registry.host);

    let bring = async || pulled(&daemon, &name).await;
    let inodes = [200, 8, 6, 4, 3, 2, 1, 0];
    ever_less(&daemon, &disk, (&inodes, Disk::take_inodes), &name, bring).await;
}

async fn images_are_imported_onto_a_disk_with_ever_less_room() {
    let (daemon, disk) = on_small_disk("import-room", "").await;
    let archive = node().disk.join(format!("archive-{}.tar", node().number()));
    image().write_archive(&archive);
    let path = archive.to_str().unwrap();
    let name = "registry.example/e2e/imported:1";

    let bring = async || {
        let output = daemon.cli(&["image", "import", "--name", name, path]).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        output.status.success().then_some(()).ok_or((None, text))
    };
    ever_less(&daemon, &disk, (&ROOM, Disk::fill), name, bring).await;
}
