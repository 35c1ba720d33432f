//! Layers that are fine, and what becomes of them.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use tar::EntryType;

use super::fixture::{Layer, Place, layer};

#[test]
fn owner_mode_times_and_kinds_are_kept() {
    let mut setuid = Layer::header(EntryType::Regular, "setuid", "", 1);
    setuid.set_mode(0o4755);
    setuid.set_uid(1000);
    setuid.set_gid(2_000_000);
    let place = Place::good(
        layer()
            .push(setuid, b"x")
            .node(EntryType::Char, "null", 1, 3)
            .node(EntryType::Fifo, "fifo", 0, 0)
            .pax(&[("mtime", "1234.000000567")])
            .directory("dir", 0o1777)
            .file("dir/file", "x"),
    );

    let meta = place.path("setuid").metadata().unwrap();
    assert_eq!(
        (meta.uid(), meta.gid(), meta.mode() & 0o7777),
        (1000, 2_000_000, 0o4755)
    );
    assert_eq!(
        place.path("null").metadata().unwrap().rdev(),
        rustix::fs::makedev(1, 3)
    );
    assert!(place.path("fifo").metadata().unwrap().file_type().is_fifo());
    let meta = place.path("dir").metadata().unwrap();
    assert_eq!(
        (meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec()),
        (0o1777, 1234, 567)
    );
    assert_eq!(place.path("dir/file").metadata().unwrap().mtime(), 1000);
}

#[test]
fn a_later_entry_takes_the_place_of_an_earlier() {
    let place = Place::good(
        layer()
            .file("a", "one")
            .file("a", "two")
            .directory("d", 0o755)
            .file("d/x", "x")
            .file("d", "file")
            .file("f", "x")
            .directory("f", 0o755)
            .directory("m", 0o755)
            .file("m/kept", "x")
            .directory("m", 0o700),
    );

    assert_eq!(fs::read_to_string(place.path("a")).unwrap(), "two");
    assert_eq!(fs::read_to_string(place.path("d")).unwrap(), "file");
    assert!(place.path("f").is_dir());
    assert!(place.path("m/kept").exists());
    assert_eq!(place.path("m").metadata().unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_directorys_time_is_that_of_the_last_entry_about_it() {
    let dated = |name: &str, time| {
        let mut header = Layer::header(EntryType::Directory, name, "", 0);
        header.set_mtime(time);
        header
    };
    let place = Place::good(
        layer()
            .push(dated("twice", 1), b"")
            .push(dated("twice", 2), b"")
            .push(dated("gone", 3), b"")
            .symlink("gone", "kept")
            .push(dated("kept", 4), b"")
            .push(dated("above", 5), b"")
            .push(dated("above/inner", 6), b"")
            .symlink("above", "other")
            .push(dated("other/inner", 7), b"")
            .push(dated("loop", 8), b"")
            .symlink("loop", "loop")
            .symlink("way", "kept")
            .push(dated("way/inner", 9), b"")
            .symlink("way", "twice"),
    );

    let time = |name: &str| place.path(name).metadata().unwrap().mtime();
    assert_eq!([time("twice"), time("kept"), time("other/inner")], [2, 4, 7]);
    assert_eq!(time("kept/inner"), 9);
    assert_eq!(fs::read_link(place.path("loop")).unwrap(), Path::new("loop"));
}

#[test]
fn directories_that_are_not_described_are_left_to_the_layers_below() {
    let place = Place::good(layer().file("a/b/c", "x").directory("a", 0o700).file("d/e", "x"));

    assert_eq!(place.pending().directories, [b"a/b".to_vec(), b"d".to_vec()]);
}

#[test]
fn extended_names_win_and_the_last_wins() {
    let long = format!("{}/file", "d".repeat(200));
    let gnu = Layer::header(EntryType::GNULongName, "././@LongLink", "", long.len() + 1);
    let place = Place::good(
        layer()
            .push(gnu, format!("{long}\0").as_bytes())
            .file("short", "x")
            .pax(&[("path", "first"), ("path", "second")])
            .file("header", "y")
            .pax(&[("linkpath", "target")])
            .symlink("link", "other"),
    );

    assert!(place.path(&long).exists());
    assert!(place.path("second").exists() && !place.path("first").exists() && !place.path("header").exists());
    assert_eq!(fs::read_link(place.path("link")).unwrap(), Path::new("target"));
}

#[test]
fn an_extended_size_wins_over_the_header() {
    let mut header = Layer::header(EntryType::Regular, "file", "", 0);
    header.set_size(0);
    let place = Place::good(
        layer()
            .pax(&[("size", "5")])
            .push(header, b"12345")
            .file("next", "x"),
    );

    assert_eq!(fs::read_to_string(place.path("file")).unwrap(), "12345");
    assert!(place.path("next").exists());
}

#[test]
fn sparse_files_have_holes() {
    let mut content = b"2\n0\n4\n65536\n4\n".to_vec();
    content.resize(512, 0);
    content.extend_from_slice(b"headtail");
    let records = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "sparse"),
        ("GNU.sparse.realsize", "131072"),
    ];
    let header = Layer::header(EntryType::Regular, "GNUSparseFile.0/sparse", "", content.len());

    let place = Place::good(layer().pax(&records).push(header, &content).file("next", "x"));

    let bytes = fs::read(place.path("sparse")).unwrap();
    assert_eq!(bytes.len(), 131_072);
    assert_eq!((&bytes[..4], &bytes[65536..65540]), (&b"head"[..], &b"tail"[..]));
    assert!(place.path("sparse").metadata().unwrap().blocks() * 512 <= 16384);
    assert!(place.path("next").exists());
}

#[test]
fn every_regular_file_is_listed_with_its_hash() {
    let place = Place::good(
        layer()
            .file("a", "hello")
            .symlink("b", "a")
            .file("line\nbreak", ""),
    );

    let list = fs::read_to_string(place.dir.path().join("staging/files")).unwrap();

    let hash = xxhash_rust::xxh3::xxh3_64(b"hello");
    let empty = xxhash_rust::xxh3::xxh3_64(b"");
    assert_eq!(list, format!("{hash:016x} 5 a\n{empty:016x} 0 line\\nbreak\n"));
}

#[test]
fn the_digest_covers_what_follows_the_end_marker() {
    let mut bytes = layer().file("a", "x").0;
    bytes.extend_from_slice(&[0; 1024]);
    let without = Place::good(Layer(bytes.clone()));
    bytes.extend_from_slice(b"more");

    let with = Place::good(Layer(bytes.clone()));

    assert_ne!(with.facts().diff_id, without.facts().diff_id);
    assert_eq!(
        with.facts().diff_id,
        crate::image::digest::Digest::of(&bytes).as_str()
    );
}
