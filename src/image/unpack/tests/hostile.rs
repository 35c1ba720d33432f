//! Layers that attack, and broken ones.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tar::EntryType;

use super::fixture::{Layer, Place, is_whiteout, layer, refused, xattr};

#[test]
fn names_that_lead_upwards_are_refused() {
    refused(layer().file("../victim", "x"));
    refused(layer().file("a/../../victim", "x"));
    refused(layer().directory("..", 0o777));
    refused(layer().hardlink("a", "../victim"));
    refused(layer().pax(&[("path", "../victim")]).file("a", "x"));
    refused(layer().pax(&[("path", "a/../../victim")]).file("a", "x"));
}

#[test]
fn absolute_names_are_beneath_the_root() {
    let place = Place::good(layer().file("/victim", "x"));

    assert_eq!(fs::read_to_string(place.path("victim")).unwrap(), "x");
}

#[test]
fn links_lead_nowhere_outside() {
    for target in ["../..", "/", "/proc/self/root", "/tmp"] {
        let place = Place::unpack(layer().symlink("link", target).file("link/made", "x"), false);

        assert!(!Path::new("/made").exists() && !Path::new("/tmp/made").exists());
        assert!(place.dir.path().join("staging/fs").is_dir());
    }
    // A file or a mode through a link at the end of the path takes the link's place.
    let place = Place::good(
        layer()
            .symlink("link", "../../victim")
            .file("link", "x")
            .directory("link2", 0o700),
    );
    assert!(place.path("link").symlink_metadata().unwrap().is_file());
    let place = Place::good(layer().symlink("link", "../..").directory("link", 0o700));
    assert!(place.path("link").symlink_metadata().unwrap().is_dir());
}

#[test]
fn the_root_is_a_directory_and_stays_one() {
    refused(layer().symlink(".", "/"));
    refused(layer().symlink("/", "/"));
    refused(layer().file("./", "").file(".", "x"));
    refused(layer().hardlink(".", "a"));
    let place = Place::good(layer().directory("./", 0o711));
    assert_eq!(place.facts().root.unwrap().mode, 0o711);
}

#[test]
fn hard_links_stay_within_the_layer() {
    let through = Place::unpack(
        layer().symlink("link", "../../victim").hardlink("hard", "link"),
        false,
    );
    assert!(through.path("hard").symlink_metadata().unwrap().is_symlink());
    let absent = Place::good(
        layer()
            .directory("dir", 0o755)
            .hardlink("dir/hard", "/etc/hostname"),
    );
    assert!(!absent.path("dir/hard").exists());
    assert_eq!(
        absent.pending().links,
        [(b"dir/hard".to_vec(), b"etc/hostname".to_vec())]
    );
    refused(layer().directory("dir", 0o755).hardlink("hard", "dir"));
    refused(layer().file("a", "x").hardlink("a", "a"));
    let good = Place::good(
        layer()
            .file("a", "x")
            .hardlink("b", "./a")
            .file("b2", "y")
            .hardlink("b2", "a"),
    );
    assert_eq!(good.path("a").metadata().unwrap().nlink(), 3);
    assert_eq!(good.facts().inodes, 2);
}

#[test]
fn whiteouts_become_overlays_own() {
    let place = Place::good(
        layer()
            .directory("d", 0o755)
            .file("d/.wh.gone", "")
            .file("d/.wh..wh..opq", "")
            .file("kept", "x")
            .file(".wh.kept", "")
            .file(".wh.late", "")
            .file("late", "x")
            .file(".wh.dir", "")
            .directory("dir", 0o755)
            .file(".wh..wh.plnk", ""),
    );

    assert!(is_whiteout(&place.path("d/gone")));
    assert_eq!(xattr(&place.path("d"), "trusted.overlay.opaque").unwrap(), b"y");
    assert_eq!(fs::read_to_string(place.path("kept")).unwrap(), "x");
    assert_eq!(fs::read_to_string(place.path("late")).unwrap(), "x");
    assert_eq!(xattr(&place.path("dir"), "trusted.overlay.opaque").unwrap(), b"y");
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 4);
    assert!(place.facts().whiteouts && !place.facts().bottom_only);
}

#[test]
fn whiteouts_hide_one_plain_name_or_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh...", ".wh.a/b/../../c"] {
        refused(layer().file(name, ""));
    }
}

#[test]
fn the_lowest_layer_has_no_whiteouts() {
    let place = Place::unpack(layer().file(".wh.a", "").file(".wh..wh..opq", ""), true);

    assert!(place.facts().bottom_only && !place.facts().whiteouts);
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 0);
}

#[test]
fn nobody_else_makes_overlays_own() {
    let place = Place::good(
        layer()
            .node(EntryType::Char, "zero", 0, 0)
            .pax(&[
                ("SCHILY.xattr.trusted.overlay.opaque", "y"),
                ("SCHILY.xattr.trusted.overlay.redirect", "/etc"),
                ("SCHILY.xattr.user.overlay.opaque", "y"),
                ("SCHILY.xattr.security.selinux", "x"),
                ("SCHILY.xattr.user.kept", "v"),
            ])
            .directory("dir", 0o755),
    );

    assert!(!place.path("zero").exists());
    for name in [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "user.overlay.opaque",
    ] {
        assert_eq!(xattr(&place.path("dir"), name), None, "{name}");
    }
    assert_eq!(xattr(&place.path("dir"), "user.kept").unwrap(), b"v");
}

#[test]
fn limits_hold() {
    let many = (0..101).fold(layer(), |layer, n| layer.file(&format!("{n}"), ""));
    refused(many);
    refused(layer().file("large", &"x".repeat(1 << 20)));
    let huge = [("GNU.sparse.map", "0,1"), ("GNU.sparse.size", "8589934592")];
    refused(layer().pax(&huge).file("sparse", "x"));
    let deep = "d/".repeat(300);
    refused(layer().pax(&[("path", deep.as_str())]).directory("x", 0o755));
    let mut extension = Layer::header(EntryType::XHeader, "pax", "", 0);
    extension.set_size(2 << 20);
    refused(layer().push(extension, b""));
    let bomb = {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![0; 8 << 20]).unwrap();
        encoder.finish().unwrap()
    };
    refused(Layer(bomb));
}

#[test]
fn broken_archives_are_refused() {
    let good = layer().file("file", "content").0;
    refused(Layer(good[..300].to_vec()));
    refused(Layer(good[..515].to_vec()));
    let mut wrong = good.clone();
    wrong[0] ^= 1;
    refused(Layer(wrong));
    let mut after = good;
    after.extend_from_slice(&[0; 512]);
    after.extend_from_slice(&layer().file("b", "x").0);
    refused(Layer(after));
    refused(layer().node(EntryType::new(b'Q'), "odd", 0, 0));
    refused(layer().pax(&[("uid", "4294967295")]).file("a", "x"));
    refused(
        layer()
            .pax(&[("GNU.sparse.map", "5,9,0,1"), ("GNU.sparse.size", "20")])
            .file("a", "x"),
    );
}
