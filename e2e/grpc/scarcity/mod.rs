//! What runs out: room on disks, inodes, descriptors, processes, time of those who do not answer. The daemon says so, goes
//! on with all else, and when the shortage is over the same call succeeds and nothing is out of place.

mod disk;
mod frozen;
mod full;
mod group;
mod images;
mod limits;
mod logs;
mod many;
mod memory;
mod silent;

use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    [
        silent::tests(),
        full::tests(),
        logs::tests(),
        frozen::tests(),
        limits::tests(),
        memory::tests(),
        images::tests(),
        many::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
