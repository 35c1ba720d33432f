//! The deep check: whatever is changed in a stored layer is found, and repair brings the layer anew, or says why it does not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;

use crate::harness::daemon::{Daemon, Place};
use crate::harness::image::{Packing, Recipe, TestImage};
use crate::harness::place::Audit;
use crate::harness::pod::Pod;
use crate::harness::registry::Registry;
use crate::harness::trials;
use crate::pulls::{image, request, spec};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        damage_in_a_layer_is_found_by_a_deep_check,
        whatever_is_changed_about_a_layer_is_found,
        a_damaged_layer_is_pulled_again_beside_a_daemon,
        a_damaged_layer_is_pulled_again_at_rest,
        a_damaged_layer_that_a_container_uses_is_left_alone,
        a_damaged_image_that_cannot_be_pulled_again_is_removed_and_told,
    ]
}

/// The directory of the layer that has a file.
fn layer_with(place: &Place, file: &str) -> PathBuf {
    let layers = fs::read_dir(place.state.join("images/l")).unwrap().flatten();
    let mut found = layers
        .map(|layer| layer.path())
        .filter(|layer| layer.join(file).exists());
    found.next().unwrap()
}

/// Flips one bit of a file and leaves its size and time as they are.
fn flip(path: &Path) {
    let time = path.metadata().unwrap().modified().unwrap();
    let mut content = fs::read(path).unwrap();
    content[0] ^= 1;
    fs::write(path, content).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

/// A daemon that has pulled an image from a registry: by which name, and where the file `which` of it lies.
async fn pulled(label: &str) -> (Daemon, Registry, TestImage, String, PathBuf) {
    let (daemon, registry) = (Daemon::with_images(label).await, Registry::start().await);
    let image = image(Packing::Gzip);
    let name = format!("{}/e2e/{label}:1", registry.host);
    registry.push(&format!("e2e/{label}"), "1", &image).await;
    daemon.images().pull_image(request(&name, None)).await.unwrap();
    let file = layer_with(&daemon.place, "which").join("which");
    (daemon, registry, image, name, file)
}

async fn names(daemon: &Daemon, name: &str) -> Vec<String> {
    let request = k8s_cri::v1::ImageStatusRequest {
        image: spec(name),
        verbose: false,
    };
    let answer = daemon.images().image_status(request).await.unwrap().into_inner();
    answer.image.map(|image| image.repo_tags).unwrap_or_default()
}

fn error(audit: &Audit, class: &str) -> String {
    let mut of_class = audit.findings.iter().filter(|finding| finding["class"] == class);
    of_class.next().unwrap()["error"].as_str().unwrap().to_owned()
}

async fn nothing_is_damaged(place: &Place) {
    let deep = place.audit(&["--deep"]).await;
    assert_eq!(deep.code, 0, "{:#?}", deep.findings);
}

async fn damage_in_a_layer_is_found_by_a_deep_check() {
    let daemon = Daemon::with_images("check-deep").await;
    let deep = daemon.place.audit(&["--deep"]).await;
    assert_eq!(deep.code, 0, "{:#?}", deep.findings);
    let image = TestImage::build(&Recipe {
        files: vec![
            ("deep/flipped", 0, 0o644, vec![7; 5000]),
            ("deep/emptied", 0, 0o644, vec![8; 5000]),
            ("deep/missing", 0, 0o644, vec![9; 5000]),
            ("deep/whole", 0, 0o644, vec![6; 5000]),
        ],
        ..Recipe::default()
    });
    daemon.import("registry.example/e2e/deep:1", &image).await;
    let dir = layer_with(&daemon.place, "deep").join("deep");
    let mut flipped = fs::read(dir.join("flipped")).unwrap();
    flipped[4321] ^= 1;
    fs::write(dir.join("flipped"), flipped).unwrap();
    fs::write(dir.join("emptied"), "").unwrap();
    fs::remove_file(dir.join("missing")).unwrap();
    daemon.check().await;

    let beside = daemon.place.audit(&["--deep"]).await;
    let (place, _) = daemon.stop().await;
    let at_rest = place.audit(&["--deep"]).await;

    for audit in [beside, at_rest] {
        let damaged = ["emptied", "flipped", "missing"];
        let damaged = damaged.map(|name| (dir.join(name).display().to_string(), false));
        assert_eq!(audit.of("content"), damaged, "{:#?}", audit.findings);
        assert_eq!(audit.code, 1);
    }
    let daemon = Daemon::start(place).await;
    let removed = daemon
        .cli(&["image", "remove", "registry.example/e2e/deep:1"])
        .await;
    assert!(removed.status.success(), "{removed:?}");
    daemon.import("registry.example/e2e/deep:1", &image).await;
    let deep = daemon.place.audit(&["--deep"]).await;
    assert_eq!(deep.code, 0, "{:#?}", deep.findings);
}

/// A change, or the way back from it.
type Step<'a> = &'a dyn Fn();

async fn whatever_is_changed_about_a_layer_is_found() {
    let (daemon, _registry, _image, _name, file) = pulled("changed").await;
    let layer = file.parent().unwrap().to_owned();
    let about = daemon
        .place
        .state
        .join("images/m")
        .join(layer.file_name().unwrap());
    let list = about.join("files");
    let description = about.join("layer.json");
    let (mode, time) = {
        let metadata = file.metadata().unwrap();
        (metadata.permissions(), metadata.modified().unwrap())
    };
    let kept = (
        fs::read(&list).unwrap(),
        fs::read_to_string(&description).unwrap(),
    );
    nothing_is_damaged(&daemon.place).await;
    let changes: [(&str, Step<'_>, Step<'_>); 5] = [
        (
            "the mode",
            &|| fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)).unwrap(),
            &|| fs::set_permissions(&file, mode.clone()).unwrap(),
        ),
        ("the owner", &|| chown(&file, Some(1000), None).unwrap(), &|| {
            chown(&file, Some(0), None).unwrap()
        }),
        (
            "a file more",
            &|| fs::write(layer.join("more"), "").unwrap(),
            &|| fs::remove_file(layer.join("more")).unwrap(),
        ),
        ("the list", &|| flip(&list), &|| {
            fs::write(&list, &kept.0).unwrap();
        }),
        (
            "the description",
            &|| fs::write(&description, kept.1.replace("\"bytes\":", "\"bytes\":1")).unwrap(),
            &|| fs::write(&description, &kept.1).unwrap(),
        ),
    ];
    for (what, change, back) in changes {
        change();

        let beside = daemon.place.audit(&["--deep"]).await;

        let found = [(format!("{}", layer.display()), false)];
        let told: Vec<_> = beside.of("content");
        let told: Vec<_> = told
            .iter()
            .map(|(thing, repaired)| (thing.trim_end_matches('/').to_owned(), *repaired))
            .collect();
        assert_eq!(told, found, "{what}: {:#?}", beside.findings);
        back();
        let options = fs::File::options().write(true).open(&file).unwrap();
        options.set_modified(time).unwrap();
        nothing_is_damaged(&daemon.place).await;
    }
}

