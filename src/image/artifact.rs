//! OCI artifacts: manifests that describe no image but files of any kind, to be mounted as volumes.
//!
//! Each blob becomes a layer of the store: a file of the blob's title, or, for what was packed as a directory, the content
//! of the archive. A file is brought in as an archive made around its bytes while they pass, so that it is unpacked, listed,
//! verified and counted as all layers are. Such a layer is known by a digest over what names it in the manifest, which
//! stands where an image's layer has the digest of its archive.

use std::io::{self, BufRead, BufReader, Read};

use tar::{Builder, EntryType, Header};

use super::digest::Digest;
use super::manifest::{Descriptor, ManifestError};
use super::record::LayerRef;

/// Names a blob (OCI image spec, "Annotations").
const TITLE: &str = "org.opencontainers.image.title";
/// Names a file of a model, in its specification's own way.
const MODEL_PATH: &str = "org.cncf.model.filepath";
/// Says that ORAS packed a directory.
const UNPACK: &str = "io.deis.oras.content.unpack";
/// Stands for no content (OCI image spec, "Guidance for an Empty Descriptor").
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Longest name that file systems have.
const MAX_NAME: usize = 255;
/// Longest title.
const MAX_TITLE: usize = 1024;
const BLOCK: u64 = 512;

/// What a blob is to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A layer of an image.
    Layer,
    /// A directory of an artifact, in an archive.
    Directory,
    /// A file of an artifact, of this name.
    File(String),
}

/// A blob that is wanted, and the layer that it becomes.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub blob: Descriptor,
    pub layer: LayerRef,
    pub form: Form,
}

/// What an artifact's blobs become, in their order.
///
/// # Errors
/// A title is no path of its own below the volume.
pub(super) fn pieces(blobs: Vec<Descriptor>) -> Result<Vec<Piece>, ManifestError> {
    let mut pieces: Vec<Piece> = Vec::new();
    for blob in blobs.into_iter().filter(|blob| blob.media_type != EMPTY) {
        let form = form(&blob)?;
        if let Form::File(name) = &form {
            let others = pieces.iter().filter_map(|piece| match &piece.form {
                Form::File(other) => Some(other),
                _ => None,
            });
            if let Some(other) = others.into_iter().find(|other| collide(name, other)) {
                return refused(format!("its titles {other:?} and {name:?} are one path"));
            }
        }
        let kind = match &form {
            Form::Layer | Form::Directory => "directory",
            Form::File(name) => &format!("file {name}"),
        };
        // A name has no line break.
        let diff_id = Digest::of(format!("artifact\n{kind}\n{}", blob.digest).as_bytes()).to_string();
        let chain_id = match pieces.last() {
            None => diff_id.clone(),
            Some(below) => Digest::of(format!("{} {diff_id}", below.layer.chain_id).as_bytes()).to_string(),
        };
        let layer = LayerRef { diff_id, chain_id };
        pieces.push(Piece { blob, layer, form });
    }
    Ok(pieces)
}

fn form(blob: &Descriptor) -> Result<Form, ManifestError> {
    let says = |key: &str| blob.annotations.get(key).filter(|text| !text.is_empty());
    let packed = is_archive(&blob.media_type);
    if says(UNPACK).is_some_and(|text| text == "true") {
        return Ok(Form::Directory);
    }
    // Tools give files the type of an archive too: a title is a file's whatever its type.
    let name = says(TITLE).or_else(|| says(MODEL_PATH).filter(|_| !packed));
    match name {
        Some(name) => {
            check_title(name)?;
            Ok(Form::File(name.clone()))
        }
        None if packed => Ok(Form::Directory),
        None => Ok(Form::File(blob.digest.as_str().replace(':', "-"))),
    }
}

/// Whether this is the type of an archive, packed or not.
pub(super) fn is_archive(media_type: &str) -> bool {
    let plain = media_type
        .strip_suffix("+gzip")
        .or(media_type.strip_suffix("+zstd"));
    let plain = plain.unwrap_or(media_type);
    plain.ends_with(".tar") || media_type.ends_with(".tar.gzip")
}

/// Names that lead elsewhere, or that an archive or overlayfs would take for something else, are refused.
fn check_title(title: &str) -> Result<(), ManifestError> {
    let problem = |part: &str| {
        if part.is_empty() || part == "." || part == ".." {
            Some("is not a path below the volume")
        } else if part.len() > MAX_NAME {
            Some("has too long a name")
        } else if part.starts_with(".wh.") || part.contains(char::is_control) {
            Some("has a name that no file can have")
        } else {
            None
        }
    };
    if title.len() > MAX_TITLE {
        return refused("a title is longer than 1024 bytes".to_owned());
    }
    match title.split('/').find_map(problem) {
        Some(problem) => refused(format!("its title {title:?} {problem}")),
        None => Ok(()),
    }
}

