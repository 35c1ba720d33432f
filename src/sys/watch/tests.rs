//! Tests of watching directories that come and go.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// A limit for what would otherwise wait for ever.
async fn told(watch: &mut DirWatch, after: &str) {
    let changed = tokio::time::timeout(Duration::from_secs(20), watch.changed()).await;
    changed
        .unwrap_or_else(|_| panic!("nothing is told after {after}"))
        .unwrap();
}

#[tokio::test]
async fn each_way_a_file_changes_is_told() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("dir");
    fs::create_dir(&dir).unwrap();
    let mut watch = DirWatch::new(vec![dir.clone()]);

    fs::write(dir.join("a"), "1").unwrap();
    told(&mut watch, "a new file").await;
    fs::write(dir.join("a"), "2").unwrap();
    told(&mut watch, "a written file").await;
    fs::rename(dir.join("a"), dir.join("b")).unwrap();
    told(&mut watch, "a renamed file").await;
    symlink("b", dir.join("c")).unwrap();
    told(&mut watch, "a link").await;
    fs::remove_file(dir.join("b")).unwrap();
    told(&mut watch, "a removed file").await;
}

#[tokio::test]
async fn a_directory_that_does_not_exist_is_waited_for_step_by_step() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a/b/c");
    let mut watch = DirWatch::new(vec![dir.clone()]);

    fs::create_dir(root.path().join("a")).unwrap();
    told(&mut watch, "its first step").await;
    fs::create_dir_all(&dir).unwrap();
    told(&mut watch, "the rest").await;
    fs::write(dir.join("file"), "1").unwrap();
    told(&mut watch, "a file in it").await;
}

#[tokio::test]
async fn a_directory_removed_and_made_again_is_watched_again() {
    let root = tempfile::tempdir().unwrap();
    let parent = root.path().join("parent");
    let dir = parent.join("dir");
    fs::create_dir_all(&dir).unwrap();
    let mut watch = DirWatch::new(vec![dir.clone()]);

    for round in 0..3 {
        fs::remove_dir_all(if round == 1 { &parent } else { &dir }).unwrap();
        told(&mut watch, "its removal").await;
        fs::create_dir_all(&dir).unwrap();
        told(&mut watch, "its return").await;
        fs::write(dir.join("file"), "1").unwrap();
        told(&mut watch, "a file in it").await;
    }
}

#[tokio::test]
async fn a_directory_replaced_or_led_elsewhere_is_watched_where_it_is() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    for name in ["dir", "other", "third"] {
        fs::create_dir(path(name)).unwrap();
    }
    let mut watch = DirWatch::new(vec![path("dir")]);

    fs::rename(path("dir"), path("old")).unwrap();
    fs::rename(path("other"), path("dir")).unwrap();
    told(&mut watch, "a replacement").await;
    fs::write(path("dir").join("file"), "1").unwrap();
    told(&mut watch, "a file in the replacement").await;
    fs::remove_dir_all(path("dir")).unwrap();
    symlink("third", path("dir")).unwrap();
    told(&mut watch, "a link in its place").await;
    fs::write(path("third").join("file"), "1").unwrap();
    told(&mut watch, "a file where the link leads").await;
}

#[tokio::test]
async fn where_a_link_leads_may_come_and_go() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    fs::create_dir_all(path("far/away")).unwrap();
    symlink("far/../far/away", path("dir")).unwrap();
    let mut watch = DirWatch::new(vec![path("dir")]);

    fs::remove_dir_all(path("far/away")).unwrap();
    told(&mut watch, "its removal").await;
    fs::create_dir(path("far/away")).unwrap();
    told(&mut watch, "its return").await;
    fs::write(path("far/away/file"), "1").unwrap();
    told(&mut watch, "a file in it").await;
}

#[tokio::test]
async fn a_removal_is_told_while_something_keeps_the_directory_open() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("dir");
    fs::create_dir(&dir).unwrap();
    let mut watch = DirWatch::new(vec![dir.clone()]);
    let _open = fs::File::open(&dir).unwrap();

    fs::remove_dir(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    told(&mut watch, "its removal and return").await;
    fs::write(dir.join("file"), "1").unwrap();
    told(&mut watch, "a file in it").await;
}

#[tokio::test]
async fn a_link_that_is_turned_elsewhere_is_followed() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    for name in ["old", "new"] {
        fs::create_dir(path(name)).unwrap();
    }
    symlink("old", path("dir")).unwrap();
    let mut watch = DirWatch::new(vec![path("dir")]);

    symlink("new", path("link")).unwrap();
    fs::rename(path("link"), path("dir")).unwrap();
    told(&mut watch, "the turn").await;
    fs::write(path("new/file"), "1").unwrap();
    told(&mut watch, "a file where it leads now").await;
}
