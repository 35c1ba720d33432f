//! Layers as a hostile or an odd tool would write them. Each is unpacked beside a directory it must not reach.

mod fixture;
mod hostile;
mod limits;
mod links;
mod odd;