async fn a_damaged_layer_is_pulled_again_beside_a_daemon() {
    let (daemon, _registry, image, name, file) = pulled("mended").await;
    let content = fs::read(&file).unwrap();
    flip(&file);

    let found = daemon.place.audit(&["--deep"]).await;
    let repaired = daemon.place.audit(&["--deep", "--repair"]).await;

    assert_eq!(found.of("content"), [(file.display().to_string(), false)]);
    assert_eq!(repaired.of("content"), [(file.display().to_string(), true)]);
    assert_eq!(repaired.code, 0, "{:#?}", repaired.findings);
    nothing_is_damaged(&daemon.place).await;
    assert_eq!(names(&daemon, &image.id()).await, [name]);
    let anew = layer_with(&daemon.place, "which").join("which");
    assert_eq!(fs::read(&anew).unwrap(), content);
    assert_ne!(anew, file);
}

async fn a_damaged_layer_is_pulled_again_at_rest() {
    let (daemon, _registry, image, name, file) = pulled("rested").await;
    let content = fs::read(&file).unwrap();
    let (place, _) = daemon.stop().await;
    flip(&file);

    let repaired = place.audit(&["--deep", "--repair"]).await;

    assert_eq!(repaired.of("content"), [(file.display().to_string(), true)]);
    assert_eq!(repaired.code, 0, "{:#?}", repaired.findings);
    let anew = layer_with(&place, "which").join("which");
    assert_eq!(fs::read(&anew).unwrap(), content);
    let daemon = Daemon::start(place).await;
    assert_eq!(names(&daemon, &image.id()).await, [name]);
    nothing_is_damaged(&daemon.place).await;
}

async fn a_damaged_layer_that_a_container_uses_is_left_alone() {
    let (daemon, _registry, _image, name, file) = pulled("used").await;
    let pod = Pod::run(&daemon, "used").await;
    let container = pod
        .create_with("main", &["/which"], |config| config.image = spec(&name))
        .await;
    flip(&file);
    let damaged = fs::read(&file).unwrap();

    let refused = daemon.place.audit(&["--deep", "--repair"]).await;

    assert_eq!(refused.code, 1);
    assert_eq!(refused.of("content"), [(file.display().to_string(), false)]);
    let reason = error(&refused, "content");
    assert!(
        reason.contains(&container.id) && reason.contains("remove them first"),
        "{reason}"
    );
    assert_eq!(fs::read(&file).unwrap(), damaged);
    assert_eq!(names(&daemon, &name).await, [name.as_str()]);
    pod.remove().await;
    let repaired = daemon.place.audit(&["--deep", "--repair"]).await;
    assert_eq!(repaired.code, 0, "{:#?}", repaired.findings);
    nothing_is_damaged(&daemon.place).await;
}

async fn a_damaged_image_that_cannot_be_pulled_again_is_removed_and_told() {
    let daemon = Daemon::with_images("check-imported").await;
    let (image, name) = (image(Packing::Gzip), "registry.example/e2e/imported:1");
    daemon.import(name, &image).await;
    let file = layer_with(&daemon.place, "which").join("which");
    flip(&file);

    let repaired = daemon.place.audit(&["--deep", "--repair"]).await;

    assert_eq!(repaired.code, 1);
    assert_eq!(repaired.of("content"), [(file.display().to_string(), true)]);
    assert_eq!(repaired.of("record"), [(name.to_owned(), false)]);
    assert_eq!(names(&daemon, name).await, [""; 0]);
    assert!(!file.exists());
    daemon.import(name, &image).await;
    assert_eq!(names(&daemon, name).await, [name]);
    nothing_is_damaged(&daemon.place).await;
}
