//! The images that a lane of its own pulls and imports.

use std::path::PathBuf;

use crate::caller::Caller;
use crate::harness::image::{Recipe, TestImage, artifact};
use crate::harness::node::node;
use crate::harness::registry::{Registry, hosts_toml};
use crate::lane::Lane;

/// The images of a life.
pub(crate) struct Names {
    pub(crate) pulled: String,
    pub(crate) imported: String,
    pub(crate) archive: PathBuf,
    /// An artifact that is pulled and removed.
    pub(crate) artifact: String,
    /// One that is there all the time, for containers to mount.
    pub(crate) mounted: String,
}

impl Names {
    /// Puts an image and artifacts into the registry and another image into an archive, for this lane alone.
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
        let mounted = format!("{}/{repository}:mounted", registry.host);
        for tag in ["artifact", "mounted"] {
            let text = format!("{tag} {number}");
            let artifact = artifact(&[("weights", text.as_bytes())]);
            registry.push(&repository, tag, &artifact).await;
        }
        drop(daemon);
        Caller::new(lane).pull(&mounted).await.unwrap();
        let archive = node().directory.join(format!("import-{number}.tar"));
        image("imported").write_archive(&archive);
        Names {
            pulled: format!("{}/{repository}:1", registry.host),
            imported: format!("registry.example/faults/{number}:1"),
            archive,
            artifact: format!("{}/{repository}:artifact", registry.host),
            mounted,
        }
    }
}
