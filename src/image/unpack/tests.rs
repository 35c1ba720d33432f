//! Layers as a hostile or an odd tool would write them. Each is unpacked beside a directory it must not reach.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};
use tempfile::TempDir;

use super::{LayerFacts, Limits, Pending, Request, UnpackError, unpack};

/// A layer in the making: names are taken as they are.
#[derive(Default)]
struct Layer(Vec<u8>);

impl Layer {
    fn header(kind: EntryType, name: &str, link: &str, size: usize) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1000);
        header.set_size(size as u64);
        header
    }

    fn push(mut self, mut header: Header, content: &[u8]) -> Layer {
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, text: &str) -> Layer {
        self.push(
            Layer::header(EntryType::Regular, name, "", text.len()),
            text.as_bytes(),
        )
    }

    fn directory(self, name: &str, mode: u32) -> Layer {
        let mut header = Layer::header(EntryType::Directory, name, "", 0);
        header.set_mode(mode);
        self.push(header, b"")
    }

    fn symlink(self, name: &str, target: &str) -> Layer {
        self.push(Layer::header(EntryType::Symlink, name, target, 0), b"")
    }

    fn hardlink(self, name: &str, target: &str) -> Layer {
        self.push(Layer::header(EntryType::Link, name, target, 0), b"")
    }

    fn node(self, kind: EntryType, name: &str, major: u32, minor: u32) -> Layer {
        let mut header = Layer::header(kind, name, "", 0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.push(header, b"")
    }

    fn pax(self, records: &[(&str, &str)]) -> Layer {
        let mut text = String::new();
        for (key, value) in records {
            let rest = format!(" {key}={value}\n");
            let length = (1..).find(|n| n.to_string().len() + rest.len() == *n).unwrap();
            text.push_str(&format!("{length}{rest}"));
        }
        self.push(
            Layer::header(EntryType::XHeader, "pax", "", text.len()),
            text.as_bytes(),
        )
    }
}

/// A staging directory with something beside it that must stay as it is.
struct Place {
    dir: TempDir,
    result: Result<(LayerFacts, Pending), UnpackError>,
}

const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    entries: 100,
};

impl Place {
    fn unpack(layer: Layer, bottom: bool) -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("victim"), "untouched").unwrap();
        fs::create_dir(dir.path().join("staging")).unwrap();
        let staging = dir.path().join("staging");
        let request = Request {
            staging: &staging,
            limits: LIMITS,
            bottom,
        };
        let result = unpack(&layer.0[..], request);
        let mut beside: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        beside.sort();
        assert_eq!(beside, ["staging", "victim"]);
        assert_eq!(
            fs::read_to_string(dir.path().join("victim")).unwrap(),
            "untouched"
        );
        assert_eq!(
            dir.path().join("victim").metadata().unwrap().permissions().mode() & 0o777,
            0o644
        );
        Place { dir, result }
    }

    fn good(layer: Layer) -> Place {
        let place = Place::unpack(layer, false);
        assert!(place.result.is_ok(), "{:?}", place.result);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("staging/fs").join(name)
    }

    fn facts(&self) -> &LayerFacts {
        &self.result.as_ref().unwrap().0
    }

    fn pending(&self) -> &Pending {
        &self.result.as_ref().unwrap().1
    }
}

fn refused(layer: Layer) {
    let place = Place::unpack(layer, false);

    assert!(place.result.is_err());
}

fn layer() -> Layer {
    Layer::default()
}

fn is_whiteout(path: &Path) -> bool {
    let meta = path.symlink_metadata().unwrap();
    meta.file_type().is_char_device() && meta.rdev() == 0
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

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
