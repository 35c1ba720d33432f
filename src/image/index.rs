//! The images by id and by name. Readers take the present state without a lock; writers come one at a time, and have
//! the record on disk before anybody sees it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::state::Store;

use super::ImageRecord;
use super::error::ImageError;
use super::layers::{Layer, Layers};
use super::name::{Name, Version};

/// An image and what it holds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub record: Arc<ImageRecord>,
    /// Keeps them in the store.
    _layers: Arc<Vec<Arc<Layer>>>,
}

#[derive(Clone, Debug, Default)]
struct Tables {
    by_id: BTreeMap<String, Held>,
    id_by_name: HashMap<String, String>,
}

/// All images of a store.
#[derive(Debug)]
pub(super) struct Index {
    tables: ArcSwap<Tables>,
    store: Store,
    writer: tokio::sync::Mutex<()>,
}

impl Index {
    /// Reads the records; one whose layers are not there is forgotten, so that the image is pulled again.
    pub(super) async fn open(store: Store, layers: &Layers) -> Result<Index, ImageError> {
        let mut tables = Tables::default();
        for (id, record) in store.load::<ImageRecord>()? {
            match layers_of(&record, layers) {
                Ok(held) => tables.insert(record, held),
                Err(error) => {
                    tracing::warn!(image = id, %error, "image is incomplete and forgotten");
                    store.remove::<ImageRecord>(&id).await?;
                }
            }
        }
        Ok(Index {
            tables: ArcSwap::from_pointee(tables),
            store,
            writer: tokio::sync::Mutex::default(),
        })
    }

    /// Finds an image by name, id, or unique beginning of an id.
    pub(super) fn resolve(&self, wanted: &str) -> Option<Held> {
        let tables = self.tables.load();
        if let Some(held) = tables.by_id.get(wanted) {
            return Some(held.clone());
        }
        let named = Name::parse(wanted).ok().map(|name| name.to_string());
        if let Some(id) = named.and_then(|name| tables.id_by_name.get(&name)) {
            return tables.by_id.get(id).cloned();
        }
        tables.by_prefix(wanted).cloned()
    }

    /// All images.
    pub(super) fn all(&self) -> Vec<Arc<ImageRecord>> {
        let tables = self.tables.load();
        tables
            .by_id
            .values()
            .map(|held| Arc::clone(&held.record))
            .collect()
    }

    /// Adds an image under names, which are taken from images that had them. An image that is there gets the names.
    pub(super) async fn add(
        &self,
        mut record: ImageRecord,
        names: &[Name],
        layers: Vec<Arc<Layer>>,
    ) -> Result<Arc<ImageRecord>, ImageError> {
        let _writer = self.writer.lock().await;
        let mut tables = Tables::clone(&self.tables.load());
        let mut changed = Vec::new();
        for name in names {
            let text = name.to_string();
            let previous = tables
                .id_by_name
                .get(&text)
                .filter(|id| **id != record.id)
                .cloned();
            if let Some(previous) = previous {
                changed.extend(tables.take_name(&previous, &text));
            }
        }
        if let Some(known) = tables.by_id.get(&record.id) {
            record = ImageRecord::clone(&known.record);
        }
        for name in names {
            let list = match name.version() {
                Version::Tag(_) => &mut record.repo_tags,
                Version::Digest(_) => &mut record.repo_digests,
            };
            list.push(name.to_string());
            list.sort();
            list.dedup();
        }
        // The new owner of a name first: a crash in between leaves it with two, never with none.
        self.store.put(&record.id.clone(), &record).await?;
        for id in changed {
            match tables.by_id.get(&id) {
                Some(held) => self.store.put(&id, held.record.as_ref()).await?,
                None => self.store.remove::<ImageRecord>(&id).await?,
            }
        }
        let id = record.id.clone();
        tables.insert(record, layers);
        let added = Arc::clone(&tables.by_id[&id].record);
        self.tables.store(Arc::new(tables));
        Ok(added)
    }

    /// Removes an image with all its names; tells whether there was one.
    pub(super) async fn remove(&self, wanted: &str) -> Result<Option<Arc<ImageRecord>>, ImageError> {
        let _writer = self.writer.lock().await;
        let Some(held) = self.resolve(wanted) else {
            return Ok(None);
        };
        self.store.remove::<ImageRecord>(&held.record.id).await?;
        let mut tables = Tables::clone(&self.tables.load());
        tables.by_id.remove(&held.record.id);
        tables.id_by_name.retain(|_, id| *id != held.record.id);
        self.tables.store(Arc::new(tables));
        Ok(Some(held.record))
    }
}

impl Tables {
    fn insert(&mut self, record: ImageRecord, layers: Vec<Arc<Layer>>) {
        for name in record.names() {
            self.id_by_name.insert(name.to_owned(), record.id.clone());
        }
        let held = Held {
            record: Arc::new(record),
            _layers: Arc::new(layers),
        };
        self.by_id.insert(held.record.id.clone(), held);
    }

    /// Takes a name from an image, and the image out when it was the last; returns its id if there was such a name.
    fn take_name(&mut self, id: &str, name: &str) -> Option<String> {
        let held = self.by_id.get_mut(id)?;
        let record = Arc::make_mut(&mut held.record);
        record.repo_tags.retain(|n| n != name);
        record.repo_digests.retain(|n| n != name);
        if record.names().next().is_none() {
            self.by_id.remove(id);
        }
        self.id_by_name.remove(name);
        Some(id.to_owned())
    }

    fn by_prefix(&self, wanted: &str) -> Option<&Held> {
        let hex = wanted.strip_prefix("sha256:").unwrap_or(wanted);
        if hex.is_empty() || hex.len() > 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let prefix = format!("sha256:{hex}");
        let range = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let mut found = self
            .by_id
            .range::<str, _>(range)
            .take_while(|(id, _)| id.starts_with(&prefix));
        match (found.next(), found.next()) {
            (Some((_, held)), None) => Some(held),
            _ => None,
        }
    }
}

/// Finds the layers of an image, lowest first.
pub(super) fn layers_of(record: &ImageRecord, layers: &Layers) -> Result<Vec<Arc<Layer>>, ImageError> {
    let find = |(index, layer): (usize, &super::LayerRef)| {
        layers
            .find(&layer.diff_id, &layer.chain_id, index == 0)
            .ok_or_else(|| ImageError::Missing(format!("layer {} of image {}", layer.diff_id, record.id)))
    };
    record.layers.iter().enumerate().map(find).collect()
}
