//! What is kept beside a layer's content, with sums by which a deep check tells whether either was changed.
//!
//! `layer.json` has the layer's key, what is known of it, and a sum of both; `files` has a line for each regular file, and
//! `layer.json` the sum of that list. Layers of earlier versions have no sums.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::attributes_sum::attributes_sum;
use super::layers::LayerKey;
use super::unpack::{LayerFacts, content, file_list};

const VERSION: u32 = 1;

/// What `layer.json` holds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Description {
    version: u32,
    pub key: LayerKey,
    pub facts: LayerFacts,
    /// Of key and facts.
    #[serde(default)]
    sum: Option<u64>,
}

impl Description {
    /// Reads it from a layer's directory; none if it is missing or makes no sense.
    pub(super) fn read(meta: &Path) -> Option<Description> {
        let bytes = fs::read(meta.join("layer.json")).ok()?;
        let file: Description = serde_json::from_slice(&bytes).ok()?;
        (file.version == VERSION).then_some(file)
    }

    /// Gathers the description of what is staged in one directory, `meta`; the sync of the file system that follows
    /// covers it.
    pub(super) fn write(staging: &Path, key: LayerKey, mut facts: LayerFacts) -> io::Result<Description> {
        let meta = staging.join("meta");
        fs::create_dir(&meta)?;
        fs::rename(file_list(staging), meta.join("files"))?;
        facts.list_sum = Some(xxh3_64(&fs::read(meta.join("files"))?));
        facts.attributes_sum = attributes_sum(&content(staging)).ok();
        let sum = Some(sum_of(&key, &facts)?);
        let file = Description {
            version: VERSION,
            key,
            facts,
            sum,
        };
        fs::write(meta.join("layer.json"), serde_json::to_vec(&file)?)?;
        Ok(file)
    }

    /// Whether it is what was written. One without a sum is taken as it is.
    pub(super) fn is_whole(&self) -> bool {
        self.sum
            .is_none_or(|sum| sum_of(&self.key, &self.facts).is_ok_and(|found| found == sum))
    }
}

fn sum_of(key: &LayerKey, facts: &LayerFacts) -> io::Result<u64> {
    Ok(xxh3_64(&serde_json::to_vec(&(key, facts))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_that_was_changed_is_not_whole() {
        let staging = tempfile::tempdir().unwrap();
        fs::create_dir(content(staging.path())).unwrap();
        fs::write(file_list(staging.path()), "").unwrap();
        let facts = LayerFacts {
            bytes: 4096,
            ..LayerFacts::default()
        };

        Description::write(staging.path(), LayerKey::Free("a".into()), facts).unwrap();

        let meta = staging.path().join("meta");
        assert!(Description::read(&meta).unwrap().is_whole());
        let text = fs::read_to_string(meta.join("layer.json")).unwrap();
        fs::write(meta.join("layer.json"), text.replace("4096", "4097")).unwrap();
        assert!(!Description::read(&meta).unwrap().is_whole());
    }
}
