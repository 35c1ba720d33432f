//! Tables of the calls about images, and about the runtime itself.

use k8s_cri::v1;
use libtest_mimic::Trial;
use tonic::Code;

use super::{Table, empty};
use crate::harness::daemon::image_name;
use crate::harness::trials;

pub(super) fn tests() -> Vec<Trial> {
    trials![status, pull, remove, list, update_runtime_config]
}

const INVALID: Code = Code::InvalidArgument;
/// Names that no reference grammar takes (distribution's `reference.regexp`).
const MALFORMED: &[(&str, &str)] = &[
    ("a name with spaces", "not a name"),
    ("a name of two lines", "a\nb"),
    ("an empty tag", "registry.example/a:"),
    ("a digest that is too short", "registry.example/a@sha256:123"),
    ("a path that climbs", "registry.example/../../etc/passwd"),
    (
        "a name without end",
        "registry.example/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:1",
    ),
];

fn spec(name: &str) -> Option<v1::ImageSpec> {
    Some(v1::ImageSpec {
        image: name.to_owned(),
        ..Default::default()
    })
}

async fn status() {
    let daemon = empty().await;
    let call = async |image| {
        let request = v1::ImageStatusRequest { image, verbose: true };
        daemon.images().image_status(request).await
    };
    let mut table = Table::new(&daemon).await;

    table.refused("no image", INVALID, "image", call(None)).await;
    table
        .refused("an empty name", INVALID, "image", call(spec("")))
        .await;
    for (row, name) in MALFORMED {
        table.refused(row, INVALID, "image", call(spec(name))).await;
    }
    for (row, name) in [
        ("an unknown name", "registry.example/no/such:image".to_owned()),
        ("an unknown id", format!("sha256:{}", "0".repeat(64))),
    ] {
        // CRI: an image that is not there is an answer, not an error.
        let answer = table.accepted(row, call(spec(&name))).await.unwrap();
        assert_eq!(answer.image, None, "{row}");
    }

    table.finish();
}

async fn pull() {
    let daemon = empty().await;
    let call = async |image, auth| {
        let request = v1::PullImageRequest {
            image,
            auth,
            ..Default::default()
        };
        daemon.images().pull_image(request).await
    };
    let mut table = Table::new(&daemon).await;

    table
        .refused("no image", INVALID, "image", call(None, None))
        .await;
    table
        .refused("an empty name", INVALID, "image", call(spec(""), None))
        .await;
    for (row, name) in MALFORMED {
        table.refused(row, INVALID, "image", call(spec(name), None)).await;
    }
    let auth = v1::AuthConfig {
        auth: "not base64!".into(),
        ..Default::default()
    };
    table
        .refused(
            "credentials that are none",
            INVALID,
            "auth",
            call(spec("127.0.0.1:1/a:1"), Some(auth)),
        )
        .await;
    table
        .refused(
            "nobody there",
            Code::Unavailable,
            "127.0.0.1:1",
            call(spec("127.0.0.1:1/a:1"), None),
        )
        .await;

    table.finish();
}

async fn remove() {
    let daemon = empty().await;
    let call = async |image| {
        daemon
            .images()
            .remove_image(v1::RemoveImageRequest { image })
            .await
    };
    let mut table = Table::new(&daemon).await;

    table.refused("no image", INVALID, "image", call(None)).await;
    table
        .refused("an empty name", INVALID, "image", call(spec("")))
        .await;
    for (row, name) in MALFORMED {
        table.refused(row, INVALID, "image", call(spec(name))).await;
    }
    table
        .accepted("an unknown name", call(spec("registry.example/no/such:image")))
        .await;
    table
        .accepted(
            "an unknown tag",
            call(spec("registry.example/e2e/busybox:no-such")),
        )
        .await;

    table.finish();
}

async fn list() {
    let daemon = empty().await;
    let call = async |image| {
        let filter = Some(v1::ImageFilter { image });
        daemon
            .images()
            .list_images(v1::ListImagesRequest { filter })
            .await
    };
    let mut table = Table::new(&daemon).await;

    for (row, name) in MALFORMED {
        table.refused(row, INVALID, "image", call(spec(name))).await;
    }
    let unknown = table
        .accepted("an unknown name", call(spec("registry.example/no/such:image")))
        .await
        .unwrap();
    let known = table
        .accepted("a known name", call(spec(&image_name())))
        .await
        .unwrap();
    assert_eq!(unknown.images, []);
    assert_eq!(known.images.len(), 1);

    table.finish();
}

async fn update_runtime_config() {
    let daemon = empty().await;
    let call = async |cidr: &str| {
        let network_config = Some(v1::NetworkConfig {
            pod_cidr: cidr.to_owned(),
        });
        let request = v1::UpdateRuntimeConfigRequest {
            runtime_config: Some(v1::RuntimeConfig { network_config }),
        };
        daemon.runtime().update_runtime_config(request).await
    };
    let mut table = Table::new(&daemon).await;

    for (row, cidr) in [
        ("words", "not a range"),
        ("an address", "10.0.0.1"),
        ("a length beyond the last", "10.0.0.0/33"),
        ("a path", "../../etc/10.0.0.0/8"),
        ("a good range and a bad one", "10.0.0.0/8,fd00::/129"),
    ] {
        table.refused(row, INVALID, "pod_cidr", call(cidr)).await;
    }
    table.accepted("no range", call("")).await;

    table.finish();
}
