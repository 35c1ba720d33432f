//! Entries that change what a path means while the layer is unpacked, and attributes that give rights.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};

use tar::EntryType;

use super::fixture::{LIMITS, Place, layer, refused, xattr};
use crate::image::unpack::Limits;

#[test]
fn links_swapped_between_entries_lead_nowhere() {
    // Directory, link, directory, link: each time something is put below.
    for target in ["../..", "../../victim", "/", "..", "."] {
        let place = Place::unpack(
            layer()
                .directory("a", 0o755)
                .file("a/one", "x")
                .symlink("a", target)
                .file("a/two", "x")
                .directory("a", 0o755)
                .file("a/three", "x")
                .symlink("a", target)
                .hardlink("b", "a/victim")
                .symlink("b", "a")
                .file("b/victim", "x")
                .file("b/.wh.victim", ""),
            false,
        );
        // Where it led, if it led anywhere: below the layer's own root. That nothing beside it changed, the place has seen.
        if place.result.is_ok() {
            let root = place.path("");
            assert!(fs::canonicalize(&root).unwrap().starts_with(place.dir.path()));
        }
    }
}

#[test]
fn hard_links_and_whiteouts_through_links_stay_inside() {
    for target in ["../..", "/", "../../../../../.."] {
        let through =
            |name: &str| Place::unpack(layer().symlink("out", target).hardlink(name, "out/victim"), false);
        let place = through("hard");
        if place.result.is_ok() {
            // Left to the layers below, where there is none such either.
            assert_eq!(place.pending().links.len(), 1, "{target}");
        }
        let hidden = Place::unpack(layer().symlink("out", target).file("out/.wh.victim", ""), false);
        assert!(hidden.dir.path().join("victim").exists(), "{target}");
        let opaque = Place::unpack(layer().symlink("out", target).file("out/.wh..wh..opq", ""), false);
        assert_eq!(
            xattr(opaque.dir.path(), "trusted.overlay.opaque"),
            None,
            "{target}"
        );
    }
}

#[test]
fn links_that_lead_in_circles_are_an_error() {
    refused(layer().symlink("a", "b").symlink("b", "a").file("a/x", "x"));
    refused(layer().symlink("a", "a/a").file("a/x", "x"));
}

#[test]
fn conflicting_entries_leave_the_last() {
    let place = Place::good(
        layer()
            .file("f", "one")
            .file("f", "two")
            .directory("f", 0o700)
            .file("f/inside", "x")
            .symlink("f", "elsewhere")
            .node(EntryType::Fifo, "f", 0, 0)
            .file("./f", "last")
            .directory("d", 0o700)
            .file("d/kept", "x")
            .directory("d/", 0o711),
    );

    assert_eq!(fs::read_to_string(place.path("f")).unwrap(), "last");
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 2);
    assert_eq!(
        place.path("d").metadata().unwrap().permissions().mode() & 0o7777,
        0o711
    );
    assert!(place.path("d/kept").exists());
}

/// Set-user-ID, nodes and capabilities of files are an image's own affair: they are kept, where only root comes.
#[test]
fn rights_of_files_are_kept_where_nobody_comes() {
    let mut suid = super::fixture::Layer::header(EntryType::Regular, "suid", "", 0);
    suid.set_mode(0o6755);
    suid.set_uid(0);
    // vfs_cap_data of revision 2: effective, CAP_NET_RAW.
    let caps = "\u{1}\0\0\u{2}\0 \0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let place = Place::good(
        layer()
            .push(suid, b"")
            .node(EntryType::Block, "disk", 8, 0)
            .node(EntryType::Char, "mem", 1, 1)
            .pax(&[("SCHILY.xattr.security.capability", caps)])
            .file("capable", "x"),
    );

    assert_eq!(
        place.path("suid").metadata().unwrap().permissions().mode() & 0o7777,
        0o6755
    );
    let disk = place.path("disk").metadata().unwrap();
    assert!(disk.file_type().is_block_device() && disk.rdev() == rustix::fs::makedev(8, 0));
    assert_eq!(
        xattr(&place.path("capable"), "security.capability").unwrap(),
        caps.as_bytes()
    );
}

#[test]
fn odd_extended_headers_mean_one_thing_or_are_refused() {
    for bad in [
        ("path", "a\0b"),
        ("path", ".."),
        ("linkpath", "x\0y"),
        ("size", "-1"),
        ("size", "18446744073709551616"),
        ("uid", "-1"),
        ("uid", "4294967296"),
        ("gid", "99999999999999999999"),
    ] {
        let made = layer().pax(&[bad]).push(
            super::fixture::Layer::header(
                if bad.0 == "linkpath" {
                    EntryType::Symlink
                } else {
                    EntryType::Regular
                },
                "a",
                "b",
                0,
            ),
            b"",
        );
        refused(made);
    }
    // Length fields that lie.
    for text in [
        "999 path=x\n",
        "5 path=x\n",
        "path=x\n",
        "0 \n",
        "-9 path=x\n",
        "99999999999999999999 path=x\n",
    ] {
        let header = super::fixture::Layer::header(EntryType::XHeader, "pax", "", text.len());
        refused(layer().push(header, text.as_bytes()).file("a", ""));
    }
    // One at the end, for no entry.
    let place = Place::unpack(layer().file("a", "").pax(&[("path", "../x")]), false);
    assert!(place.path("a").exists());
}

/// A million by `CORACLE_TEST_FULL=1`, five thousand without.
#[test]
fn a_layer_of_very_many_entries_is_unpacked_and_removed() {
    let count = if std::env::var_os("CORACLE_TEST_FULL").is_some() {
        1_000_000
    } else {
        5_000
    };
    let limits = Limits {
        entries: count,
        bytes: 1 << 40,
        ..LIMITS
    };
    let many = (0..count).fold(layer(), |layer, n| layer.file(&format!("d{}/{n}", n % 97), ""));

    let place = Place::unpack_within(many, false, limits);

    assert_eq!(place.facts().inodes, count + 97 + 1);
    crate::image::staging::remove_tree(&place.dir.path().join("staging")).unwrap();
    assert!(!place.dir.path().join("staging").exists());
}
