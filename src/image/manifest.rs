//! Manifests and indexes, of OCI and of Docker: what they must be, and which of several platforms is taken.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Platform;
use super::artifact::is_archive;
use super::digest::Digest;
use crate::sys::planted;

/// More layers than overlayfs takes.
const MAX_LAYERS: usize = 500;

/// What is asked for from a registry.
pub(super) const MANIFEST_TYPES: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// A reference to content.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default)]
    pub platform: Option<DescriptorPlatform>,
    #[serde(default, deserialize_with = "or_null")]
    pub annotations: BTreeMap<String, String>,
}

/// The platform an entry of an index is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct DescriptorPlatform {
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub variant: String,
}

/// A document that a name or a descriptor leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Document {
    /// Images for several platforms, or several images.
    Index(Vec<Descriptor>),
    /// One image: its configuration, and its layers, lowest first. Or an artifact, which is of a type, and its blobs.
    Manifest {
        config: Descriptor,
        layers: Vec<Descriptor>,
        artifact: Option<String>,
    },
}

/// Why a document is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ManifestError {
    /// It is not JSON of the expected shape.
    #[error("manifest cannot be parsed")]
    Parse(#[source] serde_json::Error),
    /// It is something else.
    #[error("manifest is refused: {0}")]
    Refused(String),
    /// It is larger than is read.
    #[error("{what} exceeds the limit of {limit} bytes (images.max_document_bytes)")]
    TooLarge {
        /// A manifest or a configuration.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// No entry is for this machine.
    #[error("image has no variant for {0}")]
    NoPlatform(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u64>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// Some tools write `null` for nothing.
fn or_null<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Document {
    /// Parses a document.
    pub(super) fn parse(bytes: &[u8]) -> Result<Document, ManifestError> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(ManifestError::Parse)?;
        let refuse = |why: &str| Err(ManifestError::Refused(why.to_owned()));
        if raw.schema_version == Some(1) {
            return refuse("schema version 1 is not supported");
        }
        let stated = raw.media_type.as_deref().unwrap_or_default();
        match (raw.manifests, raw.config, raw.layers) {
            // The same bytes must not mean two things (CVE-2021-41190).
            (Some(_), config, layers)
                if (config.is_some() || layers.is_some()) && !planted("both-documents") =>
            {
                refuse("it is a manifest and an index at once")
            }
            (Some(entries), ..) => match stated {
                "" | OCI_INDEX | DOCKER_LIST => Ok(Document::Index(entries)),
                other => refuse(&format!("it is an index and says {other:?}")),
            },
            (None, Some(config), Some(layers)) => match stated {
                "" | OCI_MANIFEST | DOCKER_MANIFEST => {
                    Document::manifest(config, layers, raw.artifact_type.unwrap_or_default())
                }
                other => refuse(&format!("it is a manifest and says {other:?}")),
            },
            _ => refuse("it is neither a manifest nor an index"),
        }
    }

    fn manifest(
        config: Descriptor,
        layers: Vec<Descriptor>,
        artifact_type: String,
    ) -> Result<Document, ManifestError> {
        if config.media_type.is_empty() {
            let what = "it does not say what its configuration is".to_owned();
            return Err(ManifestError::Refused(what));
        }
        // An image may say a type too: what it is made of tells.
        let image = [OCI_CONFIG, DOCKER_CONFIG].contains(&config.media_type.as_str())
            && (artifact_type.is_empty() || layers.iter().all(|layer| is_archive(&layer.media_type)));
        let artifact = match (image, artifact_type.is_empty()) {
            (true, _) => None,
            (false, true) => Some(config.media_type.clone()),
            (false, false) => Some(artifact_type),
        };
        if layers.len() > MAX_LAYERS {
            let what = format!("it has {} layers, more than {MAX_LAYERS}", layers.len());
            return Err(ManifestError::Refused(what));
        }
        Ok(Document::Manifest {
            config,
            layers,
            artifact,
        })
    }
}

/// Chooses the entry of an index that fits a platform best.
pub(super) fn choose<'a>(
    entries: &'a [Descriptor],
    platform: &Platform,
) -> Result<&'a Descriptor, ManifestError> {
    let variants = variants(platform);
    let rank = |entry: &Descriptor| {
        let own = entry.platform.as_ref()?;
        if own.os != platform.os || own.architecture != platform.architecture {
            return None;
        }
        variants.iter().position(|v| *v == own.variant)
    };
    let attestation = |entry: &Descriptor| {
        entry.annotations.contains_key("vnd.docker.reference.type")
            || entry.platform.as_ref().is_some_and(|p| p.os == "unknown")
    };
    let images = || entries.iter().filter(|e| !attestation(e));
    let best = images()
        .filter_map(|entry| Some((rank(entry)?, entry)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, entry)| entry);
    // Layouts made by simple tools name no platform for their only image.
    let only = || {
        let mut all = images();
        match (all.next(), all.next()) {
            (Some(entry), None) if entry.platform.is_none() => Some(entry),
            _ => None,
        }
    };
    best.or_else(only).ok_or_else(|| {
        let Platform {
            os,
            architecture,
            variant,
        } = platform;
        let slash = if variant.is_empty() { "" } else { "/" };
        ManifestError::NoPlatform(format!("{os}/{architecture}{slash}{variant}"))
    })
}

