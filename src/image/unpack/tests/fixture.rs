//! Builds layers and unpacks them.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};
use tempfile::TempDir;

use crate::image::unpack::{LayerFacts, Limits, Pending, Request, UnpackError, unpack};

/// A layer in the making: names are taken as they are.
#[derive(Default)]
pub(super) struct Layer(pub Vec<u8>);

impl Layer {
    pub(super) fn header(kind: EntryType, name: &str, link: &str, size: usize) -> Header {
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

    pub(super) fn push(mut self, mut header: Header, content: &[u8]) -> Layer {
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(super) fn file(self, name: &str, text: &str) -> Layer {
        self.push(
            Layer::header(EntryType::Regular, name, "", text.len()),
            text.as_bytes(),
        )
    }

    pub(super) fn directory(self, name: &str, mode: u32) -> Layer {
        let mut header = Layer::header(EntryType::Directory, name, "", 0);
        header.set_mode(mode);
        self.push(header, b"")
    }

    pub(super) fn symlink(self, name: &str, target: &str) -> Layer {
        self.push(Layer::header(EntryType::Symlink, name, target, 0), b"")
    }

    pub(super) fn hardlink(self, name: &str, target: &str) -> Layer {
        self.push(Layer::header(EntryType::Link, name, target, 0), b"")
    }

    pub(super) fn node(self, kind: EntryType, name: &str, major: u32, minor: u32) -> Layer {
        let mut header = Layer::header(kind, name, "", 0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.push(header, b"")
    }

    pub(super) fn pax(self, records: &[(&str, &str)]) -> Layer {
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
pub(super) struct Place {
    pub dir: TempDir,
    pub result: Result<(LayerFacts, Pending), UnpackError>,
}

pub(super) const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    entries: 100,
    depth: 256,
    ratio: 100,
    ratio_from: 64 << 10,
};

impl Place {
    pub(super) fn unpack(layer: Layer, bottom: bool) -> Place {
        Place::unpack_within(layer, bottom, LIMITS)
    }

    pub(super) fn unpack_within(layer: Layer, bottom: bool, limits: Limits) -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("victim"), "untouched").unwrap();
        fs::create_dir(dir.path().join("staging")).unwrap();
        let staging = dir.path().join("staging");
        let request = Request {
            staging: &staging,
            limits,
            bottom,
            aside: false,
        };
        let result = unpack(&layer.0[..], request);
        let elsewhere = tempfile::tempdir().unwrap();
        let aside = Request {
            staging: elsewhere.path(),
            aside: true,
            ..request
        };
        assert_eq!(
            format!("{:?}", unpack(&layer.0[..], aside)),
            format!("{result:?}"),
            "it makes no difference which thread inflates"
        );
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

    pub(super) fn good(layer: Layer) -> Place {
        let place = Place::unpack(layer, false);
        assert!(place.result.is_ok(), "{:?}", place.result);
        place
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("staging/fs").join(name)
    }

    pub(super) fn facts(&self) -> &LayerFacts {
        &self.result.as_ref().unwrap().0
    }

    pub(super) fn pending(&self) -> &Pending {
        &self.result.as_ref().unwrap().1
    }
}

pub(super) fn refused(layer: Layer) {
    let place = Place::unpack(layer, false);

    assert!(place.result.is_err());
}

pub(super) fn layer() -> Layer {
    Layer::default()
}

pub(super) fn is_whiteout(path: &Path) -> bool {
    let meta = path.symlink_metadata().unwrap();
    meta.file_type().is_char_device() && meta.rdev() == 0
}

pub(super) fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}
