//! One pull from beginning to end: name to manifest, manifest to configuration and layers, layers to record.

use std::sync::Arc;
use std::time::Instant;

use oci_spec::image::ImageConfiguration;
use tokio::sync::watch;

use super::artifact::{self, Form, Piece};
use super::blocking::blocking;
use super::content::Content;
use super::credentials::Keyring;
use super::digest::Digest;
use super::error::ImageError;
use super::fetch::Fetcher;
use super::hosts::hosts_of;
use super::index::Index;
use super::layers::Layer;
use super::manifest::{Descriptor, Document, ManifestError, choose};
use super::name::{Name, Version};
use super::record::LayerRef;
use super::registry::Repository;
use super::{ImageRecord, PullProgress, Settings};
use crate::sys::clock::now;
use crate::telemetry::{self, Stage, traces};

/// Indexes within indexes are followed so far.
const MAX_NESTING: usize = 3;

/// What pulls and imports work on. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Puller {
    pub settings: Arc<Settings>,
    pub index: Arc<Index>,
    pub fetcher: Fetcher,
}

/// The description of one image.
#[derive(Debug)]
pub(super) struct Described {
    pub manifest: Digest,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    /// The type of an artifact.
    pub artifact: Option<String>,
}

impl Puller {
    /// Pulls an image by its name.
    pub(super) async fn pull(
        self,
        name: Name,
        keyring: Keyring,
        progress: watch::Sender<PullProgress>,
    ) -> Result<Arc<ImageRecord>, ImageError> {
        let (began, _underway) = (Instant::now(), telemetry::begin(Stage::Pull));
        traces::about("image.name", &name.to_string());
        let pulled = self.pull_now(name, keyring, progress).await;
        telemetry::pull_ended(pulled.is_ok(), began.elapsed());
        pulled
    }

    async fn pull_now(
        self,
        name: Name,
        keyring: Keyring,
        progress: watch::Sender<PullProgress>,
    ) -> Result<Arc<ImageRecord>, ImageError> {
        let (settings, for_name) = (Arc::clone(&self.settings), name.clone());
        // Settings and certificates are files.
        let repository = blocking(move || {
            let hosts = hosts_of(for_name.registry(), &settings.registry_config_dir)?;
            Ok(Repository::open(
                &for_name,
                hosts,
                &keyring,
                settings.progress_timeout,
            )?)
        })
        .await?;
        let (top, described) = self.describe(&repository, &name).await?;
        let mut names = vec![name.at(&top)];
        if matches!(name.version(), Version::Tag(_)) {
            names.push(name);
        }
        let source = Arc::new(Content::Repository(repository));
        self.bring(source, described, &names, &progress).await
    }

    /// Fetches what a name leads to: its digest, and the manifest for this machine.
    async fn describe(
        &self,
        repository: &Repository,
        name: &Name,
    ) -> Result<(Digest, Described), ImageError> {
        let limit = self.settings.max_document_bytes;
        let mut fetched = repository.manifest(name.version(), limit).await?;
        let top = fetched.digest.clone();
        for _ in 0..MAX_NESTING {
            let entry = match Document::parse(&fetched.bytes)? {
                Document::Manifest {
                    config,
                    layers,
                    artifact,
                } => {
                    let manifest = match &artifact {
                        None => fetched.digest,
                        // Its id, whichever algorithm it was asked for by.
                        Some(_) => Digest::of(&fetched.bytes),
                    };
                    return Ok((
                        top,
                        Described {
                            manifest,
                            config,
                            layers,
                            artifact,
                        },
                    ));
                }
                Document::Index(entries) => choose(&entries, &self.settings.platform)?.clone(),
            };
            fetched = repository.manifest(&Version::Digest(entry.digest), limit).await?;
        }
        Err(ManifestError::Refused("its indexes are nested too deep".to_owned()).into())
    }

    /// Brings a described image in and records it under its names.
    pub(super) async fn bring(
        &self,
        source: Arc<Content>,
        described: Described,
        names: &[Name],
        progress: &watch::Sender<PullProgress>,
    ) -> Result<Arc<ImageRecord>, ImageError> {
        match described.artifact.clone() {
            None => self.bring_image(source, described, names, progress).await,
            Some(kind) => {
                self.bring_artifact(source, described, kind, names, progress)
                    .await
            }
        }
    }

    async fn bring_image(
        &self,
        source: Arc<Content>,
        described: Described,
        names: &[Name],
        progress: &watch::Sender<PullProgress>,
    ) -> Result<Arc<ImageRecord>, ImageError> {
        let (blob, packed) = (described.config, described.layers);
        let limit = self.settings.max_document_bytes;
        if blob.size > limit {
            let what = format!("image configuration {}", blob.digest);
            return Err(ManifestError::TooLarge { what, limit }.into());
        }
        let bytes = source.read(&blob, self.settings.progress_timeout).await?;
        let id = Digest::of(&bytes).to_string();
        let config = parse_config(&id, &bytes)?;
        let layers = layer_refs(&config)?;
        if layers.len() != packed.len() {
            let what = format!(
                "it has {} layers, its configuration {}",
                packed.len(),
                layers.len()
            );
            return Err(ManifestError::Refused(what).into());
        }
        let pieces = packed.into_iter().zip(layers).map(|(blob, layer)| Piece {
            blob,
            layer,
            form: Form::Layer,
        });
        let record = ImageRecord {
            id,
            size: blob.size,
            manifest_digest: described.manifest.to_string(),
            config,
            ..ImageRecord::default()
        };
        self.fetch(source, pieces.collect(), record, names, progress)
            .await
    }