/// The variants that run on a platform, best first.
fn variants(platform: &Platform) -> Vec<&str> {
    match (platform.architecture.as_str(), platform.variant.as_str()) {
        ("arm", "" | "v7") => vec!["v7", "", "v6", "v5"],
        ("arm", "v6") => vec!["v6", "v5"],
        ("arm64", "" | "v8") => vec!["v8", ""],
        ("amd64", "" | "v1") => vec!["", "v1"],
        (_, "") => vec![""],
        (_, variant) => vec![variant, ""],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(architecture: &str, variant: &str, hex: char) -> serde_json::Value {
        json!({
            "mediaType": OCI_MANIFEST, "size": 2, "digest": format!("sha256:{}", hex.to_string().repeat(64)),
            "platform": { "os": "linux", "architecture": architecture, "variant": variant },
        })
    }

    fn check(entries: Vec<serde_json::Value>, architecture: &str, variant: &str, expected: Option<char>) {
        let entries: Vec<Descriptor> = serde_json::from_value(entries.into()).unwrap();
        let platform = Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        };

        let chosen = choose(&entries, &platform).ok();

        let hex = chosen.and_then(|d| d.digest.as_str().chars().last());
        assert_eq!(hex, expected, "{architecture}/{variant}");
    }

    #[test]
    fn the_best_variant_of_the_platform_is_chosen() {
        let arms = || {
            vec![
                entry("arm", "v5", 'a'),
                entry("arm", "v6", 'b'),
                entry("arm64", "v8", 'c'),
            ]
        };
        check(arms(), "arm", "v7", Some('b'));
        check(arms(), "arm", "v6", Some('b'));
        check(arms(), "arm64", "v8", Some('c'));
        check(arms(), "amd64", "", None);
        check(
            vec![entry("amd64", "v3", 'a'), entry("amd64", "", 'b')],
            "amd64",
            "",
            Some('b'),
        );
        let attestation = json!({
            "mediaType": OCI_MANIFEST, "size": 2, "digest": format!("sha256:{}", "d".repeat(64)),
            "platform": { "os": "unknown", "architecture": "unknown" },
        });
        check(vec![attestation, entry("amd64", "", 'b')], "amd64", "", Some('b'));
    }

    fn refused(document: serde_json::Value) {
        let bytes = document.to_string();

        assert!(Document::parse(bytes.as_bytes()).is_err(), "{bytes}");
    }

    #[test]
    fn ambiguous_and_foreign_documents_are_refused() {
        let blob = |kind: &str| json!({"mediaType": kind, "size": 2, "digest": format!("sha256:{}", "0".repeat(64))});
        let config = blob(OCI_CONFIG);
        refused(json!([]));
        refused(json!({}));
        refused(json!({"schemaVersion": 1, "fsLayers": []}));
        refused(json!({"schemaVersion": 2, "config": config, "layers": [], "manifests": []}));
        refused(json!({"schemaVersion": 2, "manifests": [], "layers": []}));
        refused(json!({"mediaType": OCI_INDEX, "config": config, "layers": []}));
        refused(json!({"mediaType": OCI_MANIFEST, "manifests": []}));
        refused(json!({"config": blob(""), "layers": []}));
        refused(json!({"config": {"mediaType": OCI_CONFIG, "size": 2, "digest": "sha256:12"}, "layers": []}));
        refused(
            json!({"config": {"mediaType": OCI_CONFIG, "size": -2, "digest": config["digest"]}, "layers": []}),
        );
    }

    #[test]
    fn a_manifest_is_an_image_or_an_artifact_of_a_type() {
        let blob = |kind: &str| json!({"mediaType": kind, "size": 2, "digest": format!("sha256:{}", "0".repeat(64))});
        let check = |kind: &str, config: &str, layer: &str, expected: Option<&str>| {
            let text = json!({"artifactType": kind, "config": blob(config), "layers": [blob(layer)]});
            let document = Document::parse(text.to_string().as_bytes()).unwrap();
            let Document::Manifest { artifact, .. } = document else {
                panic!("{document:?}");
            };
            assert_eq!(artifact.as_deref(), expected, "{kind} {config} {layer}");
        };
        const GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

        check("", OCI_CONFIG, "application/vnd.oci.image.layer.v1.tar", None);
        check("a/b", DOCKER_CONFIG, GZIP, None);
        check("a/b", OCI_CONFIG, "text/plain", Some("a/b"));
        check(
            "a/b",
            "application/vnd.oci.empty.v1+json",
            "text/plain",
            Some("a/b"),
        );
        check(
            "",
            "application/vnd.cncf.helm.config.v1+json",
            GZIP,
            Some("application/vnd.cncf.helm.config.v1+json"),
        );
    }
}