/// Whether one is the other, or lies below it.
fn collide(one: &str, other: &str) -> bool {
    let below = |upper: &str, lower: &str| {
        lower
            .strip_prefix(upper)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    below(one, other) || below(other, one)
}

fn refused<T>(why: String) -> Result<T, ManifestError> {
    Err(ManifestError::Refused(why))
}

/// An archive with one file of this name and size, whose bytes `content` has, and the directories above it.
pub(super) fn archive(content: impl Read, name: &str, size: u64) -> io::Result<impl BufRead> {
    let mut builder = Builder::new(Vec::new());
    let mut header = |kind: EntryType, path: &str, mode: u32, size: u64| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        builder.append_data(&mut header, path, io::empty())
    };
    header(EntryType::Directory, "./", 0o755, 0)?;
    for (end, _) in name.match_indices('/') {
        header(EntryType::Directory, &name[..end], 0o755, 0)?;
    }
    header(EntryType::Regular, name, 0o644, size)?;
    let before = io::Cursor::new(builder.get_ref().clone());
    // What fills up the last block, and the two that end an archive.
    let after = size.next_multiple_of(BLOCK) - size + 2 * BLOCK;
    let whole = before.chain(content.take(size)).chain(io::repeat(0).take(after));
    Ok(BufReader::with_capacity(128 << 10, whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn blob(kind: &str, annotations: serde_json::Value) -> Descriptor {
        let digest = format!("sha256:{}", "a".repeat(64));
        let text = json!({"mediaType": kind, "digest": digest, "size": 3, "annotations": annotations});
        serde_json::from_value(text).unwrap()
    }

    const ANY: &str = "application/octet-stream";
    const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

    #[test]
    fn blobs_are_what_their_annotations_and_types_say() {
        let check = |kind: &str, annotations: serde_json::Value, expected: Form| {
            let pieces = pieces(vec![blob(kind, annotations.clone())]).unwrap();
            assert_eq!(pieces[0].form, expected, "{kind} {annotations}");
        };
        let file = |name: &str| Form::File(name.to_owned());

        check(ANY, json!({TITLE: "a"}), file("a"));
        check(ANY, json!({TITLE: "a/b c"}), file("a/b c"));
        check(TAR, json!({TITLE: "a.tar"}), file("a.tar"));
        check(TAR, json!({TITLE: "dir", UNPACK: "true"}), Form::Directory);
        check(TAR, json!({TITLE: "dir", UNPACK: "false"}), file("dir"));
        check(&format!("{TAR}+gzip"), json!({}), Form::Directory);
        check(ANY, json!({MODEL_PATH: "m/w"}), file("m/w"));
        check(TAR, json!({MODEL_PATH: "m"}), Form::Directory);
        check(ANY, json!({}), file(&format!("sha256-{}", "a".repeat(64))));
        assert!(pieces(vec![blob(EMPTY, json!({}))]).unwrap().is_empty());
    }

    #[test]
    fn titles_that_are_no_path_of_their_own_are_refused() {
        let check = |titles: &[&str]| {
            let blobs = titles.iter().map(|title| blob(ANY, json!({TITLE: title})));
            assert!(pieces(blobs.collect()).is_err(), "{titles:?}");
        };

        for title in [
            "/a",
            "a/",
            "../a",
            "a/../b",
            "./a",
            "a//b",
            ".wh.a",
            "a/.wh..wh..opq",
            "a\nb",
            "a\0",
        ] {
            check(&[title]);
        }
        check(&[&"x".repeat(MAX_NAME + 1)]);
        check(&[&"x/".repeat(MAX_TITLE)]);
        check(&["a", "a"]);
        check(&["a", "a/b"]);
        check(&["a/b", "a"]);
        let neighbours = ["a", "ab", "b/a"].map(|title| blob(ANY, json!({TITLE: title})));
        assert!(pieces(neighbours.into()).is_ok());
    }

    #[test]
    fn one_blob_by_two_names_is_two_layers() {
        let blobs = ["a", "b"].map(|title| blob(ANY, json!({TITLE: title})));

        let pieces = pieces(blobs.into()).unwrap();

        assert_ne!(pieces[0].layer.diff_id, pieces[1].layer.diff_id);
    }

    #[test]
    fn an_archive_around_a_file_is_one_that_tar_reads() {
        for (name, content) in [
            ("a", b"text".to_vec()),
            ("some/where/below", vec![7; 1024]),
            (&*format!("{}/{}", "d".repeat(200), "e".repeat(200)), vec![]),
        ] {
            let made = archive(&content[..], name, content.len() as u64).unwrap();
            let mut read = tar::Archive::new(made);
            let mut last = None;
            for entry in read.entries().unwrap() {
                let mut entry = entry.unwrap();
                let mut bytes = vec![];
                entry.read_to_end(&mut bytes).unwrap();
                last = Some((entry.path().unwrap().to_str().unwrap().to_owned(), bytes));
            }

            assert_eq!(last, Some((name.to_owned(), content.clone())));
        }
    }
}
