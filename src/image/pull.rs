//! One pull from beginning to end: name to manifest, manifest to configuration and layers, layers to record.

use std::sync::Arc;

use oci_spec::image::ImageConfiguration;
use tokio::sync::watch;

use super::content::Content;
use super::credentials::Keyring;
use super::digest::Digest;
use super::error::ImageError;
use super::fetch::Fetcher;
use super::hosts::hosts_of;
use super::index::Index;
use super::layers::{Layer, blocking};
use super::manifest::{Descriptor, Document, MAX_DOCUMENT, ManifestError, choose};
use super::name::{Name, Version};
use super::record::LayerRef;
use super::registry::Repository;
use super::usage::now;
use super::{ImageRecord, PullProgress, Settings};

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
}

impl Puller {
    /// Pulls an image by its name.
    pub(super) async fn pull(
        self,
        name: Name,
        keyring: Keyring,
        progress: watch::Sender<PullProgress>,
    ) -> Result<Arc<ImageRecord>, ImageError> {
        let (registry, dir) = (
            name.registry().to_owned(),
            self.settings.registry_config_dir.clone(),
        );
        let hosts = blocking(move || Ok(hosts_of(&registry, &dir)?)).await?;
        let repository = Repository::open(&name, hosts, &keyring, self.settings.progress_timeout)?;
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
        let mut fetched = repository.manifest(name.version(), MAX_DOCUMENT).await?;
        let top = fetched.digest.clone();
        for _ in 0..MAX_NESTING {
            let entry = match Document::parse(&fetched.bytes)? {
                Document::Manifest { config, layers } => {
                    let manifest = fetched.digest;
                    return Ok((
                        top,
                        Described {
                            manifest,
                            config,
                            layers,
                        },
                    ));
                }
                Document::Index(entries) => choose(&entries, &self.settings.platform)?.clone(),
            };
            fetched = repository
                .manifest(&Version::Digest(entry.digest), MAX_DOCUMENT)
                .await?;
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
        let Described {
            manifest,
            config: blob,
            layers: packed,
        } = described;
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
        progress.send_replace(PullProgress::of(&packed));
        let wanted = packed.into_iter().zip(layers.iter().cloned()).collect();
        let held = self.fetcher.fetch(source, wanted, progress).await?;
        let record = ImageRecord {
            size: blob.size
                + held
                    .iter()
                    .map(|layer: &Arc<Layer>| layer.facts().bytes)
                    .sum::<u64>(),
            id,
            repo_tags: Vec::new(),
            repo_digests: Vec::new(),
            manifest_digest: manifest.to_string(),
            config,
            layers,
            created_at: now(),
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
