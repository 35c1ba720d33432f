//! Doors for fuzzing that lead through more than one layer, and the list of all. Not in an ordinary build.

use crate::api;
use crate::cni;
use crate::core;
use crate::cri;
use crate::image;
use crate::monitor;
use crate::spec;
use crate::streaming;

/// What is fed bytes.
pub type Target = fn(&[u8]);

/// Every fuzz target by name. The kept inputs of each are in `e2e/fuzz/corpus/<name>`.
pub const TARGETS: [(&str, Target); 16] = [
    ("api", api),
    ("archive", image::fuzzing::archive),
    ("cni_result", cni::fuzzing::result),
    ("conflist", cni::fuzzing::configuration),
    ("devices", spec::fuzzing::devices),
    ("frames", monitor::fuzzing::frame),
    ("hosts", image::fuzzing::hosts),
    ("inflate", image::fuzzing::packed),
    ("manifest", image::fuzzing::manifest),
    ("profile", spec::fuzzing::profile),
    ("records", records),
    ("reference", image::fuzzing::reference),
    ("request", request),
    ("spdy", streaming::fuzzing::spdy),
    ("tree", image::fuzzing::tree),
    ("websocket", streaming::fuzzing::websocket),
];

/// A call of the reduced API.
pub fn api(data: &[u8]) {
    api::fuzzing::call(data);
}

/// A `CreateContainerRequest` to the OCI configuration that it comes to.
pub fn request(data: &[u8]) {
    if let Some(config) = cri::fuzzing::container(data) {
        let image = r#"{"Entrypoint":["/bin/app"],"Cmd":["serve"],"User":"www","WorkingDir":"/srv"}"#;
        let image = serde_json::from_str(image).expect("it is a configuration");
        spec::fuzzing::translate(&config, &image);
    }
}

/// What the store keeps.
pub fn records(data: &[u8]) {
    image::fuzzing::record(data);
    core::fuzzing::record(data);
    cri::fuzzing::record(data);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_kept_input_of_every_fuzz_target_passes() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/fuzz/corpus");
        for (name, target) in TARGETS {
            let mut inputs = 0;
            for entry in fs::read_dir(corpus.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")) {
                target(&fs::read(entry.unwrap().path()).unwrap());
                inputs += 1;
            }
            assert!(inputs > 0, "{name} has no input");
        }
    }
}
