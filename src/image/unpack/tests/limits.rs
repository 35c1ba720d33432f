//! Layers that ask for more than there is: each is refused by a limit that the error names.

use std::io::Write as _;

use super::fixture::{Layer, Place, layer};

fn check(layer: Layer, expected: &str) {
    let place = Place::unpack(layer, false);

    let error = place.result.unwrap_err().to_string();

    assert!(error.contains(expected), "{error}");
}

fn zeros(count: usize) -> Layer {
    let mut header = Layer::header(tar::EntryType::Regular, "zeros", "", count);
    header.set_size(count as u64);
    layer().push(header, &vec![0; count])
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn entries_are_counted() {
    let many = |count| (0..count).fold(layer(), |layer, n| layer.file(&format!("f{n}"), ""));

    Place::good(many(100));
    check(many(101), "limit of 100 entries (images.max_layer_entries)");
    // One name over and over is as many entries.
    let same = (0..101).fold(layer(), |layer, _| layer.file("f", ""));
    check(same, "limit of 100 entries");
}

#[test]
fn bombs_go_off_in_the_hand_of_whoever_made_them() {
    const RATIO: &str = "limit of 100 times its packed size (images.max_layer_ratio)";
    let plain = zeros(512 << 10).0;

    check(Layer(zstd::encode_all(&plain[..], 19).unwrap()), RATIO);
    check(Layer(gzip(&plain)), RATIO);
    // A small one is let through, however well it is packed.
    Place::good(Layer(gzip(&zeros(32 << 10).0)));
}

#[test]
fn bombs_behind_the_archives_end_count_too() {
    let mut plain = layer().file("f", "x").0;
    plain.resize(plain.len() + 1024 + (4 << 20), 0);

    check(Layer(gzip(&plain)), "limit of 1");
    check(
        Layer(plain),
        "limit of 1048576 inflated bytes (images.max_layer_bytes)",
    );
}

#[test]
fn what_a_sparse_file_claims_counts() {
    for size in ["1048577", "9223372036854775807"] {
        let claim = [("GNU.sparse.map", "0,1"), ("GNU.sparse.size", size)];
        check(layer().pax(&claim).file("sparse", "x"), "limit of 1048576");
    }
}

#[test]
fn depth_is_counted_in_names() {
    let deep = |depth: usize| {
        let path = "d/".repeat(depth);
        layer().pax(&[("path", path.as_str())]).directory("x", 0o755)
    };

    Place::good(deep(256));
    for depth in [257, 2000] {
        check(
            deep(depth),
            "limit of 256 names in a path (images.max_layer_depth)",
        );
    }
    // Longer than a path can be at all.
    check(deep(10_000), "its path is too long");
}

/// Each link leads to the end of the directories before it, so that a short path goes as deep as one likes.
#[test]
fn directories_nested_by_way_of_links_are_not_walked_without_end() {
    let step = "d/".repeat(120);
    let layer = (0..30).fold(layer(), |layer, n| {
        let (from, to) = match n {
            0 => (step.clone(), step.trim_end_matches('/').to_owned()),
            n => (
                format!("l{}/{step}", n - 1),
                format!("l{}/{}", n - 1, step.trim_end_matches('/')),
            ),
        };
        let link = format!("l{n}");
        layer
            .pax(&[("path", from.as_str())])
            .directory("x", 0o755)
            .pax(&[("linkpath", to.as_str())])
            .symlink(&link, "x")
    });

    // Takes the place of the first directory, with all that is below.
    let place = Place::unpack(layer.file("d", "x"), false);

    let error = place.result.unwrap_err();
    assert!(error.to_string().contains("cannot write layer entry"), "{error}");
}
