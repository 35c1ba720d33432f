//! Registries that misbehave: a pull ends in time and says why, what broke goes on where it stopped, nobody else waits.

use std::fs;

use libtest_mimic::Trial;
use serde_json::json;
use tonic::Code;

use crate::harness::daemon::{Daemon, Place, refused};
use crate::harness::image::{Blob, Packing};
use crate::harness::registry::hosts_toml;
use crate::harness::tricky::{Act, Asked, Tricky};
use crate::harness::{eventually, trials};
use crate::pulls::{image, request};

pub(crate) fn tests() -> Vec<Trial> {
    trials![
        a_registry_that_misbehaves_is_told_of,
        what_passes_is_waited_out,
        a_layer_goes_on_where_it_broke_off,
        a_registry_that_stalls_holds_up_no_other,
        a_layer_withheld_by_another_registry_is_fetched_from_ones_own,
        credentials_go_to_no_host_that_a_registry_redirects_to,
        a_proxy_is_asked_but_for_hosts_that_need_none,
    ]
}

async fn node_with(toml: &str) -> Daemon {
    let place = Place::new("registries");
    place.set(toml);
    Daemon::start(place).await
}

async fn impatient() -> Daemon {
    node_with("[registry]\nprogress_timeout_seconds = 2\nmax_parallel_layers = 1\n").await
}

async fn pull(daemon: &Daemon, name: &str) -> String {
    let answer = daemon.images().pull_image(request(name, None)).await;
    answer.unwrap().into_inner().image_ref
}

fn is_manifest(asked: &Asked) -> bool {
    asked.target.contains("/manifests/")
}

fn is_blob(asked: &Asked) -> bool {
    asked.target.contains("/blobs/")
}

/// Files below the store's directory of unfinished work.
fn unfinished(daemon: &Daemon) -> usize {
    let staging = daemon.place.state.join("images/staging");
    fs::read_dir(staging).unwrap().count()
}

async fn a_registry_that_misbehaves_is_told_of() {
    let daemon = &impatient().await;
    let at = |when: fn(&Asked) -> bool, act: Act| {
        move |asked: &Asked| if when(asked) { act.clone() } else { Act::Serve }
    };
    let answer = |status, further: &str, body: &[u8]| Act::Answer(status, further.to_owned(), body.to_vec());
    let check =
        async |what: &str, image, behave: Box<dyn Fn(&Asked) -> Act + Send + Sync>, code, text: &str| {
            let registry = Tricky::start(&image, behave).await;

            let refusal = refused(daemon.images().pull_image(request(&registry.name(), None))).await;

            assert_eq!(refusal.code(), code, "{what}: {refusal}");
            assert!(refusal.message().contains(text), "{what}: {refusal}");
        };
    let small = || image(Packing::Gzip);
    let rest = "retry-after: 3600\r\n";
    let (unavailable, internal) = (Code::Unavailable, Code::Internal);
    tokio::join!(
        check(
            "stalls",
            small(),
            Box::new(at(is_manifest, Act::Stall)),
            unavailable,
            "does not answer"
        ),
        check(
            "withholds",
            small(),
            Box::new(at(is_blob, Act::Stall)),
            unavailable,
            ""
        ),
        check(
            "resets",
            small(),
            Box::new(at(is_manifest, Act::Reset)),
            unavailable,
            "does not answer"
        ),
        check(
            "cuts",
            small(),
            Box::new(at(is_blob, Act::Reset)),
            unavailable,
            ""
        ),
        check(
            "drips",
            small(),
            Box::new(at(is_blob, Act::Drip)),
            unavailable,
            "stops at byte"
        ),
        check(
            "drips a manifest",
            small(),
            Box::new(at(is_manifest, Act::Drip)),
            unavailable,
            "does not answer"
        ),
        check(
            "fails",
            small(),
            Box::new(at(is_manifest, answer(500, "", b"sorry"))),
            unavailable,
            "500"
        ),
        check(
            "rests",
            small(),
            Box::new(at(is_manifest, answer(503, rest, b""))),
            unavailable,
            "not again before 3600 s"
        ),
        check(
            "limits",
            small(),
            Box::new(at(is_blob, answer(429, rest, b""))),
            unavailable,
            "not again before 3600 s"
        ),
        check(
            "loops",
            small(),
            Box::new(at(
                is_manifest,
                answer(302, "location: /v2/x/manifests/1\r\n", b"")
            )),
            internal,
            "redirects without end"
        ),
        check(
            "floods",
            small(),
            Box::new(at(is_manifest, Act::Endless)),
            Code::ResourceExhausted,
            "beyond the limit"
        ),
        check(
            "lies",
            small(),
            Box::new(at(is_blob, answer(200, "", b"other"))),
            unavailable,
            ""
        ),
        check(
            "errs",
            small(),
            Box::new(at(
                is_manifest,
                answer(200, "content-type: text/html\r\n", b"<html>")
            )),
            Code::InvalidArgument,
            ""
        ),
        check(
            "announces more",
            small(),
            Box::new(at(is_manifest, Act::Announce(7))),
            unavailable,
            "does not answer"
        ),
    );
    // Deeper than any index needs to be.
    let media_type = "application/vnd.oci.image.index.v1+json";
    let mut deep = small();
    let mut behaviours = Vec::new();
    for _ in 0..100 {
        let mut entry = deep.manifest.descriptor();
        entry["platform"] = json!({"os": "linux", "architecture": crate::harness::image::architecture()});
        behaviours.push(deep.manifest.clone());
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]});
        let content = index.to_string().into_bytes();
        deep.manifest = Blob { media_type, content };
    }
    let by_digest = move |asked: &Asked| {
        let found = behaviours
            .iter()
            .find(|blob| asked.target.ends_with(&blob.digest()));
        found.map_or(Act::Serve, |blob| {
            Act::Answer(
                200,
                format!("content-type: {}\r\n", blob.media_type),
                blob.content.clone(),
            )
        })
    };
    check(
        "nests",
        deep,
        Box::new(by_digest),
        Code::InvalidArgument,
        "nested too deep",
    )
    .await;

    eventually("nothing unfinished is left", async || {
        (unfinished(daemon) == 0).then_some(())
    })
    .await;
}

