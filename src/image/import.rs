//! Images from files: an OCI layout (OCI image spec, "Image Layout") or what `docker save` writes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Platform;
use super::content::{Content, blob_path, open_regular};
use super::digest::Digest;
use super::error::ImageError;
use super::layers::Layers;
use super::manifest::{Descriptor, Document, ManifestError, choose};
use super::name::Name;
use super::staging::Staging;
use super::unpack::{Limits, Request, Tree, content, unpack};

/// Annotations that name an image in an index, the full name first.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// A file that was opened for import.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    directory: PathBuf,
    /// Most bytes of a document in it.
    limit: u64,
    /// Holds the directory that an archive was unpacked into.
    _staging: Option<Staging>,
}

/// An image found in a file.
#[derive(Debug)]
pub(super) struct Candidate {
    pub names: Vec<Name>,
    /// Digest of what the file's index names, where it has one: a manifest, or an index of its own.
    pub top: Option<Digest>,
    /// Digest of the manifest, where the file has one.
    pub manifest: Option<Digest>,
    /// The type of an artifact.
    pub artifact: Option<String>,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    pub content: Content,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Archive {
    /// Opens a directory, or unpacks a tar that may be compressed; documents in it are read up to that many bytes. Blocks.
    pub(super) fn open(
        path: &Path,
        layers: &Layers,
        (limits, documents): (Limits, u64),
    ) -> Result<Archive, ImageError> {
        let fail = |source| ImageError::Disk {
            what: "open",
            path: path.to_owned(),
            source,
        };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ImageError::Missing(path.display().to_string()));
            }
            other => other.map_err(fail)?,
        };
        if file.metadata().map_err(fail)?.is_dir() {
            return Ok(Archive {
                path: path.to_owned(),
                directory: path.to_owned(),
                limit: documents,
                _staging: None,
            });
        }
        let staging = layers.stage()?;
        let request = Request {
            staging: staging.path(),
            limits,
            bottom: true,
            aside: false,
        };
        unpack(BufReader::with_capacity(128 << 10, file), request).map_err(|source| ImageError::Layer {
            digest: path.display().to_string(),
            source,
        })?;
        Ok(Archive {
            path: path.to_owned(),
            directory: content(staging.path()),
            limit: documents,
            _staging: Some(staging),
        })
    }

    /// Finds the images in it. `name` is for the only one. Blocks.
    pub(super) fn candidates(
        &self,
        name: Option<&Name>,
        platform: &Platform,
    ) -> Result<Vec<Candidate>, ImageError> {
        let mut found = match self.json::<serde_json::Value>(b"index.json")? {
            Some(_) => self.layout(platform)?,
            None => match self.json::<Vec<DockerImage>>(b"manifest.json")? {
                Some(images) => images
                    .into_iter()
                    .map(|i| self.docker(i))
                    .collect::<Result<_, _>>()?,
                None => return Err(self.refuse("it has neither index.json nor manifest.json")),
            },
        };
        match (name, found.as_mut_slice()) {
            (_, []) => return Err(self.refuse("it has no image")),
            (Some(name), [only]) => only.names = vec![name.clone()],
            (Some(_), _) => return Err(self.refuse("it has several images, which keep their own names")),
            (None, all) if all.iter().all(|image| image.names.is_empty()) => {
                return Err(self.refuse("its images have no names, one has to be given"));
            }
            (None, _) => found.retain(|image| !image.names.is_empty()),
        }
        Ok(found)
    }

    fn layout(&self, platform: &Platform) -> Result<Vec<Candidate>, ImageError> {
        let bytes = self.read(b"index.json")?.unwrap_or_default();
        let Document::Index(entries) = Document::parse(&bytes)? else {
            return Err(self.refuse("its index.json is no index"));
        };
        let mut groups: Vec<(Option<Name>, Vec<Descriptor>)> = Vec::new();
        for entry in entries {
            let name = self.name_of(&entry)?;
            match groups.iter_mut().find(|(known, _)| *known == name) {
                // Platforms of one image side by side.
                Some((_, group)) => group.push(entry),
                None => groups.push((name, vec![entry])),
            }
        }
        groups
            .into_iter()
            .map(|(name, group)| self.layout_image(name, &group, platform))
            .collect()
    }

    fn layout_image(
        &self,
        name: Option<Name>,
        entries: &[Descriptor],
        platform: &Platform,
    ) -> Result<Candidate, ImageError> {
        let mut entry = match entries {
            [only] => only.clone(),
            several => choose(several, platform)?.clone(),
        };
        let top = entry.digest.clone();
        for _ in 0..3 {
            let bytes = self.blob(&entry)?;
            match Document::parse(&bytes)? {
                Document::Index(inner) => entry = choose(&inner, platform)?.clone(),
                Document::Manifest {
                    config,
                    layers,
                    artifact,
                } => {
                    return Ok(Candidate {
                        names: name.into_iter().collect(),
                        top: Some(top),
                        manifest: Some(match &artifact {
                            None => entry.digest,
                            Some(_) => Digest::of(&bytes),
                        }),
                        artifact,
                        config,
                        layers,
                        content: self.content(HashMap::new())?,
                    });
                }
            }
        }
        Err(self.refuse("its indexes are nested too deep"))
    }

    /// The name an entry is annotated with; a bare tag names nothing by itself.
    fn name_of(&self, entry: &Descriptor) -> Result<Option<Name>, ImageError> {
        let text = NAMES.iter().find_map(|key| entry.annotations.get(*key));
        match text {
            Some(text) if text.contains(['/', ':']) => Ok(Some(Name::parse(text)?)),
            _ => Ok(None),
        }
    }

    fn docker(&self, image: DockerImage) -> Result<Candidate, ImageError> {
        let mut names = HashMap::new();
        let mut describe = |path: &String| {
            let path = path.as_bytes();
            let (digest, size) = self.hash(path)?;
            names.insert(digest.clone(), path.to_vec());
            Ok::<_, ImageError>(Descriptor {
                media_type: String::new(),
                digest,
                size,
                platform: None,
                annotations: Default::default(),
            })
        };
        let config = describe(&image.config)?;
        let layers: Result<Vec<_>, _> = image.layers.iter().map(&mut describe).collect();
        let tags = image.repo_tags.unwrap_or_default();
        let tags: Result<Vec<_>, _> = tags.iter().map(|tag| Name::parse(tag)).collect();
        Ok(Candidate {
            names: tags?,
            top: None,
            manifest: None,
            artifact: None,
            config,
            layers: layers?,
            content: self.content(names)?,
        })
    }

    fn content(&self, names: HashMap<Digest, Vec<u8>>) -> Result<Content, ImageError> {
        Ok(Content::Directory {
            path: self.directory.clone(),
            tree: self.tree()?,
            names,
        })
    }

    fn tree(&self) -> Result<Tree, ImageError> {
        Tree::open(&self.directory).map_err(|source| ImageError::Disk {
            what: "open",
            path: self.directory.clone(),
            source,
        })
    }

    fn hash(&self, path: &[u8]) -> Result<(Digest, u64), ImageError> {
        let fail = |source| self.unread(path, source);
        let mut file = open_regular(&self.tree()?, path).map_err(fail)?;
        let mut hash = super::digest::Hash::sha256();
        let mut buffer = vec![0; 128 << 10];
        let mut size = 0;
        loop {
            match file.read(&mut buffer).map_err(fail)? {
                0 => return Ok((hash.finish(), size)),
                count => {
                    hash.update(&buffer[..count]);
                    size += count as u64;
                }
            }
        }
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let bytes = self
            .read(&blob_path(&descriptor.digest))?
            .ok_or_else(|| self.refuse(&format!("blob {} is missing", descriptor.digest)))?;
        let mut hash = descriptor.digest.hash();
        hash.update(&bytes);
        if hash.finish() != descriptor.digest {
            return Err(self.refuse(&format!(
                "blob {} has other content than its digest says",
                descriptor.digest
            )));
        }
        Ok(bytes)
    }

    fn json<T: serde::de::DeserializeOwned>(&self, path: &[u8]) -> Result<Option<T>, ImageError> {
        let parse = |bytes: Vec<u8>| {
            serde_json::from_slice(&bytes)
                .map_err(|e| self.refuse(&format!("{}: {e}", String::from_utf8_lossy(path))))
        };
        self.read(path)?.map(parse).transpose()
    }

    /// Reads a small file; none when it does not exist.
    fn read(&self, path: &[u8]) -> Result<Option<Vec<u8>>, ImageError> {
        let fail = |source| self.unread(path, source);
        let file = match open_regular(&self.tree()?, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(fail)?,
        };
        let mut bytes = Vec::new();
        file.take(self.limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(fail)?;
        if bytes.len() as u64 > self.limit {
            let what = String::from_utf8_lossy(path).into_owned();
            let limit = self.limit;
            return Err(ManifestError::TooLarge { what, limit }.into());
        }
        Ok(Some(bytes))
    }

    fn unread(&self, path: &[u8], source: io::Error) -> ImageError {
        ImageError::Document {
            path: self.path.clone(),
            document: String::from_utf8_lossy(path).into_owned(),
            source,
        }
    }

    fn refuse(&self, reason: &str) -> ImageError {
        ImageError::Import {
            path: self.path.clone(),
            reason: reason.to_owned(),
        }
    }
}
