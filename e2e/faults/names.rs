//! The images that a lane of its own pulls and imports.

use std::path::PathBuf;

use crate::harness::image::{Recipe, TestImage};
use crate::harness::node::node;
use crate::harness::registry::{Registry, hosts_toml};
use crate::lane::Lane;

/// The images of a life.
pub(crate) struct Names {
    pub(crate) pulled: String,
    pub(crate) imported: String,
    pub(crate) archive: PathBuf,
}

impl Names {
    /// Puts an image into the registry and another into an archive, for this lane alone.
    pub(crate) async fn offer(lane: &Lane, registry: &Registry) -> Names {
        let number = node().number();
        let image = |text: &str| {
            TestImage::build(&Recipe {
                files: vec![("which", 0, 0o644, format!("{text} {number}\n").into_bytes())],
                ..Recipe::default()
            })
        };
        let repository = format!("faults/{number}");
        registry.push(&repository, "1", &image("pulled")).await;
        let daemon = lane.daemon().await;
        hosts_toml(
            &daemon,
            &registry.host,
            &format!("server = \"http://{}\"\n", registry.host),
        );
        let archive = node().directory.join(format!("import-{number}.tar"));
        image("imported").write_archive(&archive);
        Names {
            pulled: format!("{}/{repository}:1", registry.host),
            imported: format!("registry.example/faults/{number}:1"),
            archive,
        }
    }
}
