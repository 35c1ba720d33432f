//! Doors for fuzzing: each takes bytes, and panics at what must not come of them. Not in an ordinary build.

mod compare;
mod entries;
mod model;

use std::io::Read as _;
use std::path::{Component, Path};

use oci_spec::image::ImageConfiguration;
use tar::Header;

use super::artifact::{Form, pieces};
use super::manifest::{Descriptor, Document, choose};
use super::name::Name;
use super::unpack::{Limits, Request, UnpackError, content, inflate, unpack};
use super::{ImageRecord, Platform, hosts};

pub use model::tree;

/// Most that one input may come to.
const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    entries: 1000,
    depth: 256,
    ratio: 100,
    ratio_from: 64 << 10,
};

/// A name that is taken is written in one form, which means the same.
pub fn reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(name) = Name::parse(text) else { return };
    let written = name.to_string();
    assert_eq!(Name::parse(&written).as_ref(), Ok(&name), "{text:?}");
    assert!(
        written.bytes().all(|b| b.is_ascii_graphic()),
        "{written:?} has odd characters"
    );
}

/// Documents are refused or taken whole; what an index leads to is one of its entries.
pub fn manifest(data: &[u8]) {
    let _ = serde_json::from_slice::<ImageConfiguration>(data);
    let platform = Platform {
        os: "linux".to_owned(),
        architecture: "arm".to_owned(),
        variant: "v7".to_owned(),
    };
    match Document::parse(data) {
        Ok(Document::Index(entries)) => {
            if let Ok(chosen) = choose(&entries, &platform) {
                assert!(entries.contains(chosen));
            }
        }
        Ok(Document::Manifest { layers, artifact, .. }) => {
            assert!(layers.len() <= 500);
            if artifact.is_some() {
                volume(layers);
            }
        }
        Err(_) => {}
    }
}

/// Files of an artifact have paths of their own below the volume.
fn volume(blobs: Vec<Descriptor>) {
    let Ok(pieces) = pieces(blobs) else { return };
    for piece in &pieces {
        if let Form::File(name) = &piece.form {
            let own = |part| matches!(part, Component::Normal(_));
            assert!(
                !name.is_empty() && Path::new(name).components().all(own),
                "{name:?}"
            );
        }
    }
}

/// Whatever settings say, the registry itself is asked last, over HTTP or HTTPS.
pub fn hosts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(hosts) = hosts::parse(
        "registry.example:5000",
        text,
        Path::new("/etc/certs.d/registry.example"),
    ) else {
        return;
    };
    let (last, mirrors) = hosts.split_last().expect("the registry is always there");
    assert!(last.origin && mirrors.iter().all(|m| !m.origin));
    for host in &hosts {
        assert!(host.url.starts_with("http://") || host.url.starts_with("https://"));
        assert!(!host.url.ends_with('/'), "{}", host.url);
    }
}

/// Packed bytes inflate to something or fail; the limit is the reader's.
pub fn packed(data: &[u8]) {
    if let Ok(plain) = inflate(data) {
        let _ = plain.take(LIMITS.bytes).read_to_end(&mut Vec::new());
    }
}

/// A record that can be read is written so that it reads the same.
pub fn record(data: &[u8]) {
    let Ok(record) = serde_json::from_slice::<ImageRecord>(data) else {
        return;
    };
    let written = serde_json::to_vec(&record).expect("a record can be written");
    let again: ImageRecord = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(record, again);
}

/// Bytes as they come are unpacked or refused, and nothing beside the layer is touched. Checksums are put right first:
/// a mutation would hardly ever get past them.
pub fn archive(data: &[u8]) {
    let mut bytes = data.to_vec();
    let mut at = 0;
    while at + 512 <= bytes.len() {
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&bytes[at..at + 512]);
        if header.as_bytes().iter().any(|b| *b != 0) {
            header.set_cksum();
            bytes[at..at + 512].copy_from_slice(header.as_bytes());
        }
        let size = header.entry_size().unwrap_or(0).min(1 << 20) as usize;
        at += 512 + size.next_multiple_of(512);
    }
    let place = Place::new();
    let _ = place.unpack(&bytes, false);
    place.check();
}

/// A staging directory with something beside it that must stay as it is.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().expect("a directory for the layer");
        std::fs::write(dir.path().join("victim"), "untouched").expect("a file beside it");
        std::fs::create_dir(dir.path().join("staging")).expect("the staging directory");
        Place { dir }
    }

    fn unpack(&self, archive: &[u8], bottom: bool) -> Result<u64, UnpackError> {
        let staging = self.dir.path().join("staging");
        let request = Request {
            staging: &staging,
            limits: LIMITS,
            bottom,
            aside: false,
        };
        unpack(archive, request).map(|(facts, _)| facts.inodes)
    }

    fn root(&self) -> std::path::PathBuf {
        content(&self.dir.path().join("staging"))
    }

    fn check(&self) {
        let names = |path: &Path| {
            let entries = std::fs::read_dir(path).expect("it is there");
            let mut names: Vec<_> = entries.map(|e| e.expect("an entry").file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(self.dir.path()), ["staging", "victim"]);
        assert_eq!(names(&self.dir.path().join("staging")), ["files", "fs"]);
        let victim = std::fs::read(self.dir.path().join("victim")).expect("it is there");
        assert_eq!(victim, b"untouched");
    }
}
