//! Images: references, registries, pull, unpack, layers and image records.