    /// An artifact's configuration is often the same empty one: what tells one from another is the manifest.
    async fn bring_artifact(
        &self,
        source: Arc<Content>,
        described: Described,
        kind: String,
        names: &[Name],
        progress: &watch::Sender<PullProgress>,
    ) -> Result<Arc<ImageRecord>, ImageError> {
        let manifest = described.manifest.to_string();
        let record = ImageRecord {
            id: manifest.clone(),
            manifest_digest: manifest,
            artifact: Some(kind),
            ..ImageRecord::default()
        };
        let pieces = artifact::pieces(described.layers)?;
        self.fetch(source, pieces, record, names, progress).await
    }

    /// Fetches what there is of it, and records it.
    async fn fetch(
        &self,
        source: Arc<Content>,
        pieces: Vec<Piece>,
        record: ImageRecord,
        names: &[Name],
        progress: &watch::Sender<PullProgress>,
    ) -> Result<Arc<ImageRecord>, ImageError> {
        let blobs = || pieces.iter().map(|piece| &piece.blob);
        progress.send_replace(PullProgress::of(blobs()));
        let layers = pieces.iter().map(|piece| piece.layer.clone()).collect();
        let held = self.fetcher.fetch(source, pieces, progress).await?;
        let bytes = held.iter().map(|layer: &Arc<Layer>| layer.facts().bytes);
        let record = ImageRecord {
            size: record.size + bytes.sum::<u64>(),
            layers,
            created_at: now(),
            ..record
        };
        self.index.add(record, names, held).await
    }
}

fn parse_config(id: &str, bytes: &[u8]) -> Result<ImageConfiguration, ImageError> {
    serde_json::from_slice(bytes).map_err(|source| ImageError::Config {
        digest: id.to_owned(),
        source,
    })
}

/// The layers that a configuration tells, with their chain ids.
fn layer_refs(config: &ImageConfiguration) -> Result<Vec<LayerRef>, ImageError> {
    let mut layers: Vec<LayerRef> = Vec::new();
    for text in config.rootfs().diff_ids() {
        let diff_id = Digest::parse(text)
            .filter(|d| d.as_str().starts_with("sha256:"))
            .ok_or_else(|| ManifestError::Refused(format!("its configuration has the layer {text:?}")))?;
        let chain_id = match layers.last() {
            None => diff_id.clone(),
            Some(below) => Digest::of(format!("{} {diff_id}", below.chain_id).as_bytes()),
        };
        layers.push(LayerRef {
            diff_id: diff_id.to_string(),
            chain_id: chain_id.to_string(),
        });
    }
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_as_docker_writes_them_are_understood() {
        let text = r#"{"architecture":"amd64","config":{"Hostname":"","Domainname":"","User":"","AttachStdin":false,
            "Tty":false,"Env":["PATH=/bin"],"Cmd":["sh"],"Image":"sha256:x","Volumes":null,"WorkingDir":"",
            "Entrypoint":null,"OnBuild":null,"Labels":null,"ExposedPorts":null,"StopSignal":"SIGQUIT",
            "Healthcheck":{"Test":["NONE"]}},"container":"x","created":"2020-01-01T00:00:00.123456789Z",
            "docker_version":"19","history":[{"created":"2020-01-01T00:00:00Z","created_by":"x","empty_layer":true}],
            "os":"linux","rootfs":{"type":"layers","diff_ids":[]},"variant":"v8"}"#;

        let config = parse_config("sha256:x", text.as_bytes()).unwrap();

        assert_eq!(
            config.config().as_ref().unwrap().stop_signal().as_deref(),
            Some("SIGQUIT")
        );
        for text in [
            r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#,
            r#"{"architecture":"amd64","os":"linux","config":null,"history":null,"rootfs":{"type":"layers","diff_ids":[]}}"#,
            r#"{"architecture":"amd64","os":"linux","config":{"Volumes":{"/a":{},"/b":{}}},"rootfs":{"type":"layers","diff_ids":[]}}"#,
        ] {
            assert!(parse_config("sha256:x", text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn chain_ids_follow_the_specification() {
        let diff_ids = ["a", "b"].map(|c| format!("sha256:{}", c.repeat(64)));
        let text = serde_json::json!({
            "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = parse_config("sha256:x", text.to_string().as_bytes()).unwrap();

        let layers = layer_refs(&config).unwrap();

        assert_eq!(layers[0].chain_id, diff_ids[0]);
        let both = format!("{} {}", diff_ids[0], diff_ids[1]);
        assert_eq!(layers[1].chain_id, Digest::of(both.as_bytes()).to_string());
    }
}
