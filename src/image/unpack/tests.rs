//! Hostile and odd layers.