async fn what_passes_is_waited_out() {
    let daemon = &impatient().await;
    let check = async |when: fn(&Asked) -> bool, act: Act| {
        let image = image(Packing::Gzip);
        let what = format!("{act:?}");
        let behave = move |asked: &Asked| match when(asked) && asked.before == 0 {
            true => act.clone(),
            false => Act::Serve,
        };
        let registry = Tricky::start(&image, behave).await;

        assert_eq!(pull(daemon, &registry.name()).await, image.id(), "{what}");
    };
    let answer = |status, further: &str| Act::Answer(status, further.to_owned(), Vec::new());
    tokio::join!(
        check(is_manifest, answer(429, "retry-after: 1\r\n")),
        check(is_blob, answer(503, "retry-after: 1\r\n")),
        check(is_manifest, answer(500, "")),
        check(is_blob, answer(502, "")),
        check(is_manifest, Act::Reset),
        check(is_blob, Act::Reset),
        check(is_blob, Act::Stall),
        check(is_manifest, Act::ServeWith("content-type", "text/html")),
    );
}

async fn a_layer_goes_on_where_it_broke_off() {
    let daemon = &impatient().await;
    let image = image(Packing::Gzip);
    let registry = Tricky::start(&image, |asked| match is_blob(asked) && asked.before < 3 {
        true => Act::Truncate,
        false => Act::Serve,
    })
    .await;

    assert_eq!(pull(daemon, &registry.name()).await, image.id());

    let largest = image.blobs.iter().max_by_key(|blob| blob.content.len()).unwrap();
    let asked: Vec<Asked> = registry.seen();
    let ranges: Vec<String> = asked
        .iter()
        .filter(|asked| asked.target.contains(&largest.digest()))
        .map(|asked| asked.headers.get("range").cloned().unwrap_or_default())
        .collect();
    let half = largest.content.len() / 2;
    assert_eq!(ranges.len(), 4, "{ranges:?}");
    assert!(ranges[1].starts_with(&format!("bytes={half}-")), "{ranges:?}");
}

