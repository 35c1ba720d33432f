//! How far a pull is.

use super::manifest::Descriptor;

/// How far a pull is. Grows only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// The layers, lowest first; empty until the manifest is known.
    pub layers: Vec<LayerProgress>,
}

/// How far one layer is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerProgress {
    /// Digest of the packed layer.
    pub digest: String,
    /// Packed bytes in all.
    pub total: u64,
    /// Packed bytes received.
    pub received: u64,
    /// In the store, which it may have been before.
    pub done: bool,
}

impl PullProgress {
    pub(super) fn of<'a>(layers: impl Iterator<Item = &'a Descriptor>) -> PullProgress {
        let layers = layers.map(|layer| LayerProgress {
            digest: layer.digest.to_string(),
            total: layer.size,
            ..LayerProgress::default()
        });
        PullProgress {
            layers: layers.collect(),
        }
    }

    pub(super) fn receive(&mut self, layer: usize, received: u64) {
        if let Some(layer) = self.layers.get_mut(layer) {
            layer.received = received;
        }
    }

    pub(super) fn finish(&mut self, layer: usize) {
        if let Some(layer) = self.layers.get_mut(layer) {
            layer.done = true;
        }
    }
}