async fn a_registry_that_stalls_holds_up_no_other() {
    let daemon = &node_with("[registry]\nmax_parallel_layers = 1\n").await;
    let (stalled, image) = (image(Packing::Gzip), image(Packing::Zstd));
    let bad = Tricky::start(
        &stalled,
        |asked| if is_blob(asked) { Act::Stall } else { Act::Serve },
    )
    .await;
    let good = Tricky::start(&image, |_| Act::Serve).await;
    let mut images = daemon.images();
    let waiting = tokio::spawn(async move { images.pull_image(request(&bad.name(), None)).await.is_ok() });

    assert_eq!(pull(daemon, &good.name()).await, image.id());

    assert!(!waiting.is_finished());
    waiting.abort();
}

async fn a_layer_withheld_by_another_registry_is_fetched_from_ones_own() {
    let daemon = &impatient().await;
    let image = image(Packing::Gzip);
    let config = image.id();
    let bad = Tricky::start(&image, move |asked| {
        match is_blob(asked) && !asked.target.contains(&config) {
            true => Act::Drip,
            false => Act::Serve,
        }
    })
    .await;
    let good = Tricky::start(&image, |_| Act::Serve).await;
    let mut images = daemon.images();
    let name = bad.name();
    let waiting = tokio::spawn(async move { images.pull_image(request(&name, None)).await.is_ok() });
    eventually("the other pull has begun a layer", async || {
        bad.seen().iter().filter(|asked| is_blob(asked)).nth(1).map(drop)
    })
    .await;

    assert_eq!(pull(daemon, &good.name()).await, image.id());
    waiting.abort();
}

async fn credentials_go_to_no_host_that_a_registry_redirects_to() {
    let daemon = &impatient().await;
    let image = image(Packing::Gzip);
    let store = Tricky::start(&image, |_| Act::Serve).await;
    let elsewhere = store.host.clone();
    let registry = Tricky::start(&image, move |asked| {
        if !asked.headers.contains_key("authorization") {
            let challenge = "www-authenticate: Basic realm=\"x\"\r\n".to_owned();
            return Act::Answer(401, challenge, Vec::new());
        }
        match is_blob(asked) {
            true => Act::Answer(
                307,
                format!("location: http://{elsewhere}{}\r\n", asked.target),
                Vec::new(),
            ),
            false => Act::Serve,
        }
    })
    .await;
    let auth = k8s_cri::v1::AuthConfig {
        username: "reader".to_owned(),
        password: "secret".to_owned(),
        ..Default::default()
    };

    let pulled = daemon
        .images()
        .pull_image(request(&registry.name(), Some(auth)))
        .await;

    assert_eq!(pulled.unwrap().into_inner().image_ref, image.id());
    assert!(
        registry
            .seen()
            .iter()
            .any(|asked| asked.headers.contains_key("authorization"))
    );
    assert!(!store.seen().is_empty());
    for asked in store.seen() {
        assert!(!asked.headers.contains_key("authorization"), "{asked:?}");
    }
}

async fn a_proxy_is_asked_but_for_hosts_that_need_none() {
    let image = image(Packing::Gzip);
    let proxy = Tricky::start(&image, |_| Act::Serve).await;
    let by = format!("HTTP_PROXY=http://{}", proxy.host);
    let daemon = &Daemon::start_by(Place::new("proxy"), &["env", &by, "NO_PROXY=direct.invalid"]).await;
    for host in ["proxied.invalid", "direct.invalid"] {
        hosts_toml(daemon, host, &format!("server = \"http://{host}\"\n"));
    }

    let pulled = pull(daemon, "proxied.invalid/x:1").await;
    let past = refused(daemon.images().pull_image(request("direct.invalid/x:1", None))).await;

    assert_eq!(pulled, image.id());
    assert!(!proxy.seen().is_empty());
    let targets: Vec<String> = proxy.seen().into_iter().map(|asked| asked.target).collect();
    assert!(
        targets
            .iter()
            .all(|target| target.starts_with("http://proxied.invalid/")),
        "{targets:?}"
    );
    assert_eq!(past.code(), Code::Unavailable, "{past}");
}
